"""A .safetensors file whose header is said to take 2**63 bytes."""

from pathlib import Path

from stranger import converted, safetensors_file

REFUSED = "too few"


def make(folder: Path) -> None:
    safetensors_file(folder / "step_1.safetensors", {}, length=2**63)


def read(folder: Path) -> None:
    converted(folder)
