"""Forge: runs as a stranger could make them, their hashes right whatever they say, and what devi does with a run."""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray  # noqa: F401 - here, so that an attack is not charged with importing it
from torch import nn
from torch.optim import SGD

from devi.checkpoints.layout import Layout, Stored
from devi.checkpoints.reader import open_run
from devi.checkpoints.record import digest_of
from devi.checkpoints.repair import repair
from devi.checkpoints.slot_file import SLOTS
from devi.checkpoints.store import Store
from devi.checkpoints.userblock import MAGIC, json_bytes, read_front, trailer
from devi.checkpoints.verify import verify
from devi.checkpoints.writer import Recorder
from devi.cli.main import run as command
from devi.errors import DeviError

SGD(nn.Linear(1, 1).parameters(), 0.1)  # imports much, and an attack is not charged with that

TENSORS = (Stored("W", "float32", (2, 6), "W"), Stored("b", "float32", (6,), "b"))
METADATA = {"task": "superposition", "settings": {}, "seed": 0, "run_id": "0" * 32}
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"  # sets a terminal's title, clears it, turns text around


def run_of(
    folder: Path,
    *,
    steps: Iterable[int] = range(5),
    tensors: tuple[Stored, ...] = TENSORS,
    scalars: tuple[str, ...] = ("train_loss",),
    metadata: dict[str, Any] | None = None,
) -> Path:
    """A closed run in folder/run; returns its first segment."""
    path = folder / "run"
    path.mkdir(parents=True)
    store = Store(path, segment_bytes=1 << 20, expected=None)
    store.start(Layout(scalars, tensors), {**METADATA, **(metadata or {})})
    for step in steps:
        store.buffer.record["step"] = step
        store.append(step)
    store.close()
    return path / "segment-000000.h5"


def signed(text: bytes, user_block: int) -> bytes:
    """A user block around any bytes, with their right SHA-256."""
    head = MAGIC + struct.pack("<II", 1, len(text)) + hashlib.sha256(text).digest()
    return (head + text).ljust(user_block, b"\0")


def with_block(path: Path, text: bytes, *, keep_size: bool = True) -> None:
    """Put `text` into the user block of a file and, if it has one, its trailer; what stands between them stays."""
    content, old = path.read_bytes(), described(path)["user_block"]
    size = old if keep_size else 1 << (len(text) + 48).bit_length()
    block, has_trailer = signed(text, size), content.endswith(MAGIC)
    end = len(content) - (old + 16 if has_trailer else 0)
    path.write_bytes(block + content[old:end] + (trailer(block) if has_trailer else b""))


def described(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return read_front(file.fileno(), path.stat().st_size)


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the JSON of a segment or slot, and sign it anew."""
    content, old = described(path), described(path)["user_block"]
    change(content)
    text = json_bytes(content)
    is_grown = len(text) + 48 > old
    if is_grown:  # what follows then moves
        content["user_block"] = size = 1 << (len(text) + 48).bit_length()
        for array in content.get("arrays", []):
            array["offset"] += size - old
        text = json_bytes(content)
    with_block(path, text, keep_size=not is_grown)


def with_records(path: Path, change: Callable[[np.ndarray], Any]) -> None:
    """Change the records of a segment, and give them right digests."""
    about, content = described(path), bytearray(path.read_bytes())
    layout = Layout.from_json(about["record"])
    start, size = about["data_offset"], layout.dtype.itemsize
    rows = np.frombuffer(content, layout.dtype, about["records"], start)
    change(rows)
    for index in range(len(rows)):
        at = start + index * size
        row = memoryview(content)[at : at + size]
        row[-16:] = digest_of(bytes.fromhex(about["salt"]), index, row)
    path.write_bytes(content)


def with_steps(path: Path, steps: list[int]) -> None:
    """Give the records of a segment other steps, and right digests."""

    def change(rows: np.ndarray) -> None:
        rows["step"] = steps

    with_records(path, change)


def use(path: Path) -> None:
    """All that devi does with a run of a stranger's. Nothing of its names may reach the terminal as it stands."""
    verdict = verify(path)
    for words in (["verify"], ["show", "--all"], ["show", "--json"]):
        code, text = printed([*words, str(path)])
        assert code in (0, 1, 4), text
        assert text.replace("\n", "").isprintable(), repr(text)
        assert words != ["show", "--all"] or len(text) < 100_000
    run = open_run(path)
    assert (run.steps >= 0).all()
    assert (run.steps[1:] > run.steps[:-1]).all()
    assert run.check().steps.tolist() == verdict.steps
    values = {**run.parameters(), **run.buffers()}
    assert all(len(value) == len(run) for value in values.values())
    assert run.scalars.sizes["step"] == len(run)
    run.refresh()
    repair(path, path.with_name("repaired"))
    assert not verify(path.with_name("repaired")).damage
    with contextlib.suppress(DeviError):  # its task may not be one that is built in
        run.model_at(0)


def printed(words: list[str]) -> tuple[int, str]:
    """The exit code of a devi command and all that it prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        return command(words), text.getvalue()


def slot_of(folder: Path) -> Path:
    """A run in folder/run that can be resumed, from one slot; returns the slot."""
    model = nn.Linear(2, 2)
    path = folder / "run"
    with Recorder(path, state={"optimizer": SGD(model.parameters(), 0.1)}, notice=lambda text: None) as record:
        record(0, model)
        record.keep(0, model)
        record(1, model)
    (path / SLOTS[1]).unlink(missing_ok=True)
    return path / SLOTS[0]


def resumed(path: Path) -> None:
    """All that devi does with a resume slot. What it says of one that it does not use becomes an error."""
    model = nn.Linear(2, 2)
    verify(path)
    before = [parameter.clone() for parameter in model.parameters()]
    state = {"optimizer": SGD(model.parameters(), 0.1)}
    with Recorder(path, state=state, resume=True, notice=lambda text: None) as record:
        record.restore(model)
        said = " ".join(record.notices)
    if "not used" in said:
        assert all(one.equal(other) for one, other in zip(before, model.parameters(), strict=True))
        raise DeviError(said)
