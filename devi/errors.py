"""DeviError: a problem the user can fix, said in one message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DeviError(Exception):
    """What is wrong with which value, what was expected, what to type next. Shown without a traceback (exit code 1)."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> DeviError:
    """The error for a name that is not among `known`, with the nearest one suggested."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return DeviError(f"no {kind} is called '{name}'.{hint} Known: {', '.join(known)}.")
