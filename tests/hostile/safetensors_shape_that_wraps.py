"""A .safetensors file whose W has 2**32 × 2**32 elements, a product that is 0 in 64 bits."""

from pathlib import Path

from stranger import converted, safetensors_file


def make(folder: Path) -> None:
    wrapped = {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}
    safetensors_file(
        folder / "step_1.safetensors", {"W": wrapped, "b": {"dtype": "F32", "shape": [18], "data_offsets": [0, 72]}}
    )


def read(folder: Path) -> None:
    converted(folder)
