"""A signed description whose metadata are nested 700 deep: parsing may pass, comparing or printing may not."""

from pathlib import Path

from forge import described, run_of, use, with_block

from devi.checkpoints.userblock import json_bytes

REFUSED = "nested more than"


def make(folder: Path) -> None:
    path = run_of(folder)
    nested = b'"seed":' + b"[" * 700 + b"]" * 700
    with_block(path, json_bytes(described(path)).replace(b'"seed":0', nested), keep_size=False)


def read(folder: Path) -> None:
    use(folder / "run")
