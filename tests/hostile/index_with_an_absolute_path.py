"""A Hugging Face index whose shard is an absolute path."""

import json
from pathlib import Path

from stranger import converted

REFUSED = "plain name"


def make(folder: Path) -> None:
    (folder / "checkpoint-1").mkdir()
    index = {"weight_map": {"W": "/etc/passwd", "b": "/etc/passwd.bin"}}
    (folder / "checkpoint-1" / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def read(folder: Path) -> None:
    converted(folder)
