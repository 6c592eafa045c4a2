"""devi detect --follow: transitions of a file that is still being written, told once they are certain."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from devi.errors import DeviError

if TYPE_CHECKING:
    from devi.tables.table import Table
    from devi.transitions.live import Certain, Follower

WAIT = 2.0  # seconds between two looks at the file


def follow(
    file: Path,
    read: Callable[[], Table],
    *,
    operating_point: str,
    exogenous: Mapping[int, str],
    as_json: bool,
    patience: float | None,
) -> None:
    """Print each transition as it becomes certain, one line (or JSON document) each, until Ctrl-C.

    read      the table as it stands now
    patience  seconds without growth after which to stop; None: never
    """
    from devi.transitions.live import Follower

    for one in certain(file, read, Follower(operating_point, exogenous), patience=patience):
        print(json.dumps(document(one), ensure_ascii=False) if as_json else line(one), flush=True)


def certain(file: Path, read: Callable[[], Table], follower: Follower, *, patience: float | None) -> Iterator[Certain]:
    size, grown = -1, time.monotonic()
    while True:
        now = file.stat().st_size if file.exists() else -1
        if now != size:
            size, grown = now, time.monotonic()
            yield from _looked(follower, file, read)
        elif patience is not None and time.monotonic() - grown > patience:
            return
        time.sleep(WAIT)


def _looked(follower: Follower, file: Path, read: Callable[[], Table]) -> Iterator[Certain]:
    try:
        trajectories = read().trajectories
    except DeviError:
        if file.exists() and file.stat().st_size > 0 and len(file.read_text(errors="replace").splitlines()) > 2:
            raise  # it has rows, and they are wrong
        return  # it has no rows yet
    if trajectories.sizes["step"] and follower.is_due(float(trajectories["step"].values[-1])):
        yield from follower.look(trajectories)


def line(one: Certain) -> str:
    declared = f", coincides with {one.transition.exogenous}" if one.transition.exogenous else ""
    delay = f"{one.delay:,.0f}" if one.delay >= 10 else f"{one.delay:.2g}"
    return (
        f"step {one.step:,.10g}: {one.transition.description}"
        f" (confidence {one.transition.confidence:.2f}, certain {delay} steps after its end{declared})"
    )


def document(one: Certain) -> dict[str, object]:
    return {"step": one.step, "delay": one.delay, "transition": one.transition.to_json()}
