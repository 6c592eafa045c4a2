"""Records: the whole records of all segments of a run as one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from devi.checkpoints.folder import holds_run, only_slots
from devi.checkpoints.header import Finding, Header, its_own_name, segment_name, segment_paths
from devi.checkpoints.layout import DIGEST_BYTES, Layout
from devi.checkpoints.mapped import Segment, as_slice
from devi.checkpoints.scan import Scan, believed, places_in, scan
from devi.checkpoints.userblock import BlockError
from devi.errors import DeviError, quoted

# A run up to this size is hashed when it is opened, in some 20 ms; of a larger one each record before it is first used.
HASHED_AT_ONCE = 64 << 20
_MOST_GAPS = 100


class Found(NamedTuple):
    """What a scan found in a segment, given by its place in `Records.segments`."""

    segment: int
    scan: Scan
    is_checked: bool


class Records:
    """One row a record, in order of steps. A record's values are handed out only after its digest was found right."""

    def __init__(self, folder: Path, is_live: bool) -> None:
        self.folder, self.here = folder, folder.absolute()  # as given, for words; who reads may change directory
        self.segments: list[Segment] = []
        self.segment = np.zeros(0, np.int64)  # (T,) which segment
        self.place = np.zeros(0, np.int64)  # (T,) where in it
        self.steps = np.zeros(0, np.int64)
        self.digests = np.zeros((0, DIGEST_BYTES), np.uint8)
        self.is_checked = np.zeros(0, bool)  # (T,) whether the digest was compared with the bytes
        self.is_damaged = np.zeros(0, bool)  # (T,) and was wrong
        self._is_whole = True  # whether every record was checked and is not damaged
        self.findings: list[Finding] = []
        self.misnamed: dict[Path, int] = {}  # segments that are whole and were left out, and which they are
        self.is_live = is_live
        self._end = 0  # of the last segment: the place from which on there may be new records

    @classmethod
    def open(cls, folder: Path, *, is_live: bool, at_once: int = HASHED_AT_ONCE) -> Records:
        """The records of all segments that can be read, perhaps none; runs up to `at_once` bytes are hashed now.

        Raises DeviError if there is no segment at all.
        """
        if not folder.is_dir():
            what = "is a file; a run is a directory" if folder.exists() else "does not exist"
            raise DeviError(f"{folder} {what}. Expected what `devi train` or a Recorder wrote. See: devi train --help")
        paths = segment_paths(folder)
        if not paths and holds_run(folder):
            raise DeviError(only_slots(folder))
        if not paths:
            names = sorted(entry.name for entry in folder.iterdir())
            found = f"{len(names)} entries ({', '.join(names[:3])})" if names else "nothing"
            raise DeviError(
                f"{folder} holds no checkpoints: expected {segment_name(0)}, found {found}."
                f" Give the directory of one run, or make one: devi train superposition --out {quoted(folder)}"
            )
        records = cls(folder, is_live)
        records._take(paths, at_once=at_once)
        return records

    @property
    def layout_header(self) -> Header:
        return self.segments[0].header

    @property
    def layout(self) -> Layout:
        return self.layout_header.layout

    @property
    def stated(self) -> int:
        """How many records the files say they hold: those that were closed, or another one follows; of the last one of
        a run that was killed, nobody knows how many of its places were used, and what is whole counts."""
        files = [(one.header.records, one.header.is_closed) for one in self.segments]
        whole = np.bincount(self.segment[~self.is_damaged], minlength=len(files)).tolist()
        return sum(
            records if is_closed or index < len(files) - 1 else whole[index]
            for index, (records, is_closed) in enumerate(files)
        )

    def _take(self, paths: dict[int, Path], *, at_once: int) -> None:
        """Open further segments and look at their records."""
        expected = self.segments[-1].header.number + 1 if self.segments else 0
        new: list[Segment] = []
        misnamed: dict[Path, int] = {}
        for number, path in paths.items():
            for missing in range(expected, min(number, expected + _MOST_GAPS)):
                self._found(segment_name(missing), "the file is missing, with its checkpoints")
            expected = number + 1
            try:
                segment = Segment(path)
            except PermissionError:
                raise DeviError(
                    f"{path}: may not be read by this user, so nothing can be said of its checkpoints. Ask its owner"
                    f" for the right to: chmod a+r {quoted(path)}"
                ) from None
            except (BlockError, OSError) as error:
                self._found(path.name, f"{error}; none of its checkpoints can be read")
                continue
            header, first = segment.header, (self.segments + new)[0].header if self.segments or new else None
            if first and not _is_same_run(header, first):
                self._found(path.name, "it belongs to another run and was left out")
            elif header.number != number:
                misnamed[path] = header.number
            else:
                new.append(segment)
        theirs = {each.header.number for each in self.segments} | {
            n for n, path in paths.items() if path not in misnamed
        }
        for path, number in misnamed.items():
            if number in theirs:
                self._found(path.name, f"inside it is segment {number}, for which there is a file; it was left out")
            else:
                theirs.add(number)
                self.misnamed[path] = number
                self._found(path.name, its_own_name(number))
        size = sum(places_in(one.descriptor, one.header) * one.header.layout.dtype.itemsize for one in new)
        found: list[Found] = []
        last = self._last_step
        for segment in new:
            self.segments.append(segment)
            self.findings += segment.findings
            is_complete = segment.header.is_closed or segment.header.number != max(paths)
            taken = believed(segment.descriptor, segment.header, last) if size > at_once and is_complete else None
            is_checked = taken is None
            if taken is None:
                taken = _scanned(segment, 0, last, is_complete)
            found.append(Found(len(self.segments) - 1, taken, is_checked))
            last = int(taken.steps[-1]) if len(taken.steps) else last
        self._add(found)

    @property
    def _last_step(self) -> int | None:
        return int(self.steps[-1]) if len(self.steps) else None

    def _found(self, file: str, reason: str) -> None:
        self.findings.append(Finding("file", file, None, None, reason))

    def _add(self, found: list[Found]) -> None:
        """Append their rows, all at once: one segment after another would copy the first ones each time."""
        if not found:
            return
        counts, scans = [len(each.scan.places) for each in found], [each.scan for each in found]
        self.segment = np.concatenate([self.segment, np.repeat([each.segment for each in found], counts)])
        self.place = np.concatenate([self.place, *(each.places for each in scans)])
        self.steps = np.concatenate([self.steps, *(each.steps for each in scans)])
        self.digests = np.concatenate([self.digests, *(each.digests for each in scans)])
        self.is_checked = np.concatenate([self.is_checked, np.repeat([each.is_checked for each in found], counts)])
        self.is_damaged = np.concatenate([self.is_damaged, np.zeros(sum(counts), bool)])
        self._is_whole &= all(each.is_checked for each in found)
        self._end = scans[-1].end
        # A record that is being written now looks torn, and is nothing to tell.
        told = (finding for each in scans for finding in each.findings)
        self.findings += [finding for finding in told if not (self.is_live and finding.kind == "torn")]

    def refresh(self, *, is_live: bool) -> int:
        """Take in new records; returns their number. Rows of known ones do not change.

        Raises DeviError if another run has taken the place of this one, or none.
        """
        self.is_live, before = is_live, len(self.steps)
        try:
            paths = segment_paths(self.here)
        except OSError as error:
            raise DeviError(
                f"{self.folder} can no longer be read: {error.strerror or error}. Was it moved or deleted? Open it"
                " where it is: open_run(path)"
            ) from None
        last = self.segments[-1]
        self._replace_if_written_anew(last)
        last = self.segments[-1]
        # A place that was torn may be filled by now; if not, it is found once more.
        self.findings[:] = [each for each in self.findings if (each.kind, each.file) != ("torn", last.path.name)]
        is_complete = last.header.is_closed or last.header.number != max(paths, default=-1)
        if self._end < last.header.records:
            found = _scanned(last, self._end, self._last_step, is_complete)
            self._add([Found(len(self.segments) - 1, found, is_checked=True)])
        self._take({number: path for number, path in paths.items() if number > last.header.number}, at_once=0)
        return len(self.steps) - before

    def _replace_if_written_anew(self, last: Segment) -> None:
        """A clean close puts another file, with the same records, in the place of the last one."""
        try:
            stat = last.here.stat()
            if (stat.st_dev, stat.st_ino) != last.identity:
                new = Segment(last.path, last.here)
                if new.header.salt != last.header.salt or not _is_same_run(new.header, last.header):
                    raise BlockError("another run has taken its place")
                self.segments[-1] = new
        except (BlockError, OSError) as error:
            raise DeviError(
                f"{last.path} is no longer what was opened: {error}. Open the run again: open_run('{self.folder}')"
            ) from None

    def check(self, tell: Callable[[int, int], None] | None = None) -> None:
        """Hash every record that was not yet; `is_damaged` and `findings` then say which are not whole."""
        rows = np.flatnonzero(~self.is_checked)
        for done, row in enumerate(rows.tolist()):
            self._check(row)
            if tell is not None:
                tell(done + 1, len(rows))
        self._is_whole = not self.is_damaged.any()

    def _check(self, row: int) -> None:
        segment = self.segments[int(self.segment[row])]
        place = int(self.place[row])
        self.is_checked[row] = True
        if segment.digest(place, is_live=self.is_live) != self.digests[row].tobytes():
            self.set_damaged(row)

    def set_damaged(self, row: int) -> None:
        self.is_checked[row] = self.is_damaged[row] = True
        self._is_whole = False
        name = self.segments[int(self.segment[row])].path.name
        step = int(self.steps[row])
        self.findings.append(Finding("damaged", name, int(self.place[row]), step, "its digest is wrong"))

    def _require(self, rows: slice | np.ndarray) -> None:
        """Raise DeviError unless every one of these records is whole."""
        if self._is_whole:
            return
        if b"\0" in self.is_checked[rows].tobytes():
            for row in np.arange(len(self.steps))[rows][~self.is_checked[rows]].tolist():
                self._check(row)
        if b"\1" in self.is_damaged[rows].tobytes():
            row = int(np.arange(len(self.steps))[rows][self.is_damaged[rows]][0])
            name = self.segments[int(self.segment[row])].path.name
            raise DeviError(
                f"{self.folder}: {name}: record {self.place[row]} (step {self.steps[row]}) is damaged: its digest is"
                " wrong. A run this large is checked as it is read. To check it all and leave out what is damaged:"
                f" run.check(). To see what is: devi verify {quoted(self.folder)}"
            )

    def one(self, row: int) -> np.void:
        """One record; its fields by name."""
        return self._rows(slice(row, row + 1, 1))[0]

    def _rows(self, rows: slice | np.ndarray) -> np.ndarray:
        """The records of rows in one segment; a slice is one that `as_slice` gave."""
        self._require(rows)
        if isinstance(rows, slice):
            segment = self.segments[self.segment.item(rows.start)]
            first, last = self.place.item(rows.start), self.place.item(rows.stop - 1)
            # places increase within a segment: as many of them as rows in a stretch are all of that stretch
            if last - first == rows.stop - 1 - rows.start:
                return segment.rows(slice(first, last + 1, rows.step), is_live=self.is_live)
        else:
            segment = self.segments[int(self.segment[rows[0]])]
        return segment.rows(as_slice(self.place[rows]), is_live=self.is_live)

    def columns(self, rows: range | np.ndarray, names: Sequence[str | None]) -> Mapping[str, np.ndarray] | np.ndarray:
        """(row, *shape) under the name of each field; from one segment as it stands, from several copied together."""
        chosen = as_slice(rows)
        if isinstance(chosen, slice):  # rows stand in order of their segments
            is_one = len(rows) > 0 and self.segment.item(chosen.start) == self.segment.item(chosen.stop - 1)
        else:
            is_one = bool((self.segment[chosen] == self.segment[chosen[0]]).all())
        if is_one:
            return self._rows(chosen)
        kinds: Any = self.layout.dtype.fields
        fields = [name for name in names if name is not None]
        out = {name: np.empty((len(rows), *kinds[name][0].shape), kinds[name][0].base) for name in fields}
        parts = self.segment[chosen]
        for number in np.unique(parts):
            at = as_slice(np.flatnonzero(parts == number))
            taken = self._rows(as_slice(rows[at] if isinstance(at, slice) else np.asarray(rows)[at]))
            for name in fields:
                out[name][at] = taken[name]
        return out


def _is_same_run(one: Header, other: Header) -> bool:
    return one.layout == other.layout and one.metadata.get("run_id") == other.metadata.get("run_id")


def _scanned(segment: Segment, start: int, after_step: int | None, is_complete: bool) -> Scan:
    descriptor, header, name = segment.descriptor, segment.header, segment.path.name
    return scan(descriptor, header, name, start=start, after_step=after_step, is_complete=is_complete)
