"""A .safetensors file with a million tensors without elements: a header of 90 MB that grows tenfold when it is read."""

import json
from pathlib import Path

from stranger import converted, safetensors_file

REFUSED = "header"


def make(folder: Path) -> None:
    one = json.dumps({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})
    text = "{" + ",".join(f'"{number:030d}":{one}' for number in range(1_000_000)) + "}"
    safetensors_file(folder / "step_1.safetensors", text.encode(), b"")


def read(folder: Path) -> None:
    converted(folder)
