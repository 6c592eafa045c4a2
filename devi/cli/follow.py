"""devi detect --follow: transitions of a file that is still being written, told once they are certain."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from devi.cli.answer import print_document
from devi.errors import DeviError, shown

if TYPE_CHECKING:
    import xarray as xr

    from devi.tables.table import Table
    from devi.transitions.live import Certain, Follower
    from devi.transitions.transition import Exogenous

NUMBER = re.compile(r"(?<![\w.])-?\d[\d.,]*(?:e[+-]?\d+)?(?!\w)")  # not one in a name
WAIT = 2.0  # seconds between two looks at the file
MOST_DOUBTS = 5  # looks at a file that changes all the time and is never whole


def follow(
    file: Path,
    read: Callable[[], Table],
    *,
    operating_point: str,
    exogenous: Exogenous,
    as_json: bool,
    patience: float | None,
) -> None:
    """Print each transition as it becomes certain, one line (or JSON document) each, until Ctrl-C.

    read      the table as it stands now
    patience  seconds without growth after which to stop, having told what is not certain yet; None: never
    """
    from devi.transitions.live import Certain, Follower

    follower = Follower(operating_point, exogenous)
    for one in certain(file, read, follower, patience=patience):
        print_document(json.dumps(document(one), ensure_ascii=False) if as_json else line(one))
    if follower.skipped and not follower.searched:
        reasons = dict.fromkeys(f"{one.metric}: {one.reason}" for one in follower.skipped)
        print(f"devi: {shown(f'{file}: nothing was searched. ' + '; '.join(reasons), 4000)}", file=sys.stderr)
    for each in follower.uncertain:
        one = Certain(each, follower.last)
        print_document(json.dumps(document(one, is_certain=False), ensure_ascii=False) if as_json else unsure(one))


def certain(file: Path, read: Callable[[], Table], follower: Follower, *, patience: float | None) -> Iterator[Certain]:
    state, grown, said = None, time.monotonic(), set[str]()

    def say(notice: str) -> None:
        key = NUMBER.sub("", notice)  # they grow with the file
        if key not in said:
            said.add(key)
            print(f"devi: {shown(notice, 4000)}", file=sys.stderr)

    curves: xr.Dataset | None = None
    doubts = 0  # looks in a row at what may have been caught while it was rewritten
    if file.is_dir():
        read()  # says that it is one
    while True:
        now = (file.stat().st_size, file.stat().st_mtime_ns) if file.exists() else (-1, 0)
        if now != state or doubts:
            is_still, before, doubted, doubts = now == state, curves, doubts, 0
            if not is_still:
                state, grown = now, time.monotonic()
            is_sure = doubted and (is_still or doubted >= MOST_DOUBTS)
            try:
                curves = _curves(file, read, before, say)
            except DeviError:
                if is_sure:
                    raise
                doubts = doubted + 1
            if not doubts and curves is not None and before is not None and _is_another(curves, before):
                if is_sure:
                    print(f"devi: {file} holds another run now, which is followed from its start.", file=sys.stderr)
                    follower.back_to(0.0)
                    said.clear()
                else:
                    curves, doubts = before, doubted + 1
            if not doubts and curves is not None and follower.is_due(_last(curves)):
                yield from follower.look(curves)
                for notice in follower.notices:
                    say(notice)
        elif patience is not None and time.monotonic() - grown > patience:
            if curves is None:
                read()  # says why there is nothing: no file, or no row in it
            elif _last(curves) > follower.last:  # what came since the last look
                yield from follower.look(curves)
            return
        time.sleep(WAIT)


def _curves(
    file: Path, read: Callable[[], Table], before: xr.Dataset | None, say: Callable[[str], None]
) -> xr.Dataset | None:
    """What the file holds now; where it has no rows, what it held before.

    say  is told what of it the user should know
    """
    from devi.transitions.contradicted import contradictions
    from devi.transitions.curves import FEWEST

    try:
        table = read()
        trajectories = table.trajectories
    except DeviError:
        if file.exists() and file.stat().st_size > 0 and len(file.read_text(errors="replace").splitlines()) > 2:
            raise  # it has rows, and they are wrong
        return before
    if not trajectories.sizes["step"]:
        return before
    for notice in (*table.notices, *(f"{name} is left out: {reason}." for name, reason in table.left_out.items())):
        say(notice)
    if trajectories.sizes["step"] >= FEWEST:
        for notice in contradictions(trajectories, {}):
            say(notice)
    return trajectories if before is None else _with_what_is_gone(trajectories, before)


def _with_what_is_gone(curves: xr.Dataset, before: xr.Dataset) -> xr.Dataset:
    """A log that was rotated begins later than it did and goes on: what was read of it before still counts."""
    first = float(curves["step"].values[0])
    if first <= float(before["step"].values[0]) or _last(curves) < _last(before):
        return curves
    import xarray as xr

    gone = before.isel(step=before["step"].values < first)
    return xr.concat([gone, curves], dim="step", data_vars="all", combine_attrs="override")


def _is_another(curves: xr.Dataset, before: xr.Dataset) -> bool:
    """Whether the curves do not go on from what was there before: they end earlier, or begin with other values."""
    if _last(curves) < _last(before):
        return True
    new, old = curves.isel(step=0), before.isel(step=0)
    return bool(new["step"] == old["step"]) and any(
        bool(((new[name] != old[name]) & new[name].notnull() & old[name].notnull()).any())
        for name in old.data_vars
        if name in new
    )


def _last(curves: xr.Dataset) -> float:
    return float(curves["step"].values[-1])


def line(one: Certain) -> str:
    delay = f"{one.delay:,.0f}" if one.delay >= 10 else f"{one.delay:.2g}"
    replaced = "".join(f", in place of what was told of step {old.midpoint:,.0f}" for old in one.replaces)
    return _line(one, f"certain {delay} steps after its end{replaced}")


def unsure(one: Certain) -> str:
    return _line(one, "not certain yet: more rows may change it")


def _line(one: Certain, certainty: str) -> str:
    declared = f", coincides with {one.transition.exogenous}" if one.transition.exogenous else ""
    told = f"{one.transition.description} (confidence {one.transition.confidence:.2f}, {certainty}{declared})"
    return shown(f"step {one.step:,.10g}: {told}", 4000)


def document(one: Certain, *, is_certain: bool = True) -> dict[str, object]:
    replaces = [old.midpoint for old in one.replaces]
    return {
        "step": one.step, "delay": one.delay, "certain": is_certain, "replaces": replaces,
        "transition": one.transition.to_json(),
    }  # fmt: skip
