"""A front block and a trailer, both rightly signed, that say different things."""

from pathlib import Path

from forge import described, run_of, use


def make(folder: Path) -> None:
    path = run_of(folder)
    other = run_of(folder / "other", metadata={"seed": 5})
    content, size = bytearray(path.read_bytes()), described(path)["user_block"]
    content[-size - 16 :] = other.read_bytes()[-size - 16 :]
    path.write_bytes(content)


def read(folder: Path) -> None:
    use(folder / "run")
