"""A Hugging Face index whose shard is '../../private.safetensors', a file outside the folder."""

import json
from pathlib import Path

from stranger import converted, safetensors_file

REFUSED = "plain name"


def make(folder: Path) -> None:
    safetensors_file(folder / "private.safetensors", {"W": {"dtype": "F32", "shape": [18], "data_offsets": [0, 72]}})
    place = folder / "src" / "checkpoint-1"
    place.mkdir(parents=True)
    index = {"weight_map": {"W": "../../private.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))


def read(folder: Path) -> None:
    converted(folder / "src")
