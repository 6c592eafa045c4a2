"""The user block: a hashed JSON document in front of an HDF5 file, and its copy, the trailer, behind it.

    magic 8 | version u32 | length of the JSON u32 | SHA-256 of the JSON 32 | JSON | zeros
    trailer: copy of the user block | its length u64 | magic

HDF5 skips both. They say where the data stand, so that reading needs no libhdf5 and trusts nothing unhashed.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devi.errors import system_error

MAGIC = b"\x89devi\r\n\x1a"
VERSION = 1
_HEAD = struct.Struct("<8sII32s")
_TAIL = struct.Struct("<Q8s")
# A thousand tensors take 0.2 MiB and 20,000 items; the caps keep a crafted document from filling memory (100 bytes
# an item) and from nesting until Python's recursion ends.
MOST_JSON_BYTES = 8 << 20
MOST_JSON_ITEMS = 400_000
MOST_JSON_DEPTH = 100
# Longest digits an offset can have: the block is sized before the offset is known.
UNKNOWN_OFFSET = 2**62


class BlockError(ValueError):
    """Why a user block cannot be trusted, in words."""


def json_bytes(content: Any) -> bytes:
    """Canonical JSON: UTF-8, sorted keys, no spaces, no NaN. Raises TypeError or ValueError."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def size_for(content: dict[str, Any]) -> int:
    """The user block's size: HDF5 wants a power of two, 512 or more."""
    length = _HEAD.size + len(json_bytes(content))
    return max(512, 1 << (length - 1).bit_length())


def packed(content: dict[str, Any]) -> bytes:
    """The user block's bytes; content["user_block"] is its size."""
    text = json_bytes(json.loads(json_bytes(content)))  # twice: keys that were numbers are sorted as text
    parsed(text)  # what could not be read back is not written. Raises BlockError, a ValueError
    block = _HEAD.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()) + text
    return block.ljust(content["user_block"], b"\0")


def parsed(text: bytes) -> Any:
    """Canonical JSON of bounded size and depth. Raises BlockError for anything that `json_bytes` would not write."""
    items = text.count(b",") + text.count(b"[") + text.count(b"{")
    if len(text) > MOST_JSON_BYTES or items > MOST_JSON_ITEMS:
        raise BlockError(
            f"its JSON takes {len(text):,} bytes for {items:,} items;"
            f" at most {MOST_JSON_BYTES:,} and {MOST_JSON_ITEMS:,} are read"
        )
    try:
        content = json.loads(text)
        is_canonical = json_bytes(content) == text  # so: no key twice, no NaN, no half of a surrogate pair
    except (ValueError, TypeError, RecursionError):
        is_canonical = False
    if not is_canonical:
        raise BlockError("the JSON cannot be read")
    if is_too_deep(content):
        raise BlockError(f"its JSON is nested more than {MOST_JSON_DEPTH} deep")
    return content


def is_too_deep(content: Any) -> bool:
    """Whether JSON is nested deeper than is read."""
    level, depth = [content], 0
    while level and depth <= MOST_JSON_DEPTH:
        level = [item for node in level for item in _inside(node)]
        depth += 1
    return depth > MOST_JSON_DEPTH


def _inside(node: Any) -> Any:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def trailer(block: bytes) -> bytes:
    return block + _TAIL.pack(len(block), MAGIC)


def read_front(descriptor: int, size: int) -> dict[str, Any]:
    """The JSON of the block at the start of a file of `size` bytes. Raises BlockError."""
    return _read(descriptor, 0, size)


def read_trailer(descriptor: int, size: int) -> dict[str, Any]:
    """The JSON of the copy at the end of a file of `size` bytes. Raises BlockError."""
    if size < _TAIL.size:
        raise BlockError("the file is too short")
    length, magic = _TAIL.unpack(os.pread(descriptor, _TAIL.size, size - _TAIL.size))
    if magic != MAGIC:
        raise BlockError("it does not end with the magic bytes")
    if length > size - _TAIL.size:
        raise BlockError(f"its length, {length}, is longer than the file")
    start = size - _TAIL.size - length
    content = _read(descriptor, start, size - _TAIL.size)
    if content["user_block"] != length:
        raise BlockError(f"its length, {length}, is not the user block's, {content['user_block']}")
    return content


def has_copy(descriptor: int, start: int, size: int, user_block: int) -> bool:
    """Whether the bytes from `start` to the end of the file are the trailer of its user block."""
    length = user_block + _TAIL.size
    return size - start == length and os.pread(descriptor, length, start) == trailer(
        os.pread(descriptor, user_block, 0)
    )


def _read(descriptor: int, start: int, end: int) -> dict[str, Any]:
    head = os.pread(descriptor, _HEAD.size, start) if end - start >= _HEAD.size else b""
    if len(head) < _HEAD.size:
        raise BlockError("the file is too short")
    magic, version, length, digest = _HEAD.unpack(head)
    if magic != MAGIC:
        raise BlockError("the magic bytes are wrong")
    if version != VERSION:
        raise BlockError(f"format version {version} is not the one this devi reads ({VERSION})")
    if length > MOST_JSON_BYTES or start + _HEAD.size + length > end:
        raise BlockError(f"the JSON's length, {length}, does not fit")
    text = os.pread(descriptor, length, start + _HEAD.size)
    if hashlib.sha256(text).digest() != digest:
        raise BlockError("the SHA-256 of the JSON is wrong")
    content = parsed(text)
    block = content.get("user_block") if isinstance(content, dict) else None
    if type(block) is not int or not _HEAD.size + length <= block <= end - start:
        raise BlockError(f"the user block's size, {block!r}, does not fit")
    padding = block - _HEAD.size - length
    if padding > MOST_JSON_BYTES or os.pread(descriptor, padding, start + _HEAD.size + length).strip(b"\0"):
        raise BlockError("the zeros after the JSON are damaged")
    return content


def digest_of_span(descriptor: int, start: int, end: int) -> str:
    """SHA-256 of the bytes [start, end) of a file, 1 MiB at a time."""
    state = hashlib.sha256()
    while start < end and (piece := os.pread(descriptor, min(1 << 20, end - start), start)):
        state.update(piece)
        start += len(piece)
    return state.hexdigest()


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file; never waits on a pipe or device that bears a segment's name."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BlockError("it is not a regular file")
    return descriptor


def write_all(descriptor: int, data: memoryview | bytes, offset: int) -> None:
    """pwrite until everything is written: near a full disk it may write less than asked."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)


def read_all(descriptor: int, memory: memoryview, offset: int) -> int:
    """pread until `memory` is full or the file ends; how much was read. One call reads 2 GiB at most."""
    done = 0
    while done < len(memory) and (count := os.preadv(descriptor, [memory[done:]], offset + done)):
        done += count
    return done


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success the file there is fsynced and takes its place in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except RuntimeError as error:
        temporary.unlink(missing_ok=True)
        raise (system_error(error) or error) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's list of names durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
