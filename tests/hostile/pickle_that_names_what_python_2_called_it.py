"""A .pt file that calls __builtin__.eval, a name that loaders translate into builtins.eval of today."""

from pathlib import Path

from stranger import converted, torch_file

REFUSED = "__builtin__.eval"


def make(folder: Path) -> None:
    code = f"open({str(folder / 'harmed')!r}, 'w')".encode()
    torch_file(
        folder / "step_1.pt", b"\x80\x02c__builtin__\neval\nX" + len(code).to_bytes(4, "little") + code + b"\x85R."
    )


def read(folder: Path) -> None:
    converted(folder)
