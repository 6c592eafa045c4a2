"""An HDF5 file with names that are no UTF-8, that steer the terminal, and that hold HTML."""

from pathlib import Path

from stranger import converted, hdf5_file


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file["W"] = [[[1.0] * 6] * 2] * 5
        for name in (b"\xff\xfe", b"\x1b]0;owned\x07\x1b[2J", b"<img src=x onerror=alert(1)>"):
            file[name] = [1.0, 2.0, 3.0, 4.0, 5.0]


def read(folder: Path) -> None:
    told = "".join(converted(folder / "run.h5"))
    assert "x1b" in told  # as text
    assert "\x1b" not in told
