"""The columns of a file as they stand in it: CSV and TSV, JSON, JSONL, NPZ, netCDF.

As they come: Weights & Biases (an exported chart, a run's history), TensorBoard (a tag as CSV or JSON), Lightning's
metrics.csv, the `log_history` of a Hugging Face trainer_state.json, devi's own analysis.h5.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from devi.errors import DeviError, quoted, shown
from devi.tables.cells import Column, column_of, columns_of_records, number_of

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
    if not path.exists():
        raise DeviError(f"there is no file {path}; expected a file of curves ({known}).")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DeviError(f"{path} ends in '{path.suffix}'; expected one of {known}. Rename it to what it holds.")
    return reader(path, growing)


def _text(path: Path, growing: bool) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DeviError(
            f"{path} is not text in UTF-8 (byte {error.start}); expected a table of numbers."
            f" To convert it: iconv -f UTF-16 -t UTF-8 {path.name}"
        ) from None
    return text[: text.rfind("\n") + 1] if growing else text


def _csv(path: Path, growing: bool) -> dict[str, Column]:
    text = _text(path, growing)
    first = text.partition("\n")[0]
    delimiter = max("\t;,", key=lambda mark: (first.count(mark), mark == ","))
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(cell.strip() for cell in row)]
    if not rows:
        raise DeviError(f"{path} is empty; expected a header (step, loss, …) and one row a checkpoint.")
    header, body = [name.strip() for name in rows[0]], rows[1:]
    if all(not np.isnan(number_of(name) or 0.0) and number_of(name) is not None for name in header):
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
    if delimiter == ";":  # written where the comma is the decimal point
        body = [[cell.replace(",", ".") for cell in row] for row in body]
    cells = [row + [""] * (len(header) - len(row)) for row in body]
    columns = {name: column_of([row[j] for row in cells]) for j, name in enumerate(header) if name}
    if [name.lower() for name in header] == TENSORBOARD:
        columns[_tag(path)] = columns.pop(header[2])
    return columns


def _tag(path: Path) -> str:
    """TensorBoard exports the tag 'loss' of run 'a' as run-a-tag-loss.csv."""
    return path.stem.partition("-tag-")[2] or path.stem


def _json(path: Path, growing: bool) -> dict[str, Column]:
    try:
        found = json.loads(_text(path, growing=False))
    except json.JSONDecodeError as error:
        raise DeviError(
            f"{path} is not JSON (line {error.lineno}: {error.msg}); expected a list of records or a mapping of"
            " columns. One record a line is JSONL: rename it to .jsonl."
        ) from None
    if isinstance(found, Mapping) and isinstance(found.get("log_history"), list):
        found = found["log_history"]
    if isinstance(found, list) and found and all(isinstance(one, Mapping) for one in found):
        return columns_of_records(found)
    if isinstance(found, list) and found and all(isinstance(one, list) and len(one) == 3 for one in found):
        return {name: column_of([one[j] for one in found]) for j, name in enumerate(["wall time", "step", _tag(path)])}
    if isinstance(found, Mapping) and any(isinstance(one, list) for one in found.values()):
        columns = {str(name): one for name, one in found.items() if isinstance(one, list)}
        return _alike(path, {name: column_of(one) for name, one in columns.items()})
    raise DeviError(
        f"{path} holds neither a list of records nor columns; expected"
        ' [{"step": 1, "loss": 2.3}, …] or {"step": [1, …], "loss": [2.3, …]}.'
    )


def _jsonl(path: Path, growing: bool) -> dict[str, Column]:
    records = []
    for line, text in enumerate(_text(path, growing).splitlines(), start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            raise DeviError(f"line {line} of {path} is not JSON ({error.msg}); expected one record a line.") from None
        if not isinstance(record, Mapping):
            raise DeviError(f'line {line} of {path} is no record; expected {{"step": 1, "loss": 2.3}}.')
        records.append(record)
    return columns_of_records(records)


def _npz(path: Path, growing: bool) -> dict[str, Column]:
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: _array(file, name) for name in file.files}
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise DeviError(f"{path} is not an NPZ file ({error}); expected what numpy.savez writes.") from None
    return _alike(path, columns)


def _array(file: Any, name: str) -> Column:
    try:
        values = file[name]
    except ValueError:  # pickled objects: never loaded, they could run code
        return "holds Python objects, not numbers"
    if values.dtype.kind not in "fiub":
        return f"holds {values.dtype} values, not numbers"
    if values.ndim not in (1, 2):
        return f"has {values.ndim} dimensions; expected (step) or (step, column)"
    return values.astype(float)


def opened(path: Path) -> xr.Dataset:
    """A netCDF-4 file as xarray reads it."""
    try:
        return xr.open_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError) as error:
        raise DeviError(
            f"{path} is not netCDF-4 ({shown(error, 200)}); expected what xarray's to_netcdf writes."
        ) from None


def _alike(path: Path, columns: dict[str, Column]) -> dict[str, Column]:
    """Columns of one length; the shorter or longer ones are no curves along the same steps."""
    lengths = [len(one) for one in columns.values() if not isinstance(one, str)]
    if not lengths:
        return columns
    most = max(set(lengths), key=lengths.count)
    return {
        name: one if isinstance(one, str) or len(one) == most else f"has {len(one)} values where others have {most}"
        for name, one in columns.items()
    }


READERS: Mapping[str, Callable[[Path, bool], dict[str, Column]]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".npz": _npz,
}
NETCDF = (".nc", ".nc4", ".h5")  # read as a whole, with units and coordinates: table.py
