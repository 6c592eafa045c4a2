"""What to type when a checkpoint holds Python objects, which devi does not load: how to make a plain copy of it."""

from __future__ import annotations

import shlex
from pathlib import Path

from devi.errors import DeviError, shown

# Run by the user, who knows where the file is from; so it may load everything.
_LOOP = """import sys, torch
from pathlib import Path
out = Path(sys.argv[2])
out.mkdir(exist_ok=True)
plain = lambda v: v.state_dict() if isinstance(v, torch.nn.Module) else v
for p in sorted(Path(sys.argv[1]).glob(sys.argv[3])):
    c = plain(torch.load(p, weights_only=False, map_location="cpu"))
    keys = [k for k in ("state_dict", "model_state_dict", "model", "global_step", "step") if k in c]
    c = {k: plain(c[k]) for k in keys} or {k: v for k, v in c.items() if torch.is_tensor(v)}
    torch.save(c, out / f"{p.stem}.pt")"""


# Modules, and functions, that an attack calls and that nobody's training state is made of.
_HARMFUL = frozenset(
    ["os", "posix", "nt", "subprocess", "sys", "runpy", "shutil", "socket", "importlib", "ctypes", "pty", "webbrowser"]
    + [f"{home}.{name}" for home in ("builtins", "__builtin__") for name in ("eval", "exec", "open", "__import__")]
)


def how_to_make_it_plain(path: Path, objects: list[str]) -> DeviError:
    """The error for a file whose pickle names classes or functions."""
    if all(name.startswith("torch._utils._rebuild_") for name in objects):
        return DeviError(
            f"{shown(path, 300)} holds sparse, quantized or other special tensors ({objects[0]}), which have no plain"
            " values. Save plain ones, for example: torch.save({name: t.to_dense() for name, t in state.items()}, path)"
        )
    if any(name.partition(".")[0] in _HARMFUL or name in _HARMFUL for name in objects):
        return DeviError(
            f"{shown(path, 300)} would run {', '.join(shown(name) for name in objects[:5])} when it is loaded. Training"
            " code saves nothing of the kind: do not load it with anything, and ask who made it."
        )
    named = ", ".join(shown(name) for name in objects[:5]) + (
        f" and {len(objects) - 5} more" if len(objects) > 5 else ""
    )
    return DeviError(
        f"{shown(path, 300)} holds Python objects ({named}); loading those can run code, so only tensors, numbers,"
        " text, lists and dicts are read. If you trust the file, make plain copies of all and convert those:\n"
        f"{command(path)}"
    )


def command(path: Path) -> str:
    """A line for the shell that writes the weights of all files beside `path` to a folder '…-plain'."""
    source = path.parent.resolve()
    target = source.with_name(source.name + "-plain")
    return shlex.join(["python", "-c", _LOOP, str(source), str(target), f"*{path.suffix}"])
