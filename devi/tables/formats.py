"""The columns of a file as they stand in it: CSV and TSV, JSON, JSONL, NPZ, netCDF.

As they come: Weights & Biases (an exported chart, a run's history), TensorBoard (a tag as CSV or JSON), Lightning's
metrics.csv, the `log_history` of a Hugging Face trainer_state.json, devi's own analysis.h5.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.lib.npyio import NpzFile

from devi.errors import DeviError, quoted, shown
from devi.tables.cells import Column, column_of, columns_of_records, flattened, number_of
from devi.tables.locales import with_decimal_points

ABOVE_THE_HEADER = re.compile("# *([^ ,;\t]|$)|sep=.$")  # comments, not a column '#'; what tells Excel the separator
DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, RuntimeError, MemoryError)
UNPACK = {".gz": "gunzip -k", ".bz2": "bunzip2 -k", ".xz": "unxz -k", ".zst": "unzstd", ".zip": "unzip"}
SOME_TIME_AGO = 1e8  # seconds since 1970: in 1973
TENSORBOARD = ["wall time", "step", "value"]  # its header; the tag stands in the file's name


def columns_of(path: Path, *, growing: bool = False) -> dict[str, Column]:
    """Name -> values (row,) or (row, column), or why it holds none.

    growing  somebody still writes the file: a last line without its end is not there yet
    Raises DeviError for a file that cannot be read as what its name says.
    """
    if path.is_dir():
        raise DeviError(
            f"{path} is a directory; expected a file of curves. For a run or a folder of them:"
            f" devi analyze {quoted(path)}"
        )
    known = ", ".join([*READERS, *NETCDF])
    if str(path) == "-":
        raise DeviError(f"standard input is not read; expected a file of curves ({known}): COMMAND > curves.csv")
    if not path.exists():
        raise DeviError(f"there is no file {path}; expected a file of curves ({known}).")
    reader = READERS.get(path.suffix.lower())
    if path.suffix.lower() in UNPACK:
        raise DeviError(
            f"{path} is compressed; expected one of {known}. Unpack it: {UNPACK[path.suffix.lower()]} {quoted(path)}"
        )
    if reader is None:
        raise DeviError(f"{path} ends in '{path.suffix}'; expected one of {known}. Rename it to what it holds.")
    try:
        return reader(path, growing)
    except RecursionError:
        raise DeviError(f"{path} is nested too deep; expected records or columns of numbers.") from None


def _text(path: Path, growing: bool) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        if error.object.startswith(b"\x1f\x8b"):
            raise DeviError(
                f"{path} is compressed, whatever its name says; expected a table of numbers. Unpack it:"
                f" gunzip -c {quoted(path)} > {quoted(path.with_name(f'{path.stem}-unpacked{path.suffix}'))}"
            ) from None
        marked = error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        raise DeviError(
            f"{path} is not text in UTF-8 (byte {error.start}); expected a table of numbers."
            f" To convert it: iconv -f {'UTF-16' if marked else 'LATIN1'} -t UTF-8 {path.name}"
        ) from None
    except OSError as error:
        raise DeviError(f"{path} cannot be read: {error.strerror}. Expected a file of curves.") from None
    return text[: text.rfind("\n") + 1] if growing else text


def _csv(path: Path, growing: bool) -> dict[str, Column]:
    lines = _text(path, growing).split("\n")
    start = next((i for i, line in enumerate(lines) if line.strip() and not ABOVE_THE_HEADER.match(line)), len(lines))
    if start == len(lines):
        raise DeviError(f"{path} is empty; expected a header (step, loss, …) and one row a checkpoint.")
    bare = re.sub('"[^"]*"', "", lines[start])  # a name may hold what separates others
    delimiter = max("\t;,", key=lambda mark: (bare.count(mark), mark == ","))
    if delimiter not in bare:
        _check_separator(path, *lines[start : start + 2])
    try:
        rows = list(csv.reader(io.StringIO("\n".join(lines[start:])), delimiter=delimiter))
    except csv.Error as error:
        raise DeviError(f"{path} is no table of numbers ({error}). Is a quote left open?") from None
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if _are_numbers(rows[0]) and start and len(named := lines[start - 1].lstrip("# ").split(delimiter)) == len(rows[0]):
        rows.insert(0, named)  # as numpy.savetxt writes it: # step,loss
    header, body = [name.strip() for name in rows[0]], rows[1:]
    if _are_numbers(header):
        raise DeviError(
            f"the first row of {path} holds numbers ({shown(', '.join(header))}); expected names."
            " Put a header above it: step,loss"
        )
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if twice:
        raise DeviError(f"{path} has {header.count(twice[0])} columns called '{shown(twice[0])}'; rename all but one.")
    for line, row in enumerate(body, start=1):
        if len(row) > len(header):
            raise DeviError(
                f"row {line} of {path} has {len(row)} cells under {len(header)} names; expected as many."
                " Does a number hold the separator, or a name a quote?"
            )
    body, reasons = with_decimal_points(body) if delimiter == ";" else (body, {})
    cells = [row + [""] * (len(header) - len(row)) for row in body]
    columns: dict[str, Column] = {
        name: reasons.get(j) or column_of([row[j] for row in cells]) for j, name in enumerate(header) if name
    }
    for j, name in enumerate(header):
        if not name and any(row[j].strip() for row in cells):
            columns.setdefault(f"column {j + 1}", "has no name; give it one in the header")
    if [name.lower() for name in header] == TENSORBOARD:
        columns[_tag(path)] = columns.pop(header[2])
    return columns


def _check_separator(path: Path, header: str, first: str = "") -> None:
    """Raises DeviError where names and numbers stand apart by something else than is read."""
    for mark, name, change in (("|", "'|'", "tr '|' ,"), (None, "blanks", "tr -s ' ' ,")):
        count = len(header.split(mark))
        if count > 1 and len(first.split(mark)) == count:
            raise DeviError(
                f"the columns of {path} stand apart by {name}; expected commas, semicolons or tabs. To convert it:"
                f" {change} < {quoted(path)} > {quoted(path.with_name(f'{path.stem}-commas.csv'))}"
            )


def _are_numbers(row: list[str]) -> bool:
    return all(number is not None and not np.isnan(number) for number in map(number_of, row))


def _tag(path: Path) -> str:
    """TensorBoard exports the tag 'loss' of run 'a' as run-a-tag-loss.csv."""
    return path.stem.partition("-tag-")[2] or path.stem


def _json(path: Path, growing: bool) -> dict[str, Column]:
    try:
        found = json.loads(_text(path, growing=False))
    except ValueError as error:  # JSONDecodeError, or a number of thousands of digits
        why = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else error
        raise DeviError(
            f"{path} is not JSON ({why}); expected a list of records or a mapping of columns."
            " One record a line is JSONL: rename it to .jsonl."
        ) from None
    if isinstance(found, Mapping) and isinstance(found.get("log_history"), list):
        found = found["log_history"]
    if isinstance(found, list) and found and all(isinstance(one, Mapping) for one in found):
        return columns_of_records(found)
    if isinstance(found, list) and found and all(map(_is_of_tensorboard, found)):
        return {name: column_of([one[j] for one in found]) for j, name in enumerate(["wall time", "step", _tag(path)])}
    flat = flattened(found) if isinstance(found, Mapping) else {}
    if any(isinstance(one, list) for one in flat.values()):
        return {
            name: column_of(one) if isinstance(one, list) else "is one value, not one for each step"
            for name, one in flat.items()
        }
    raise DeviError(
        f"{path} holds neither a list of records nor columns; expected"
        ' [{"step": 1, "loss": 2.3}, …] or {"step": [1, …], "loss": [2.3, …]}.'
    )


def _is_of_tensorboard(row: Any) -> bool:
    """Whether it may be [wall time, step, value]: three numbers of anything else stand without names."""
    return isinstance(row, list) and len(row) == 3 and type(row[1]) is int and (number_of(row[0]) or 0) > SOME_TIME_AGO


def _jsonl(path: Path, growing: bool) -> dict[str, Column]:
    records = []
    # Not splitlines: a text in quotes may hold other marks that end lines, such as U+2028.
    for line, text in enumerate(_text(path, growing).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except ValueError as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise DeviError(f"line {line} of {path} is not JSON ({why}); expected one record a line.") from None
        if not isinstance(record, Mapping):
            raise DeviError(f'line {line} of {path} is no record; expected {{"step": 1, "loss": 2.3}}.')
        records.append(record)
    return columns_of_records(records)


def _npz(path: Path, growing: bool) -> dict[str, Column]:
    try:
        with path.open("rb") as raw:  # numpy leaves a file open in which it finds no archive
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, NpzFile):
                raise DeviError(
                    f"{path} holds one array without a name; expected what numpy.savez(path, step=…, loss=…) writes."
                )
            return {name: _array(file, name) for name in file.files}
    except DAMAGED as error:
        raise DeviError(f"{path} is not an NPZ file ({shown(error, 200)}); expected what numpy.savez writes.") from None


def _array(file: Any, name: str) -> Column:
    try:
        values = file[name]
    except ValueError:  # pickled objects: never loaded, they could run code
        return "holds Python objects, not numbers; save numbers: np.asarray(values, dtype=float)"
    if not isinstance(values, np.ndarray):
        return "is a file in the archive, not an array"
    if values.dtype.kind == "c":
        return f"holds {values.dtype} values, not real numbers; save what is meant: values.real, or abs(values)"
    if values.dtype.kind not in "fiub":
        return f"holds {values.dtype} values, not numbers"
    if values.ndim not in (1, 2):
        return f"has {values.ndim} dimensions; expected (step) or (step, column)"
    return values.astype(float)


def opened(path: Path) -> xr.Dataset:
    """A netCDF-4 file as xarray reads it, in memory."""
    try:
        with xr.open_dataset(path, engine="h5netcdf") as file:
            return file.load()
    except (*DAMAGED, KeyError) as error:
        raise DeviError(
            f"{path} is not netCDF-4 ({shown(error, 200)}); expected what xarray writes with"
            ' dataset.to_netcdf(path, engine="h5netcdf").'
        ) from None


READERS: Mapping[str, Callable[[Path, bool], dict[str, Column]]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".npz": _npz,
}
NETCDF = (".nc", ".nc4", ".h5")  # read as a whole, with units and coordinates: table.py
