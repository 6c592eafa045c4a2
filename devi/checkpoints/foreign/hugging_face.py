"""Folders checkpoint-N as transformers' Trainer writes them: the weights in one file, or in shards with an index."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from torch import Tensor

from devi.checkpoints.foreign.absent import check_there
from devi.checkpoints.foreign.folder import READERS
from devi.checkpoints.foreign.source import Place, Source
from devi.errors import DeviError, shown

NAME = re.compile(r"checkpoint-([0-9]{1,18})")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEXES = tuple(f"{name}.index.json" for name in WEIGHTS)
MOST_INDEX_BYTES = 16 << 20
_SHARD = re.compile(r"[\w][\w.-]{0,200}\.(safetensors|bin)", re.ASCII)


class HuggingFace(Source):
    """One folder a checkpoint; optimizer and scheduler beside the weights are not read."""

    kind = "Hugging Face"

    def __init__(self, path: Path, folders: list[Path]) -> None:
        check_there(folders)
        names = [folder / name for folder in folders for name in (*WEIGHTS, *INDEXES)]
        check_there(name for name in names if os.path.lexists(name))
        places = [Place(int(NAME.fullmatch(folder.name)[1]), folder) for folder in folders]  # type: ignore[index]
        super().__init__(path, places)

    def read(self, place: Place) -> dict[str, Tensor]:
        for name in WEIGHTS:
            if (place.path / name).is_file():
                return READERS[Path(name).suffix](place.path / name).tensors
        for name in INDEXES:
            if (place.path / name).is_file():
                return _sharded(place.path / name)
        there = sorted(entry.name for entry in place.path.iterdir())
        raise DeviError(
            f"{shown(place.path, 300)} holds none of {', '.join([*WEIGHTS, *INDEXES])}. It has:"
            f" {', '.join(shown(name) for name in there[:8]) or 'nothing'}. Save the whole model there:"
            " model.save_pretrained(folder)"
        )


def _sharded(index: Path) -> dict[str, Tensor]:
    """The tensors that an index lists, from the shards that it names; those must lie beside it."""
    found: dict[str, Tensor] = {}
    by_shard: dict[str, list[str]] = {}
    for name, shard in _weight_map(index).items():
        by_shard.setdefault(shard, []).append(name)
    for shard, names in by_shard.items():
        file = index.parent / shard
        if os.path.lexists(file):
            check_there([file])
        if not file.is_file():
            raise DeviError(
                f"{shown(index, 300)} names the shard {shown(shard)!r}, which is not beside it. Was the folder copied"
                " whole, and is it still being written? Copy it again."
            )
        tensors = READERS[file.suffix](file).tensors
        missing = [name for name in names if name not in tensors]
        if missing:
            raise DeviError(
                f"{shown(file, 300)} has no {shown(missing[0])!r}, which {index.name} says it has. They are not of one"
                " checkpoint: copy the folder again."
            )
        found |= {name: tensors[name] for name in names}
    return found


def _weight_map(index: Path) -> dict[str, str]:
    if index.stat().st_size > MOST_INDEX_BYTES:
        raise DeviError(f"{shown(index, 300)} has more than {MOST_INDEX_BYTES:,} bytes; expected a list of names.")
    try:
        weights = json.loads(index.read_bytes())["weight_map"]
        pairs = dict(weights)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DeviError(
            f"{shown(index, 300)} is no index of shards: {shown(repr(error), 200)}. Expected"
            ' {"weight_map": {name: file}}: copy the folder again.'
        ) from None
    for shard in set(map(str, pairs.values())):
        if not _SHARD.fullmatch(shard):
            raise DeviError(
                f"{shown(index, 300)} names the shard {shown(shard)!r}; expected the plain name of a .safetensors or"
                " .bin file beside it. Was this index made by transformers? It is not followed."
            )
    return {str(name): str(shard) for name, shard in pairs.items()}
