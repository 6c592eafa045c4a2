"""A .safetensors file whose W stands in bytes that the file has not."""

from pathlib import Path

from stranger import converted, safetensors_file


def make(folder: Path) -> None:
    wild = {"dtype": "F32", "shape": [2, 6], "data_offsets": [2**40, 2**40 + 48]}
    safetensors_file(
        folder / "step_1.safetensors", {"W": wild, "b": {"dtype": "F32", "shape": [6], "data_offsets": [48, 72]}}
    )


def read(folder: Path) -> None:
    converted(folder)
