"""What happened, in sentences with numbers: the values just before the onset and just after the end of a transition."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from devi.errors import counted
from devi.report.panels import units_of
from devi.report.quantity import Reading, column, is_count, quantity, readings
from devi.transitions.curves import FEWEST, is_still, is_too_few
from devi.transitions.flags import caveat, information_of, is_unhealthy
from devi.transitions.ranks import is_context, told
from devi.transitions.words import LARGE, told_apart, with_minus

DATED = re.compile(r"(between steps|at step) [\d.,e+-]+ ")  # a description that says when
OF_TYPE = {
    "step": "one level gave way to another",
    "jump": "there was a jump from one checkpoint to the next",
    "ramp": "there was a steady climb or fall",
    "kink": "the trend broke",
    "transient": "there was a rise and a fall",
    "instability": "training was unstable: a spike without a gain in function",
    "overfit_rise": "the test loss rose while the training loss did not",
}


def step_text(step: float) -> str:
    """An optimizer step for a reader: 1,050; fractions only where the fit put the date between small steps."""
    return f"{step:,.0f}" if step >= 10 or float(step).is_integer() else f"{step:,.1f}"


def value_text(value: float, error: float = math.nan, *, decimals: int | None = None, more: int = 0) -> str:
    """A value for a reader, with a true minus sign and `more` digits than usual; see `_rounded`."""
    return with_minus(_rounded(value, error, decimals, more))


def _rounded(value: float, error: float, decimals: int | None, more: int) -> str:
    """A value with its standard error, rounded where the error starts: 412 ± 9, 7.03 ± 0.12; else 3 digits."""
    if not math.isfinite(value):
        return "no value" if math.isnan(value) else "not finite"
    if math.isfinite(error) and error > 0:
        # 2 digits of an error that starts with 1, else 1 digit: never more than 30% of rounding.
        exponent = math.floor(math.log10(error))
        places = -exponent + (1 if error / 10**exponent < 2 else 0) + more
        if places < 7 and abs(value) < 1e7:
            shown = max(places, 0)
            return f"{round(value, places):,.{shown}f} ± {round(error, places):,.{shown}f}"
        return f"{value:.{3 + more}g} ± {error:.1g}"
    if decimals is not None and abs(value) < LARGE:
        return f"{value:,.{decimals + more}f}"
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.{2 + more}e}"
    digits = max(0, 2 + more - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}"


def signed(value: float, *, decimals: int | None = None) -> str:
    """A change, with its sign."""
    return ("+" if value > 0 else "−" if value < 0 else "") + value_text(abs(value), decimals=decimals)


def changes(trajectories: xr.Dataset, transition: dict[str, Any]) -> list[str]:
    """'test accuracy 0.05 → 1.00' of the quantities that a description tells too, in its order; the rest is counted.

    A transition's support is in the order in which it is told (devi.transitions.telling).
    """
    support = transition.get("support", [])
    metrics = [str(entry["metric"]) for entry in support]
    texts = []
    for place in told(metrics, [_is_context(trajectories, entry) for entry in support]):
        metric, index = metrics[place], support[place].get("index")
        direction = support[place].get("direction", "")
        returns = direction if transition["type"] == "transient" else ""
        read = readings(trajectories, metric, index, transition["onset"], transition["end"], returns=returns)
        if not read or _contradicts(read, direction):
            continue
        decimals = 2 if "accuracy" in metric else 0 if is_count(trajectories[metric]) else None
        numbers = " → ".join(_told_apart(read, decimals))
        units = units_of(trajectories[metric])
        unit = f" {units}" if units not in ("", "1") else ""
        flagged = caveat(metric, [reading.step for reading in read], trajectories)
        texts.append(f"{quantity(trajectories, metric, index)} {numbers}{unit}{flagged}")
    more = len(support) - len(texts)
    return texts + ([f"and {more} more"] if texts and more else [])


def _told_apart(read: list[Reading], decimals: int | None) -> list[str]:
    """The values as texts, with the digits that it takes to see that they differ."""
    return told_apart(lambda more: [value_text(one.value, one.error, decimals=decimals, more=more) for one in read])


def _is_context(trajectories: xr.Dataset, entry: dict[str, Any]) -> bool:
    """Whether a curve only supports a transition (devi.transitions.ranks)."""
    curve = column(trajectories.get(entry["metric"]), entry.get("index"))
    if curve is None:
        return False
    values = curve.values.astype(float)[trajectories["step"].values > 0]
    values = values[np.isfinite(values)]
    return len(values) > 0 and is_context(entry["metric"], values)


def _contradicts(read: list[Reading], direction: str) -> bool:
    """Whether noise turns round, at these very checkpoints, what the fit over many says, or leaves nothing of it."""
    difference = read[1].value - read[0].value
    return difference <= 0 if direction == "up" else difference >= 0 if direction == "down" else False


def sentence(trajectories: xr.Dataset, transition: dict[str, Any]) -> str:
    """One transition in one sentence: what its description says happened, then the numbers."""
    onset, end = step_text(transition["onset"]), step_text(transition["end"])
    between = f"between steps {onset} and {end}" if onset != end else f"at step {onset}"
    # Numbers in a description give way to ours: all are read at the same two checkpoints, with units and errors.
    description = str(transition.get("description") or "").strip()
    lead = description.partition(": ")[0].rstrip(".:")
    if not lead:
        named = str(transition.get("label") or "")
        happened = OF_TYPE.get(str(transition["type"]), f"there was a change of type {transition['type']}")
        lead = f"{between} {happened}" + (f" ({named})" if named else "")
    elif not DATED.match(lead):
        lead = f"{between}, {lead}"
    own = description.partition(": ")[2].rstrip(".")
    # A kink has slopes before and after; its values are nearly the same.
    numbers = own if transition["type"] == "kink" and own else ", ".join(changes(trajectories, transition)) or own
    text = lead + (f": {numbers}." if numbers else ".")
    if transition.get("exogenous"):
        text += f" It coincides with a declared event: {transition['exogenous']}."
    if transition.get("resolvable") is False:
        text += " Fewer than 4 checkpoints lie on one side of it, so its dates are only a guess."
    return text[0].upper() + text[1:]


def headline(
    trajectories: xr.Dataset, transitions: list[dict[str, Any]], left_out: Sequence[dict[str, str]] = ()
) -> str:
    """How much was found, and where was looked. left_out: the metrics that were not searched, with the reasons."""
    steps = trajectories["step"].values
    if not len(steps):
        return "The run has no readable checkpoint, so there is nothing to say about its structure."
    if len(steps) == 1:
        return (
            f"The run has one checkpoint, at step {step_text(steps[0])}: its values are below,"
            " but a transition needs checkpoints before and after it."
        )
    looked = f"{len(steps)} checkpoints from step {step_text(steps[0])} to {step_text(steps[-1])}"
    if not transitions and _searched_nothing(trajectories, left_out):
        return f"No transition could be looked for in {looked}: {_why_nothing([one['reason'] for one in left_out])}."
    if not transitions:
        return f"No transition was found in {looked}: every curve is explained by slow change and noise."
    count = "One transition was" if len(transitions) == 1 else f"{len(transitions)} transitions were"
    return f"{count} found in {looked}."


def _why_nothing(reasons: Sequence[str]) -> str:
    """Why every curve was left out of the search, as far as one reason is that of several."""
    few, still = any(map(is_too_few, reasons)), any(map(is_still, reasons))
    if few and still:
        return f"every curve is constant or has fewer than {FEWEST} finite values after step 0"
    if few:
        return f"a curve needs at least {FEWEST} with a finite value after step 0"
    return "no curve moves" if still else "every curve was left out of the search"


def _searched_nothing(trajectories: xr.Dataset, left_out: Sequence[dict[str, str]]) -> bool:
    """Whether every curve was left out of the search."""
    names = {str(name) for name in trajectories.data_vars}
    errors = {name for name in names if name.endswith("_se") and name[:-3] in names}
    return bool(left_out) and names - errors <= {entry["metric"] for entry in left_out}


def llc_sentence(trajectories: xr.Dataset) -> str:
    """How far the LLC estimates can be trusted; empty when there are none."""
    if "llc" not in trajectories:
        return ""
    values = trajectories["llc"].values.astype(float)
    count, missing = len(values), int((~np.isfinite(values)).sum())
    flags = trajectories.get("llc_flags")
    flagged = 0 if flags is None else int(is_unhealthy(flags).sum())
    remarked = 0 if flags is None else sum(bool(str(flag)) for flag in flags.values)
    information = set() if flags is None else information_of(flags)
    counts = [(word in information, f"{word} {times}") for word, times in flag_words(trajectories)]
    words, remarks = (", ".join(text for is_remark, text in counts if is_remark == kind) for kind in (False, True))
    whole, their = ("The one LLC estimate", "its") if count == 1 else (f"All {count} LLC estimates", "their")
    text = f"{whole} passed {their} own diagnostics."
    if flagged == count:
        text = (
            f"{whole} {'is' if count == 1 else 'are'} flagged by {their} own diagnostics ({words}):"
            " do not read the LLC curve before you have seen why, below."
        )
    elif flagged:
        are, their = ("is", "its") if flagged == 1 else ("are", "their")
        text = (
            f"{flagged} of {count} LLC estimates {are} flagged by {their} own diagnostics ({words}) and drawn hollow"
            f"{f'; remarks: {remarks}' if remarks else ''}. What that means is below."
        )
    elif remarked:
        text = (
            f"The chains of {whole[0].lower()}{whole[1:]} are sound; {remarked} of the estimates"
            f" {'carries' if remarked == 1 else 'carry'} a remark on what the number means ({remarks}),"
            " explained below."
        )
    elif flags is None:
        text = f"The {counted(count, 'LLC estimate')} {'carries' if count == 1 else 'carry'} no diagnostics."
    if missing:
        gaps = "is not finite and leaves a gap" if missing == 1 else "are not finite and leave gaps"
        text += f" {missing} of {count} {gaps} in the curve."
    if "llc_se" not in trajectories:
        text += " They have no standard error."
    if "restricted_llc_flags" in trajectories:
        some = trajectories["restricted_llc_flags"]  # (step, restriction)
        bad = int(is_unhealthy(some).sum())
        are = "is" if bad == 1 else "are"
        text += f" Of the {some.size} LLC estimates of some parameters {bad or 'none'} {are} flagged."
    return text


def health(trajectories: xr.Dataset) -> str:
    """How many LLC estimates are flagged and by which words; empty if none is."""
    flags = trajectories.get("llc_flags")
    flagged = 0 if flags is None else int(is_unhealthy(flags).sum())
    if flags is None or not flagged:
        return ""
    counts = [f"{word} {times}" for word, times in flag_words(trajectories) if word not in information_of(flags)]
    are = "is" if flagged == 1 else "are"
    return f"{flagged} of {len(flags)} LLC estimates {are} flagged ({', '.join(counts)}): the report says why."


def gradients_taken(trajectories: xr.Dataset) -> int:
    """Gradients that sampling took, each of the loss of one chain on one batch."""
    names = [name for name in ("llc_gradients", "restricted_llc_gradients") if name in trajectories]
    return int(sum(float(trajectories[name].sum()) for name in names))


def flag_words(trajectories: xr.Dataset) -> list[tuple[str, int]]:
    """(flag, checkpoints whose LLC estimate carries it), most frequent first."""
    if "llc_flags" not in trajectories:
        return []
    words = [word.strip() for flags in trajectories["llc_flags"].values for word in str(flags).split(",")]
    return Counter(word for word in words if word).most_common()
