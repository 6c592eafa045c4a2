"""Steps from file names: 'step_1200.pt' is step 1200, and step_10 comes after step_9."""

from __future__ import annotations

import re
from collections.abc import Sequence

from devi.checkpoints.foreign.source import MOST_STEP
from devi.errors import DeviError, counted, shown

_DIGITS = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]+(?:[.,][0-9]+)+")
# Digits that are all of a number: not the 1 of 1k, 1e3, 1%, 1.5 or -1, nor the 5 of 1.5, .5 or 1e5.
_REST = re.compile(r"[^\W_]|%|[.,][0-9]")
_WHOLE = rf"(?<![0-9])(?<![0-9][.,eE])(?<![-_=. ][-.])(?<!^-)[0-9]+(?!{_REST.pattern})"
_NUMBER = re.compile(_WHOLE)
_THOUSANDS = r"[0-9]{1,3}[ ,_'][0-9]{3}(?![0-9])"
# Words before the number that say what it counts, the surest first; without a group where it is none that is certain.
_WORDS = [
    re.compile(rf"(?:{words})s?[-_=. ]*(?:(?!{_THOUSANDS})({_WHOLE})|[0-9])", re.I)
    for words in ("step", "iter|iteration", "checkpoint|ckpt")
]
_BEFORE_WORD = re.compile(r"[0-9]+([-_. ]?(?:steps?|iters?|iterations?)(?![^\W_]))", re.I)  # 10steps
_EPOCH = re.compile(rf"epochs?[-_=. ]*({_WHOLE})", re.I)


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
    for match in matches:
        if match and match.end(1) == match.end() and _REST.match(match.string, match.end()):
            raise DeviError(
                f"{shown(match.string, 200)}: --step-pattern {pattern!r} ends within a number or a word, after"
                f" '{shown(match[0])}'. Rename what is of another form, or say in the pattern what stands behind the"
                r" step, as in '(\d+)\.pt': what does not match it is left out."
            )
    return [None if match is None else _number(match[1], name) for match, name in zip(matches, names, strict=True)]


def steps_said(names: Sequence[str]) -> list[int | None]:
    """The number after 'step' (or iter, checkpoint); None where there is none, or only a part of one as in step_1k."""
    found = map(_said, names)
    return [None if match is None or match[1] is None else _number(match[1], match.string) for match in found]


def steps_by_name(names: Sequence[str]) -> list[int | None]:
    """The number after 'step' (or iter, checkpoint), else the only number, else the only one that differs.

    None where no number can be told to be the step. An epoch is none, nor is what stands beside it, a batch or a loss:
    those start anew or go down.
    """
    bare = [_DECIMAL.sub("x", name) for name in names]
    varying = _varying(bare)
    return [
        _only(short, varying) if step is None and _said(name) is None and not _EPOCH.search(name) else step
        for name, short, step in zip(names, bare, steps_said(names), strict=True)
    ]


def epochs_by_name(names: Sequence[str]) -> list[int | None]:
    """The number after 'epoch'."""
    found = [_EPOCH.search(name) for name in names]
    return [None if match is None else _number(match[1], match.string) for match in found]


def left_out(names: Sequence[str], noun: str) -> list[str]:
    """The notice of what a pattern does not match, if there is any; `noun` in the singular."""
    some = ", ".join(shown(name) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    does, is_ = ("does", "is") if len(names) == 1 else ("do", "are")
    return [f"{counted(len(names), noun)} {does} not match the pattern and {is_} left out: {some}."] if names else []


def no_step(name: str, others: Sequence[str], where: str = "an entry 'step' or 'global_step' in the file") -> DeviError:
    """The error for a name that no step can be told from.

    where   what else than a name could have said it
    """
    return DeviError(
        f"{shown(name, 200)}: which step is this? Expected one whole number in the name, as in step_1200"
        f"{where and f', or {where}'}. {_example([name, *others])}"
    )


def _said(name: str) -> re.Match[str] | None:
    """Where a word says which step a name is of, the surest word first; without its group if the number is unsure."""
    bare = _EPOCH.sub("", name)
    return next((match for word in _WORDS if (match := word.search(bare))), None)


def _only(name: str, varying: int | None) -> int | None:
    numbers = list(_DIGITS.finditer(name))
    index = 0 if len(numbers) == 1 else varying
    if index is None or not _NUMBER.match(name, numbers[index].start()):
        return None
    return _number(numbers[index][0], name)


def _varying(names: Sequence[str]) -> int | None:
    """Which of their numbers differs, if the names are alike otherwise and only one does."""
    if len({_DIGITS.sub("0", name) for name in names}) != 1:
        return None
    columns = list(zip(*(_DIGITS.findall(name) for name in names), strict=True))
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
    for name in names:
        match = _said(name)
        if match and match[1]:
            return _leaving_out(name, match[0][: match.start(1) - match.end()])
    for name in names:
        if _said(name) is None and (numbers := list(_NUMBER.finditer(name))):
            return _leaving_out(name, name[: numbers[-1].start()][-12:])
    for name in names:
        if match := _BEFORE_WORD.search(name):
            return rf"For '{shown(name, 200)}' it could be this: --step-pattern '(\d+){shown(re.escape(match[1]))}'"
    return "Rename them: step_1200."


def _leaving_out(name: str, before: str) -> str:
    return (
        f"For '{shown(name, 200)}' it could be this, which leaves out what does not match:"
        rf" --step-pattern '{shown(re.escape(before))}(\d+)'"
    )
