"""Records: the whole records of a run's segments as one table, by memory map or, on a live run, by pread."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from devi.checkpoints.header import Finding, Header, read_header, segment_paths
from devi.checkpoints.layout import DIGEST_BYTES, Layout
from devi.checkpoints.scan import Scan, scan
from devi.checkpoints.userblock import BlockError, open_regular
from devi.errors import DeviError


class Segment:
    """One open segment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = open_regular(path)
        weakref.finalize(self, os.close, self.descriptor)
        self._mapped: np.ndarray | None = None
        self.header, self.findings = read_header(self.descriptor, path.name)
        stat = os.fstat(self.descriptor)
        self.identity = (stat.st_dev, stat.st_ino)

    def rows(self, places: np.ndarray, *, is_live: bool) -> np.ndarray:
        """(place,) records: a view of the map if the places are evenly spaced; copies while the segment is written."""
        header = self.header
        size = header.layout.dtype.itemsize
        if is_live and not header.is_closed:
            out = np.empty(len(places), header.layout.dtype)
            for row, place in enumerate(places.tolist()):
                os.preadv(self.descriptor, [out[row : row + 1].view(np.uint8).data], header.data_offset + place * size)
            return out
        if self._mapped is None:
            whole = min(header.records, (os.fstat(self.descriptor).st_size - header.data_offset) // size)
            end = header.data_offset + whole * size
            memory = mmap.mmap(self.descriptor, end, access=mmap.ACCESS_READ)
            self._mapped = np.frombuffer(memory, header.layout.dtype, whole, header.data_offset)
        return self._mapped[_as_slice(places)]

    def __reduce__(self) -> tuple[Any, ...]:
        return Segment, (self.path,)


def _as_slice(places: np.ndarray) -> slice | np.ndarray:
    if len(places) == 0:
        return slice(0, 0)
    first, step = int(places[0]), int(places[1] - places[0]) if len(places) > 1 else 1
    if step < 1 or not np.array_equal(places, first + step * np.arange(len(places))):
        return places
    return slice(first, int(places[-1]) + 1, step)


class Records:
    """The checked records of all segments, in order."""

    def __init__(self, folder: Path, is_live: bool) -> None:
        self.folder = folder
        self.segments: list[Segment] = []
        self.segment = np.zeros(0, np.int64)  # (T,) which segment
        self.place = np.zeros(0, np.int64)  # (T,) where in it
        self.steps = np.zeros(0, np.int64)
        self.digests = np.zeros((0, DIGEST_BYTES), np.uint8)
        self.findings: list[Finding] = []
        self.is_live = is_live

    @classmethod
    def open(cls, folder: Path, *, is_live: bool) -> Records:
        """Check every record of every segment. Raises DeviError if not one checkpoint is whole and none can come."""
        if not folder.is_dir():
            what = "is a file; a run is a directory" if folder.exists() else "does not exist"
            raise DeviError(f"{folder} {what}. Expected what `devi train` or a Recorder wrote. See: devi train --help")
        paths = segment_paths(folder)
        if not paths:
            names = sorted(entry.name for entry in folder.iterdir())
            found = f"{len(names)} entries ({', '.join(names[:3])})" if names else "nothing"
            raise DeviError(
                f"{folder} holds no checkpoints: expected segment-000000.h5, found {found}."
                f" Give the directory of one run, or make one: devi train superposition --out {folder}"
            )
        records = cls(folder, is_live)
        records._take(paths)
        if not records.segments or not (len(records.steps) or is_live):
            reasons = (
                " ".join(str(finding) + "." for finding in records.findings) or "The writer stopped before one was."
            )
            raise DeviError(f"{folder}: no checkpoint in it is whole. {reasons} Train again with another --out.")
        return records

    @property
    def layout_header(self) -> Header:
        return self.segments[0].header

    @property
    def layout(self) -> Layout:
        return self.layout_header.layout

    def _take(self, paths: dict[int, Path]) -> None:
        """Open and check further segments."""
        expected = self.segments[-1].header.number + 1 if self.segments else 0
        for number, path in paths.items():
            for missing in range(expected, min(number, expected + 100)):
                self._found(f"segment-{missing:06d}.h5", "the file is missing, with its checkpoints")
            expected = number + 1
            try:
                segment = Segment(path)
            except (BlockError, OSError) as error:
                self._found(path.name, f"{error}; none of its checkpoints can be read")
                continue
            header = segment.header
            if self.segments and (
                header.layout != self.layout
                or header.metadata.get("run_id") != self.layout_header.metadata.get("run_id")
            ):
                self._found(path.name, "it belongs to another run and was left out")
            elif header.number != number:
                self._found(path.name, f"inside it is segment {header.number}; it was left out")
            else:
                is_last = number == max(paths)
                self.segments.append(segment)
                self.findings += segment.findings
                self._add(self._scanned(segment, 0, is_last=is_last))

    def _scanned(self, segment: Segment, start: int, *, is_last: bool) -> Scan:
        return scan(
            segment.descriptor,
            segment.header,
            segment.path.name,
            start=start,
            after_step=int(self.steps[-1]) if len(self.steps) else None,
            is_complete=segment.header.is_closed or not is_last,
            stop_at_free=start > 0,
        )

    def _found(self, file: str, reason: str) -> None:
        self.findings.append(Finding("file", file, None, None, reason))

    def _add(self, found: Scan) -> None:
        self.segment = np.concatenate([self.segment, np.full(len(found.places), len(self.segments) - 1)])
        self.place = np.concatenate([self.place, found.places])
        self.steps = np.concatenate([self.steps, found.steps])
        self.digests = np.concatenate([self.digests, found.digests])
        # A record that is being written now looks torn, and is nothing to tell.
        self.findings += [finding for finding in found.findings if not (self.is_live and finding.kind == "torn")]

    def refresh(self, *, is_live: bool) -> int:
        """Take in new records; returns their number. Positions of known ones do not change."""
        self.is_live, before = is_live, len(self.steps)
        paths = segment_paths(self.folder)
        last = self.segments[-1]
        stat = os.stat(last.path)
        if (stat.st_dev, stat.st_ino) != last.identity:  # closed: written anew, with the same records
            last = self.segments[-1] = Segment(last.path)
        of_last = self.place[self.segment == len(self.segments) - 1]
        if not len(of_last) or of_last[-1] + 1 < last.header.records:
            start = int(of_last[-1]) + 1 if len(of_last) else 0
            self._add(self._scanned(last, start, is_last=last.header.number == max(paths)))
        self._take({number: path for number, path in paths.items() if number > last.header.number})
        return len(self.steps) - before

    def one(self, row: int) -> np.void:
        """One record; its fields by name."""
        segment = self.segments[int(self.segment[row])]
        return segment.rows(self.place[row : row + 1], is_live=self.is_live)[0]

    def columns(self, rows: np.ndarray, names: Sequence[str | None]) -> dict[str, np.ndarray]:
        """(row, *shape) for each field; from one segment as it stands, from several copied into one array."""
        fields = [name for name in names if name is not None]
        parts = self.segment[rows]
        kinds: Any = self.layout.dtype.fields
        if len(rows) and (parts == parts[0]).all():
            taken = self.segments[int(parts[0])].rows(self.place[rows], is_live=self.is_live)
            return {name: taken[name] for name in fields}
        out = {name: np.empty((len(rows), *kinds[name][0].shape), kinds[name][0].base) for name in fields}
        for number in np.unique(parts):
            mine = np.flatnonzero(parts == number)
            taken = self.segments[int(number)].rows(self.place[rows[mine]], is_live=self.is_live)
            for name in fields:
                out[name][mine] = taken[name]
        return out
