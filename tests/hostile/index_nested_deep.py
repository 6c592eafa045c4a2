"""A Hugging Face index of 100,000 nested lists."""

from pathlib import Path

from stranger import converted

REFUSED = "no index"


def make(folder: Path) -> None:
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / "model.safetensors.index.json").write_text("[" * 100_000 + "]" * 100_000)


def read(folder: Path) -> None:
    converted(folder)
