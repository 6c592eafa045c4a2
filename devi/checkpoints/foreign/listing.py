"""What kind of foreign checkpoints a path holds, found from names alone."""

from __future__ import annotations

import os
from pathlib import Path

from devi.checkpoints.foreign.absent import check_there, is_absent
from devi.checkpoints.foreign.folder import READERS, Folder
from devi.checkpoints.foreign.hdf5_file import SUFFIXES as HDF5_SUFFIXES
from devi.checkpoints.foreign.hdf5_file import HDF5File
from devi.checkpoints.foreign.hugging_face import INDEXES, NAME, WEIGHTS, HuggingFace
from devi.checkpoints.foreign.source import Source
from devi.checkpoints.header import segment_paths
from devi.errors import DeviError, quoted, shown

EXPECTED = (
    "Expected a folder of .pt, .pth, .ckpt or .safetensors files, a folder of Hugging Face checkpoint-N folders,"
    " or one HDF5 file"
)
# Beside checkpoint-N folders the Trainer keeps the final weights and its own notes.
_TRAINERS = frozenset([*WEIGHTS, *INDEXES, "training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt"])


def open_source(path: Path, pattern: str | None = None) -> Source:
    """The checkpoints at a path, in order of their steps.

    pattern   a regular expression with one group, the step, for names that do not say it
    Raises DeviError for a path without checkpoints, or with those of several kinds, and for damaged files.
    """
    if path.is_file():
        return _of_file(path, pattern)
    if not path.is_dir():
        if os.path.lexists(path):
            check_there([path])
        raise DeviError(f"there is no {shown(path, 300)}. {EXPECTED}.")
    if segment_paths(path):
        raise DeviError(f"{shown(path, 300)} is a run of devi's own already. Analyze it: devi analyze {quoted(path)}")
    folders, files = foreign_in(path)
    if folders and pattern is None:
        left = [file.name for file in files if not _is_trainers(file)]
        if left:
            raise _mixed(path, {"checkpoint-N folders": folders[0], "files": path / left[0]})
        source: Source = HuggingFace(path, folders)
        beside = sorted({file.name for file in files} & set(WEIGHTS))
        if beside:
            source.notices.append(f"{', '.join(beside)} beside the checkpoint-N folders has no step and is left out.")
        return source
    if not files:
        if folders:
            raise DeviError(
                f"{shown(path, 300)} holds {folders[0].name} and the like, whose names say the step: --step-pattern is"
                " for files. Leave it out."
            )
        raise _nothing(path)
    index = next((name for name in INDEXES if (path / name).is_file()), None)
    if index is not None and pattern is None:
        raise DeviError(
            f"{shown(path, 300)} is one checkpoint in several files, which {index} lists, and its name does not say the"
            f" step. Call it so, with its step in place of 1000: mv {quoted(path)} checkpoint-1000"
        )
    kinds = {file.suffix.lower(): file for file in reversed(files)}
    if len(kinds) > 1:
        raise _mixed(path, kinds)
    return Folder(path, files, pattern)


def is_foreign(path: Path) -> bool:
    """Whether `open_source` would find checkpoints there, as far as names tell."""
    if path.is_file():
        return path.suffix.lower() in (*HDF5_SUFFIXES, *READERS)
    return path.is_dir() and not segment_paths(path) and any(foreign_in(path))


def foreign_in(path: Path) -> tuple[list[Path], list[Path]]:
    """The checkpoint-N folders in a folder (itself, if it is one), and the files that could be checkpoints.

    Links to nothing are among them: who reads them says so, where to leave them out would not be noticed.
    """
    itself = Path(os.path.abspath(path))  # '.' has no name
    if NAME.fullmatch(itself.name) and any(os.path.lexists(path / name) for name in (*WEIGHTS, *INDEXES)):
        return [itself], []
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if NAME.fullmatch(entry.name) and (is_absent(entry) or entry.is_dir())]
    files = [entry for entry in entries if entry.suffix.lower() in READERS]
    return folders, [entry for entry in files if is_absent(entry) or entry.is_file()]


def _of_file(path: Path, pattern: str | None) -> Source:
    suffix = path.suffix.lower()
    if path in segment_paths(path.parent).values():
        raise DeviError(
            f"{shown(path, 300)} is a part of a run of devi's own. Analyze that: devi analyze {quoted(path.parent)}"
        )
    if suffix in HDF5_SUFFIXES:
        return HDF5File(path, pattern)
    if suffix in READERS:
        return Folder(path, [path], pattern)
    raise DeviError(f"{shown(path, 300)} is of no kind that is read, by its name. {EXPECTED} (.h5, .hdf5).")


def _is_trainers(file: Path) -> bool:
    return file.name in _TRAINERS or file.name.startswith(("rng_state", "model-", "pytorch_model-"))


def _mixed(path: Path, kinds: dict[str, Path]) -> DeviError:
    some = ", ".join(f"{kind} ({shown(example.name)})" for kind, example in kinds.items())
    return DeviError(
        f"{shown(path, 300)} holds checkpoints of several kinds: {some}. A run is made of one kind: move the others"
        " into a folder of their own."
    )


def _nothing(path: Path) -> DeviError:
    there = sorted(entry.name for entry in path.iterdir())
    hdf5 = next((name for name in there if name.lower().endswith(HDF5_SUFFIXES)), None)
    say = EXPECTED if hdf5 is None else f"If {shown(hdf5)} holds them, name it: {shown(path / hdf5, 300)}"
    has = f"has {', '.join(shown(name) for name in there[:6])}" if there else "is empty"
    return DeviError(f"{shown(path, 300)} holds no checkpoints; it {has}. {say}.")
