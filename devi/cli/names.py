"""devi tasks, devi metrics: what can be named, with settings, units and sources."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Annotated, Any

from typer import Argument, Option

from devi.cli.answer import print_document

DECLARED = ("bounds", "monotone", "material")  # of a metric, for the search for transitions

Name = Annotated[str | None, Argument(help="One of them, or your own: file.py:Name")]
Json = Annotated[bool, Option("--json", help="Print one JSON document and nothing else")]


def tasks(name: Name = None, as_json: Json = False) -> None:
    """The tasks that can be trained, with their settings and presets.

    Example: devi tasks superposition
    """
    _show("task", name, as_json)


def metrics(name: Name = None, as_json: Json = False) -> None:
    """The metrics that can be followed, with their settings, variables and sources.

    Example: devi metrics llc
    """
    _show("metric", name, as_json)


def _show(kind: Any, name: str | None, as_json: bool) -> None:
    from devi.errors import DeviError
    from devi.plugins import load, names

    described = {}
    for each in [name] if name else names(kind):
        try:
            described[each] = _described(kind, load(kind, each))
        except DeviError as error:
            if name:
                raise
            print(f"devi: {error}", file=sys.stderr)  # one broken package does not hide the others
    if as_json:
        print_document(json.dumps(described, default=str))
        return
    for each, entry in described.items():
        print(f"{each}: {entry['summary']}".removesuffix(": "))
        if entry["long_name"]:
            print(f"  called: {entry['long_name']}")
        along = f" along {', '.join(entry['dims'])}" if entry["dims"] else ""
        if entry["gives"]:
            print(f"  gives: {', '.join(entry['gives'])}{along}")
        print(f"  units: {_listed_units(entry['units'])}")
        if entry["declares"]:
            print("  declares: " + ", ".join(f"{key}={value}" for key, value in entry["declares"].items()))
        if entry["source"]:
            print(f"  source: {entry['source']}")
        if entry["settings"]:
            print("  settings: " + ", ".join(f"{key}={value}" for key, value in entry["settings"].items()))
        if entry["training"]:
            print("  training: " + ", ".join(f"{key}={value}" for key, value in entry["training"].items()))
        for preset, values in entry["presets"].items():
            print(f"  --preset {preset}: " + ", ".join(f"{key}={value}" for key, value in values.items()))


def _listed_units(units: dict[str, str]) -> str:
    """'1; 1/step of distance_per_step': the unit of most, then others with what has them."""
    most = max(units.values(), key=[*units.values()].count)
    others = dict.fromkeys(unit for unit in units.values() if unit != most)
    of = {unit: ", ".join(name for name, own in units.items() if own == unit) for unit in others}
    return "; ".join([most, *(f"{unit} of {names}" for unit, names in of.items())])


def _units(kind: str, cls: Any) -> dict[str, str]:
    """Of what is followed of a metric; of a task's loss."""
    if kind == "task":
        return {"loss": cls.loss_units}
    return {name: cls.units_of.get(name, cls.units) for name in cls.gives or (cls.label(),)}


def _training_of(cls: Any) -> dict[str, Any]:
    """The trainer's settings that are none of the task's own: attributes of the class, else the defaults."""
    from devi.plan import TrainingPlan, declared
    from devi.task import setting_names, settings_of

    own = setting_names(cls)
    return {key: value for key, value in (settings_of(TrainingPlan()) | declared(cls)).items() if key not in own}


def _described(kind: str, cls: Any) -> dict[str, Any]:
    import dataclasses

    from devi.task import setting_names

    names = setting_names(cls)
    defaults = {}
    if dataclasses.is_dataclass(cls):
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for setting, field in names.items():
            default, factory = fields[field].default, fields[field].default_factory
            if default is not dataclasses.MISSING:
                defaults[setting] = default
            else:
                defaults[setting] = factory() if factory is not dataclasses.MISSING else "(required)"
    else:
        defaults = dict.fromkeys(names, "")
    return {
        "summary": next(iter(inspect.cleandoc(cls.__dict__.get("__doc__") or "").splitlines()), ""),  # not a base's
        "settings": defaults,
        "training": _training_of(cls) if kind == "task" else {},
        "presets": dict(getattr(cls, "presets", {})),
        "gives": list(getattr(cls, "gives", ())) or ([cls.label()] if kind == "metric" else []),
        "units": _units(kind, cls),
        "long_name": getattr(cls, "long_name", ""),
        "declares": {name: getattr(cls, name) for name in DECLARED if getattr(cls, name, None) is not None},
        "dims": list(getattr(cls, "dims", ())),
        "source": getattr(cls, "source", ""),
    }
