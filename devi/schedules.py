"""Checkpoint schedules: which optimizer steps are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from devi.errors import DeviError

FORMS = "expected log:COUNT, every:STEPS, steps like 0,10,100, or a file that lists steps"

# From here on exactness gives way; a schedule within it never changes, so that a run can be resumed.
MOST_TRIED = 100_000_000  # numbers, 1 s; log:4999 of 5000 steps takes 62 million


def schedule(text: str, steps: int) -> list[int]:
    """The checkpointed steps of a run of `steps` optimizer steps, increasing, with 0 and `steps` always among them.

    log:COUNT   COUNT steps spaced evenly in log(step) as far as whole numbers allow, and step 0
    every:K     0, K, 2K, …
    a,b,c or a file of whole numbers
    """
    kind, _, value = text.partition(":")
    if kind == "log" and value:
        chosen = _log_spaced(_whole(value, text), steps)
    elif kind == "every" and value:
        chosen = list(range(0, steps + 1, _whole(value, text)))
    else:
        chosen = [_whole(word, text, least=0) for word in _listed(text).replace(",", " ").split()]
        if chosen and max(chosen) > steps:
            raise DeviError(f"checkpoints '{text}': step {max(chosen)} lies past the end of the run, {steps} steps.")
    return sorted({0, steps, *chosen})


def _log_spaced(count: int, steps: int) -> list[int]:
    if count >= steps:
        return list(range(1, steps + 1))
    # Rounding merges neighbours early on, so ask for more until `count` distinct steps are left.
    asked, tried = count, 0
    while True:
        chosen = np.round(np.geomspace(1, steps, asked))
        missing = count - 1 - int(np.count_nonzero(np.diff(chosen)))
        if missing <= 0:
            return np.unique(chosen).astype(int).tolist()
        tried += asked
        # Where nearly every step is asked for, one more at a time would take minutes.
        asked += max(1, missing // 2, asked // 10 if tried > MOST_TRIED else 0)


def _listed(text: str) -> str:
    if text.replace(",", "").replace(" ", "").isdecimal():
        return text
    path = Path(text)
    try:
        found = path.is_file()
    except (OSError, ValueError):  # text that cannot be a path
        found = False
    if not found:
        raise DeviError(f"checkpoints '{text}' is not understood: {FORMS}.")
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DeviError(f"checkpoints '{text}' could not be read: {error}. {FORMS.capitalize()}.") from error


def _whole(word: str, text: str, *, least: int = 1) -> int:
    if not word.isdecimal() or int(word) < least:
        raise DeviError(f"checkpoints '{text}': '{word}' is not a whole number of at least {least}; {FORMS}.")
    return int(word)
