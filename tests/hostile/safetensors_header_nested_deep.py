"""A .safetensors file whose header is 100,000 nested lists: a recursive parser overruns its stack."""

from pathlib import Path

from stranger import converted, safetensors_file


def make(folder: Path) -> None:
    safetensors_file(folder / "step_1.safetensors", b'{"W":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def read(folder: Path) -> None:
    converted(folder)
