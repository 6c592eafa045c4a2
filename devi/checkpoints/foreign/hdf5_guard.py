"""The datasets of a stranger's HDF5 file, found behind checks that touch no data.

Allowed are hard links, integers and floats, data inside the file, the filters deflate, shuffle and fletcher32. What the
file declares must not be more than 100 times what it stores, plus 1 MiB; the rest of the bounds stand below.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import h5py

from devi.errors import DeviError, shown

MOST_OBJECTS = 10_000
MOST_DEPTH = 16
MOST_CHUNK_BYTES = 64 << 20
MOST_BYTES = 1 << 40  # that one dataset may declare
MOST_RATIO, SPARE_BYTES = 100, 1 << 20
_FILTERS = frozenset([h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32])


class Refused(ValueError):
    """Why a dataset, link or group is not read."""


def open_guarded(path: Path) -> tuple[h5py.h5f.FileID, dict[str, h5py.h5d.DatasetID]]:
    """The file and its datasets by path, 'layers/0/weight'. Raises DeviError that names the file and the object."""
    try:
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
        file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, access)
    except (OSError, RuntimeError, ValueError) as error:
        raise DeviError(
            f"{shown(path, 300)} cannot be opened as HDF5: {shown(error, 300)}. Was it still being written, or closed"
            " badly? Copy it again, or try: h5clear -s FILE"
        ) from None
    found: dict[str, h5py.h5d.DatasetID] = {}
    try:
        root = h5py.h5g.open(file, b"/")
        seen = {_address(root): root}
        _walk(root, "", found, seen, [0])
        stored = sum(each.get_storage_size() for each in seen.values() if isinstance(each, h5py.h5d.DatasetID))
        if stored > path.stat().st_size:
            raise Refused(f"its datasets claim to store {stored:,} bytes, more than the file has")
    except (Refused, RuntimeError, ValueError, KeyError, OSError, TypeError) as error:
        file.close()
        raise DeviError(
            f"{shown(path, 300)}: {shown(error, 400)}. Expected plain datasets of numbers, one a parameter with the"
            " step as first axis, or one group a step. Write them so: file.create_dataset(name, data=array)"
        ) from None
    return file, found


def _walk(
    group: h5py.h5g.GroupID,
    prefix: str,
    found: dict[str, h5py.h5d.DatasetID],
    seen: dict[int, h5py.h5g.GroupID | h5py.h5d.DatasetID],
    count: list[int],
) -> None:
    """Collect the datasets below a group. `seen` is all by its place in the file, `count` how many."""
    if prefix.count("/") > MOST_DEPTH:
        raise Refused(f"its groups are nested more than {MOST_DEPTH} deep")
    count[0] += group.get_num_objs()
    if count[0] > MOST_OBJECTS:
        raise Refused(f"it has more than {MOST_OBJECTS:,} objects")
    for raw in group:
        name = prefix + raw.decode("utf-8", "surrogateescape")
        if group.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
            raise Refused(f"'{shown(name)}' is a link to another place, and such links are not followed")
        item = h5py.h5o.open(group, raw)
        if not isinstance(item, h5py.h5g.GroupID | h5py.h5d.DatasetID):
            continue  # a named type: nothing is in it
        first = seen.setdefault(_address(item), item)
        if isinstance(item, h5py.h5d.DatasetID):
            if first is item:  # else tied: another name of a dataset that was checked
                _check(item, name)
            found[name] = item
        elif first is not item:
            raise Refused(f"the group '{shown(name)}' is reached twice; its links may lead in a circle")
        else:
            _walk(item, name + "/", found, seen, count)


def _address(item: h5py.h5g.GroupID | h5py.h5d.DatasetID) -> int:
    return h5py.h5o.get_info(item).addr


def _check(dataset: h5py.h5d.DatasetID, name: str) -> None:
    """Raise Refused for a dataset that is not plain numbers in this file, or is larger than it can honestly be."""
    creation = dataset.get_create_plist()
    if creation.get_layout() == h5py.h5d.VIRTUAL:
        raise Refused(f"'{shown(name)}' is a virtual dataset: its data are in other files, which are not opened")
    if creation.get_external_count():
        raise Refused(f"'{shown(name)}' keeps its data in another file, which is not opened")
    kind = dataset.get_type()
    if kind.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) or kind.get_size() not in (1, 2, 4, 8):
        raise Refused(f"'{shown(name)}' holds {_KINDS.get(kind.get_class(), 'numbers of an odd size')}")
    try:
        dataset.dtype  # noqa: B018  # numpy has not every float that HDF5 can describe
    except (ValueError, RuntimeError, TypeError):
        raise Refused(f"'{shown(name)}' holds numbers of an odd kind") from None
    for index in range(creation.get_nfilters()):
        code = creation.get_filter(index)[0]
        if code not in _FILTERS:
            raise Refused(f"'{shown(name)}' is packed with filter {code}; only deflate, shuffle, fletcher32 are read")
    shape = dataset.shape
    if shape is None:
        raise Refused(f"'{shown(name)}' is empty")
    declared, stored = math.prod(shape) * kind.get_size(), dataset.get_storage_size()
    if declared > MOST_BYTES or declared > MOST_RATIO * stored + SPARE_BYTES:
        raise Refused(f"'{shown(name)}' declares {declared:,} bytes of data and stores {stored:,}")
    if creation.get_layout() == h5py.h5d.CHUNKED:
        chunk = math.prod(creation.get_chunk()) * kind.get_size()
        if chunk > MOST_CHUNK_BYTES:
            raise Refused(f"'{shown(name)}' has chunks of {chunk:,} bytes; at most {MOST_CHUNK_BYTES:,} are read")


_KINDS = {
    h5py.h5t.STRING: "text",
    h5py.h5t.COMPOUND: "records of several fields",
    h5py.h5t.REFERENCE: "references",
    h5py.h5t.VLEN: "rows of varying length",
    h5py.h5t.OPAQUE: "opaque objects",
    h5py.h5t.ENUM: "an enumeration (h5py writes bool so; store them as uint8)",
    h5py.h5t.ARRAY: "arrays within an array",
    h5py.h5t.BITFIELD: "bit fields",
    h5py.h5t.TIME: "times",
}
