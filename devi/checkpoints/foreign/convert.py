"""convert: foreign checkpoints into a run, one at a time in memory, taken up again where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from devi.checkpoints.foreign.listing import open_source
from devi.checkpoints.foreign.names import parsed_renames
from devi.checkpoints.foreign.source import Source
from devi.checkpoints.foreign.vessel import Vessel
from devi.checkpoints.header import segment_paths
from devi.checkpoints.records import Records
from devi.checkpoints.rerun import Differs
from devi.checkpoints.writer import Recorder
from devi.errors import DeviError, counted, shown
from devi.plugins import name_of
from devi.task import Task


class Converted(NamedTuple):
    """What became of it: how many checkpoints the run has, how many were there before, its first and last step."""

    kind: str
    checkpoints: int
    already: int
    first: int
    last: int
    notices: list[str]


def convert(
    source: Path | str | Source,
    out: Path | str,
    task: Task,
    *,
    name: str | None = None,
    pattern: str | None = None,
    renames: Sequence[str] = (),
    is_unchanged: bool = False,
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> Converted:
    """Write the checkpoints at `source` as a run at `out`. Dtypes stay as they are in the files.

    name          what the user calls the task; it is stored with the run
    pattern       regular expression with one group, the step, for file names that do not say it
    renames       'old=new': a name in the file and the model's; with a dot at its end, the beginnings of names
    is_unchanged  whether what was converted before is known to be still in the files; else all of it is compared
    progress      told (checkpoints done, of how many)
    Raises DeviError; what was converted before that is kept, and the same call goes on from there.
    """
    tell = notice or (lambda text: None)
    source = source if isinstance(source, Source) else open_source(Path(source), pattern)
    out, places = Path(out), source.places
    vessel = Vessel(task, name or name_of("task", type(task)), parsed_renames(renames))
    before = _stored(out, source)
    stored = 0 if before is None else len(before.steps)
    # What is stored once more, the last at least: the Recorder compares it byte for byte.
    begin = max(stored - 1, 0) if is_unchanged else 0
    # Before anything is written: do the names fit? The first file says which network it is, wherever it goes on.
    vessel.fill(source.read(places[0]), places[0])
    notices: list[str] = []

    def note(texts: Sequence[str]) -> None:
        for text in texts:
            notices.append(text)
            tell(text)

    note([*source.notices, *_about_names(vessel)])
    known, prefixes = set(vessel.left_out), {vessel.prefix}
    about = _about(source, name, renames)
    with Recorder(out, task, metadata=about, resume=before is not None, expected=len(places), notice=tell) as record:
        for done, place in enumerate(places[begin:], begin):
            if done > 0:
                vessel.fill(source.read(place), place)
                if vessel.prefix not in prefixes:
                    prefixes.add(vessel.prefix)
                    note([f"{place}: {_taken_off(vessel.prefix)}"])
                if more := [name for name in vessel.left_out if name not in known]:
                    known.update(more)
                    note([f"{place}: {_left_out(more)}"])
            try:
                record(place.step, vessel.model)
            except Differs as error:
                raise DeviError(
                    f"{place} is no longer what was converted to {out}: {error.where}. Put it back, or give another"
                    " --out."
                ) from None
            vessel.empty()
            record.release()
            if progress:
                progress(done + 1, len(places))
    note(source.seen())
    return Converted(source.kind, len(places), stored, places[0].step, places[-1].step, notices)


def damage_of(records: Records) -> str | None:
    """What is wrong with the first damaged place of a conversion; where an interrupt tore it is no damage."""
    return next((str(finding) for finding in records.findings if finding.kind != "torn"), None)


def _stored(out: Path, source: Source) -> Records | None:
    """What an earlier, interrupted conversion has stored, perhaps no checkpoint yet; None if there was none.

    Raises DeviError if it is not of these steps.
    """
    if not out.is_dir() or not segment_paths(out):
        return None
    records = Records.open(out, is_live=False)
    if records.segments and "converted" not in records.layout_header.metadata:
        raise DeviError(f"{out} already holds a run, and not one that was converted. Give another --out.")
    damage = damage_of(records)
    if damage is not None:
        raise DeviError(f"{out} holds a conversion that is damaged: {damage}. Delete it, or give another --out.")
    steps = records.steps.tolist()
    expected = [place.step for place in source.places]
    if steps != expected[: len(steps)]:
        odd = next((step for step, wanted in zip(steps, expected, strict=False) if step != wanted), steps[-1])
        raise DeviError(
            f"{out} holds a conversion whose step {odd} does not stand there in {shown(source.path, 300)}: it was made"
            " from other files, or files were added between. Give another --out."
        )
    return records


def _about(source: Source, name: str | None, renames: Sequence[str]) -> dict[str, Any]:
    """What is stored with the run. Nothing of this machine: it did not train the model."""
    about = {"kind": source.kind, "source": shown(source.path.name, 200), "renames": list(renames)}
    unknown = dict.fromkeys(("git", "device", "hardware", "threads"))
    return {"converted": about, **unknown, **({} if name is None else {"task": name})}


def _about_names(vessel: Vessel) -> list[str]:
    told = []
    if vessel.prefix:
        told.append(_taken_off(vessel.prefix))
    if vessel.left_out:
        told.append(_left_out(vessel.left_out))
    if vessel.made_up:
        told.append(f"{vessel.made_up[0]} and its like are not in files of torch before 0.4.1: 0 stands for them.")
    return told


def _taken_off(prefix: str) -> str:
    if not prefix:
        return "nothing stands before the names in it."
    return f"'{shown(prefix)}' stands before every name in the files and is taken off."


def _left_out(names: Sequence[str]) -> str:
    some = ", ".join(shown(name) for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    are = "is" if len(names) == 1 else "are"
    return f"{counted(len(names), 'tensor')} in the files {are} not in the task's model and {are} left out: {some}."
