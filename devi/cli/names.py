"""devi tasks, devi metrics: what can be named, with settings, units and sources."""

from __future__ import annotations

import inspect
import json
from typing import Annotated, Any

from typer import Argument, Option

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
    from devi.plugins import load, names

    described = {each: _described(kind, load(kind, each)) for each in ([name] if name else names(kind))}
    if as_json:
        print(json.dumps(described, default=str))
        return
    for each, entry in described.items():
        print(f"{each}: {entry['summary']}")
        if entry["gives"]:
            print(f"  gives: {', '.join(entry['gives'])}")
        if entry["source"]:
            print(f"  source: {entry['source']}")
        if entry["settings"]:
            print("  settings: " + ", ".join(f"{key}={value}" for key, value in entry["settings"].items()))
        if entry["training"]:
            print("  training: " + ", ".join(f"{key}={value}" for key, value in entry["training"].items()))
        for preset, values in entry["presets"].items():
            print(f"  --preset {preset}: " + ", ".join(f"{key}={value}" for key, value in values.items()))


def _training_of(cls: type) -> dict[str, Any]:
    """The trainer's settings that the task leaves at their defaults."""
    from devi.plan import TrainingPlan
    from devi.task import setting_names, settings_of

    own = setting_names(cls)
    return {key: value for key, value in settings_of(TrainingPlan()).items() if key not in own}


def _described(kind: str, cls: type) -> dict[str, Any]:
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
        "summary": (inspect.getdoc(cls) or "").splitlines()[0] if inspect.getdoc(cls) else "",
        "settings": defaults,
        "training": _training_of(cls) if kind == "task" else {},
        "presets": dict(getattr(cls, "presets", {})),
        "gives": list(getattr(cls, "gives", ())),
        "source": getattr(cls, "source", ""),
    }
