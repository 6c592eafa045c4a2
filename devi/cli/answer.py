"""Answer: --json's document is all that reaches stdout; what a user's own task or metric prints goes to stderr then."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

_stdout: TextIO | None = None  # where documents go meanwhile; None: where everything does


@contextlib.contextmanager
def only_documents(words: Sequence[str]) -> Iterator[None]:
    """While the command of these words runs, if they ask for --json."""
    global _stdout
    if "--json" not in words or "--help" in words:
        yield
        return
    _stdout = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _stdout = None


def print_document(text: str) -> None:
    """At once, for whoever follows a file waits for it."""
    print(text, file=_stdout, flush=True)
