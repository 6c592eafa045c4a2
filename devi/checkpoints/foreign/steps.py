"""Steps from file names: 'step_1200.pt' is step 1200, and step_10 comes after step_9."""

from __future__ import annotations

import re
from collections.abc import Sequence

from devi.checkpoints.foreign.source import MOST_STEP
from devi.errors import DeviError, shown

_NUMBER = re.compile(r"[0-9]+")
# Words before the number that say what it counts, the surest first.
_WORDS = [
    re.compile(rf"(?:{words})s?[-_=. ]*([0-9]+)", re.I) for words in ("step", "iter|iteration", "checkpoint|ckpt")
]
_EPOCH = re.compile(r"epochs?[-_=. ]*[0-9]+", re.I)


def steps_by_pattern(names: Sequence[str], pattern: str) -> list[int | None]:
    """What the pattern's group matches in each name; None where the pattern is not found.

    Raises DeviError for a pattern that is none, that has not one group, that matches nothing, or no whole number.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DeviError(f"--step-pattern {pattern!r} is no regular expression: {error}. {_example(names)}") from None
    if compiled.groups != 1:
        raise DeviError(
            f"--step-pattern {pattern!r} has {compiled.groups} groups; exactly one, in parentheses, is the step."
            f" {_example(names)}"
        )
    matches = [compiled.search(name) for name in names]
    if not any(matches):
        raise DeviError(f"--step-pattern {pattern!r} matches none of {len(names)} names. {_example(names)}")
    return [None if match is None else _number(match[1], name) for match, name in zip(matches, names, strict=True)]


def steps_by_name(names: Sequence[str]) -> list[int | None]:
    """The number after 'step' (or iter, checkpoint), else the only number, else the only one that differs.

    None where no number can be told to be the step. An epoch is none: its number counts something else.
    """
    bare = [_EPOCH.sub("", name) for name in names]
    found = [_said(name) for name in bare]
    if None in found:
        varying = _varying(bare)
        found = [_only(name, varying) if step is None else step for name, step in zip(bare, found, strict=True)]
    return found


def epochs_by_name(names: Sequence[str]) -> list[int | None]:
    """The number after 'epoch'."""
    found = [_EPOCH.search(name) for name in names]
    return [None if match is None else _number(_NUMBER.findall(match[0])[0], match[0]) for match in found]


def no_step(name: str, others: Sequence[str]) -> DeviError:
    return DeviError(
        f"{shown(name, 200)}: which step is this? Expected one number in the name, as in step_1200, or an entry 'step'"
        f" or 'global_step' in the file. {_example([name, *others])}"
    )


def _said(name: str) -> int | None:
    for word in _WORDS:
        match = word.search(name)
        if match:
            return _number(match[1], name)
    return None


def _only(name: str, varying: int | None) -> int | None:
    numbers = _NUMBER.findall(name)
    if len(numbers) == 1:
        return _number(numbers[0], name)
    return None if varying is None else _number(numbers[varying], name)


def _varying(names: Sequence[str]) -> int | None:
    """Which of their numbers differs, if the names are alike otherwise and only one does."""
    if len({_NUMBER.sub("0", name) for name in names}) != 1:
        return None
    columns = list(zip(*(_NUMBER.findall(name) for name in names), strict=True))
    differing = [index for index, column in enumerate(columns) if len(set(column)) > 1]
    return differing[0] if len(differing) == 1 else None


def _number(text: str | None, name: str) -> int:
    if text is None or not re.fullmatch(r"0*[0-9]{1,19}", text) or int(text[-19:]) > MOST_STEP:
        raise DeviError(
            f"{shown(name, 200)}: {shown(text)!r} is no step; expected a whole number from 0 to {MOST_STEP}."
            r" Say where the step stands in the name: --step-pattern 'step_(\d+)'"
        )
    return int(text[-19:])


def _example(names: Sequence[str]) -> str:
    """What could be typed for names like these."""
    name = next((name for name in names if _NUMBER.search(name)), None)
    if name is None:
        return r"Rename the files, or, if a name has a number: --step-pattern 'step_(\d+)'"
    match = list(_NUMBER.finditer(name))[-1]
    before = re.escape(name[max(0, match.start() - 12) : match.start()])
    return rf"For '{shown(name, 200)}' it could be: --step-pattern '{shown(before)}(\d+)'"
