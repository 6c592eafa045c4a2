"""Choice: which metrics are run, each with its settings, from what the task names and what the user gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from devi.errors import DeviError, unknown_name, wrong_kind
from devi.metrics.metric import Metric, check_names
from devi.plugins import load, names
from devi.task import Task, setting_names, with_settings

Named = str | type[Metric] | Metric


def chosen_metrics(
    task: Task, extra: Sequence[Named], settings: Mapping[str, Mapping[str, Any]], *, device: str | None = None
) -> list[Metric]:
    """The metrics to run, each with its settings; one of each name, the user's own last.

    device   for every metric that has such a setting
    """
    _check_kinds(extra, settings)
    chosen: dict[str, Metric] = {}
    own = list(task.metrics())
    for place, wanted in enumerate([*own, *extra]):
        if isinstance(wanted, Metric):
            chosen[wanted.label()] = copy(wanted)  # what it keeps of this run is not for the next
            continue
        try:
            cls: type[Metric] = load("metric", wanted) if isinstance(wanted, str) else wanted
        except DeviError as error:
            if place >= len(own):
                raise
            raise DeviError(f"{type(task).__name__}.metrics() returned '{wanted}': {error}") from None
        given = dict(settings.get(cls.label(), {}))
        if device is not None and "device" in setting_names(cls):
            given["device"] = device
        called = wanted if isinstance(wanted, str) else cls.label()
        chosen[cls.label()] = with_settings(cls, given, kind="metric", called=called)
    for name, metric in chosen.items():
        check_names(type(metric).__name__, [name, *{*metric.dims} - {"step"}])
    for name in settings:
        if name in chosen:
            continue
        if name not in names("metric"):
            raise unknown_name("metric", name, {*chosen, *names("metric")})
        raise DeviError(
            f"settings are given for metric '{name}', which is not among those run here: {', '.join(chosen)}."
            f" To run it too: --metric {name}"
        )
    return list(chosen.values())


def unasked(task: Task, extra: Sequence[Named], settings: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The metrics that are there only because nobody said otherwise: of Task.metrics(), not named and not set."""
    if type(task).metrics is not Task.metrics:
        return set()
    return {*task.metrics()} - {*settings} - {each if isinstance(each, str) else each.label() for each in extra}


def _check_kinds(extra: Any, settings: Any) -> None:
    """Raises DeviError for what is no list of metrics, and for settings that are not one mapping a metric."""
    if not isinstance(extra, list | tuple):
        one = repr(extra) if isinstance(extra, str) else getattr(extra, "__name__", "MyMetric")
        raise wrong_kind("metrics", extra, f"a list of metrics: metrics=[{one}].")
    for each in extra:
        if not isinstance(each, str | Metric) and not (isinstance(each, type) and issubclass(each, Metric)):
            raise wrong_kind("a metric", each, "a name, or a subclass of devi.Metric or an instance of it.")
    if not isinstance(settings, Mapping):
        raise wrong_kind("settings", settings, "those of each metric by its name: settings={'llc': {'chains': 4}}.")
    for name, own in settings.items():
        metric, dot, key = str(name).partition(".")
        if dot and not isinstance(own, Mapping):
            raise DeviError(
                f"settings has the key '{name}'; expected those of each metric by its name:"
                f" settings={{'{metric}': {{'{key}': {own!r}}}}}."
            )
        if not isinstance(own, Mapping):
            raise wrong_kind(f"settings['{name}']", own, f"names and values: settings={{'{name}': {{'KEY': VALUE}}}}.")
