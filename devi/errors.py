"""DeviError: a problem the user can fix, said in one message; Notice: what is slower or other than was asked for."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Iterable
from typing import Any


class DeviError(Exception):
    """What is wrong with which value, what was expected, what to type next. Shown without a traceback (exit code 1)."""


class Unsuitable(DeviError):
    """A metric is not made for this model or task: one that nobody asked for is then left out, with a notice."""


class Notice(UserWarning):
    """What is done in another way than was asked for, or slowly. The command line shows it as a line of its own."""


def system_error(error: BaseException) -> OSError | None:
    """The operating system's refusal (a full disk, say) behind an error; libhdf5 hides it in a RuntimeError's text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    code = re.search(r"errno = (\d+)", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else None


def unknown_name(kind: str, name: str, known: Iterable[str]) -> DeviError:
    """The error for a name that is not among `known`, with the nearest one suggested."""
    known = sorted(known)
    begins = [one for one in known if len(name) > 2 and one.startswith(name)]  # 'kept' for 'kept_fraction'
    near = begins or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = f"Known: {', '.join(known)}." if known else "There is none."
    return DeviError(f"no {kind} is called '{name}'.{hint} {listed}")


def wrong_kind(what: str, given: Any, expected: str) -> DeviError:
    """The error for a value of a kind that `what` does not take."""
    is_class = isinstance(given, type)
    told = f"the class {given.__name__}" if is_class else f"{shown(repr(given), 40)}, of class {type(given).__name__}"
    return DeviError(f"{what} is {told}; expected {expected}")


def shown(name: object, most: int = 60) -> str:
    """A name that a file gave, as it may be printed: no control characters, at most `most` characters."""
    text = str(name)[: most + 1]
    text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return text if len(text) <= most else text[: most - 1] + "…"


def counted(count: int, noun: str) -> str:
    """'1 checkpoint', '1,200 checkpoints'."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def quoted(name: object) -> str:
    """A path or name as one word of a command that is printed: 'my run' with its quotes."""
    return shlex.quote(str(name))
