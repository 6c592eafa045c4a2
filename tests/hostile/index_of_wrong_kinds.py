"""A Hugging Face index whose weight_map is a list of a list and a dict."""

import json
from pathlib import Path

from stranger import converted


def make(folder: Path) -> None:
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": [[{}, []]]}))


def read(folder: Path) -> None:
    converted(folder)
