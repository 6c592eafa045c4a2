"""Names and sentences for events, from templates: what kind of change, what it is called, what moved how far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr

from devi.transitions.detector import Change
from devi.transitions.events import Event
from devi.transitions.transition import Kind

WORDS = {"llc": "LLC", "train_loss": "training loss", "test_loss": "test loss", "weight_norm": "weight norm"}
CLEAR = 0.3  # of the range: an accuracy that moves less has not been learned


def kind_of(event: Event) -> Kind:
    """The event's type."""
    lead = event.lead
    if event.fall is not None:
        return "transient"
    if not _gains(event) and event.spikes and _moves(event, "weight_norm", up=True):
        return "instability"
    if _moves(event, "test_loss", up=True) and not _gains(event) and lead.curve.metric == "test_loss":
        return "overfit_rise"
    if lead.shape == "kink":
        return "kink"
    if lead.is_jump:
        return "jump"
    return "ramp" if lead.shape == "ramp" else "step"


def named(event: Event, kind: Kind, searched: Sequence[str]) -> str:
    """The event's label. `searched`: without a test metric among them, nobody can tell memorization from learning."""
    entering = _columns(event, "feature_norm", up=True)
    leaving = _columns(event, "feature_norm", up=False)
    if kind == "instability":
        return "instability"
    train, test = _learned(event, "train_accuracy"), _learned(event, "test_accuracy")
    # While the training set is being learned the test set gains a part; the rest of it is what generalizes.
    if test >= CLEAR and (train < CLEAR or test >= 0.5):
        return "generalization"
    if entering:
        return f"{_features(entering)} {'enters' if len(entering) == 1 else 'enter'}"
    if leaving:
        return f"{_features(leaving)} {'leaves' if len(leaving) == 1 else 'leave'}"
    memorizes = train >= CLEAR or _moves(event, "train_loss", up=False)
    improves = train < CLEAR and (_moves(event, "test_loss", up=False) or _moves(event, "test_accuracy", up=True))
    tested = "test_loss" in searched or "test_accuracy" in searched
    if memorizes and tested and not improves and kind not in ("transient", "overfit_rise"):
        return "memorization"
    if kind == "overfit_rise":
        return "overfitting"
    word = "transient" if kind == "transient" else "kink" if kind == "kink" else "transition"
    return f"{word} in {', '.join(dict.fromkeys(one.curve.name for one in event.changes[:3]))}"


def described(event: Event, label: str, trajectories: xr.Dataset) -> str:
    """One sentence: when, what, and from where to where for each metric that moves (at most five, then a count)."""
    steps = trajectories["step"].values.astype(float)
    verb = {
        "generalization": "the network generalized",
        "memorization": "the network memorized its training data",
        "instability": "the training became unstable without a functional gain",
        "overfitting": "the network overfitted",
    }.get(label, label)
    moves = [_from_to(one, event, steps, trajectories) for one in event.changes[:5]]
    more = len(event.changes) - len(moves)
    tail = f", and {more} more" if more else ""
    return f"between steps {10**event.onset:,.0f} and {10**event.end:,.0f} {verb}: {', '.join(moves)}{tail}"


def _from_to(change: Change, event: Event, steps: np.ndarray, trajectories: xr.Dataset) -> str:
    curve = change.curve
    variable = trajectories[curve.metric].transpose("step", ...)
    values = (variable if curve.index is None else variable[:, curve.index]).values.astype(float)
    error = trajectories.get(f"{curve.metric}_se")
    errors = None if error is None or curve.index is not None else error.values.astype(float)
    finite = np.flatnonzero(np.isfinite(values) & (steps > 0))
    x = np.log10(steps[finite])
    # Where the change itself has hardly begun and is all but over, a little beyond 10 and 90%.
    reach = 0.25 * change.width
    before = finite[max(int(np.searchsorted(x, change.onset - reach, side="right")) - 1, 0)]
    after = finite[min(int(np.searchsorted(x, change.end + reach)), len(finite) - 1)]
    texts = []
    for i in (before, after):
        text = number(values[i])
        if errors is not None and np.isfinite(errors[i]):
            text += f" ± {errors[i]:,.2g}" if errors[i] < 100 else f" ± {errors[i]:,.0f}"
        texts.append(text)
    word = WORDS.get(curve.metric, curve.metric.replace("_", " "))
    index = "" if curve.index is None else f" {curve.index}"
    return f"{word}{index} {texts[0]} → {texts[1]}"


def number(value: float) -> str:
    """Two decimals or three digits, thousands separated."""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.01:
        return f"{value:.2f}"
    return f"{value:.1e}"


def _moves(event: Event, metric: str, *, up: bool) -> bool:
    return any(one.curve.metric == metric and (one.amplitude > 0) == up for one in event.changes)


def _learned(event: Event, accuracy: str) -> float:
    """Share of an accuracy's range that is gained here, 0 if it does not rise (or falls again)."""
    if event.fall is not None:
        return 0.0
    return max((one.share for one in event.changes if one.curve.metric == accuracy and one.amplitude > 0), default=0.0)


def _gains(event: Event) -> bool:
    """Whether some accuracy rises or some loss falls."""
    return any(
        (one.curve.metric.endswith("accuracy") and one.amplitude > 0)
        or (one.curve.metric.endswith("loss") and one.amplitude < 0)
        for one in event.changes
    )


def _columns(event: Event, metric: str, *, up: bool) -> list[int]:
    """Columns whose change here is most of their range: a readjustment is no entry."""
    return sorted(
        one.curve.index
        for one in event.changes
        if one.curve.metric == metric and one.curve.index is not None and (one.amplitude > 0) == up and one.share > 0.4
    )


def _features(columns: Iterable[int]) -> str:
    names = [str(column) for column in columns]
    if len(names) == 1:
        return f"feature {names[0]}"
    return f"features {', '.join(names[:-1])} and {names[-1]}"
