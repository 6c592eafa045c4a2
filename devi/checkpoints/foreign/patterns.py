"""Patterns: the --step-pattern that takes one of two names of the same step, and leaves no step twice."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DIGITS = re.compile(r"[0-9]+")


def telling_apart(pair: Sequence[str], step: int, names: Sequence[str]) -> str | None:
    """The pattern of one name of the pair under which most of all names have a step, each another; None if there is
    none."""
    found = []
    for name in pair:
        pattern = _around(name, step)
        if pattern is None:
            continue
        steps = [int(match[1]) for each in names if (match := re.search(pattern, each))]
        if len(set(steps)) == len(steps):
            found.append((len(steps), "step" in pattern.lower(), -len(name), pattern))  # model_10, not model_10_optim
    return max(found)[3] if found else None


def _around(name: str, step: int) -> str | None:
    """What stands around the last number in the name that is the step, up to the next digits."""
    is_plain = len(name) <= 200 and name.isprintable()
    numbers = [match for match in _DIGITS.finditer(name) if int(match[0]) == step] if is_plain else []
    if not numbers:
        return None
    before, after = name[: numbers[-1].start()], name[numbers[-1].end() :]
    near_before, near_after = _DIGITS.split(before)[-1], _DIGITS.split(after)[0]
    start, end = "^" * (near_before == before), "$" * (near_after == after)
    return rf"{start}{re.escape(near_before)}(\d+){re.escape(near_after)}{end}"
