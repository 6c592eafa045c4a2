"""One .safetensors file; its tensors stay in the file, mapped, until they are looked at."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from safetensors import safe_open

from devi.checkpoints.foreign.source import MOST_STEP, Content
from devi.errors import DeviError, shown

MOST_HEADER_BYTES = 4 << 20  # a thousand tensors take 0.1 MiB


def read_safetensors(path: Path) -> Content:
    """The tensors in a file, and the step if its metadata has an entry 'step' or 'global_step'. Raises DeviError."""
    try:
        _check_header(path)
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            said = next((metadata[name] for name in ("global_step", "step") if name in metadata), "")
            is_step = said.isascii() and said.isdigit() and len(said) <= 19 and int(said) <= MOST_STEP
            return Content({name: file.get_tensor(name) for name in file.keys()}, int(said) if is_step else None)  # noqa: SIM118
    except DeviError:
        raise
    except PermissionError as error:
        raise DeviError(f"{shown(path, 300)}: may not be read: {error.strerror}. Change its permissions.") from None
    except Exception as error:  # the library's own errors, and torch's for a dtype that it lacks
        raise DeviError(
            f"{shown(path, 300)} is no whole .safetensors file: {shown(error, 300)}. Was it still being written?"
            " Replace it or move it away, then run the same command again: what is done is kept."
        ) from None


def _check_header(path: Path) -> None:
    with open(path, "rb") as file:
        size, start = os.fstat(file.fileno()).st_size, file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if len(start) < 8 or length > size - 8:
        raise ValueError(f"it has {size:,} bytes, too few for its header of {length:,}")
    if length > MOST_HEADER_BYTES:
        raise ValueError(f"its header takes {length:,} bytes; at most {MOST_HEADER_BYTES:,} are read")
