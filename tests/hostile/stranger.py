"""Stranger: checkpoints in other programs' formats, made by hand where those would not, and their reading."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import torch

from devi.checkpoints.foreign.convert import convert
from devi.tasks.superposition import Superposition

STATE = {"W": torch.zeros(2, 6), "b": torch.zeros(6)}


def converted(source: Path) -> list[str]:
    """What `devi convert SRC --task superposition` does; returns what it tells."""
    told: list[str] = []
    convert(source, source.parent / "converted", Superposition(), notice=told.append)
    return told


class Call:
    """Pickled as a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self._call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


def torch_file(path: Path, description: bytes, storage: bytes = bytes(128), **zip_options: Any) -> None:
    """An archive as torch.save writes it, around any description."""
    entries = {"data.pkl": description, "byteorder": b"little", "data/0": storage, "version": b"3\n"}
    with zipfile.ZipFile(path, "w", **zip_options) as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)


def description_of(content: Any) -> bytes:
    """The pickle of anything; a Storage in it stands for the archive's storage 0."""
    file = io.BytesIO()
    pickler = _Pickler(file, protocol=2)
    pickler.dump(content)
    return file.getvalue()


class Storage:
    """32 floats: the storage `data/0` of an archive, or as many as it says."""

    def __init__(self, elements: int = 32) -> None:
        self.elements = elements


class _Pickler(pickle.Pickler):
    def persistent_id(self, thing: Any) -> Any:
        return ("storage", torch.FloatStorage, "0", "cpu", thing.elements) if isinstance(thing, Storage) else None


def tensor(storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> Call:
    """A tensor with any offset, shape and stride."""
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, shape, stride, False, {})


def safetensors_file(path: Path, header: bytes | Mapping[str, Any], data: bytes = bytes(72), length: int = -1) -> None:
    """A .safetensors file with any header, and any length stated for it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length < 0 else length) + text + data)


def hdf5_file(folder: Path) -> h5py.File:
    """A new file run.h5 with a step dataset and the bias of five checkpoints: only W is wanting."""
    file = h5py.File(folder / "run.h5", "w")
    file["step"] = [0, 1, 2, 3, 4]
    file["b"] = torch.zeros(5, 6).numpy()
    return file
