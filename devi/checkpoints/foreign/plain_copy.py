"""What to type when a checkpoint holds Python objects, which devi does not load: how to make a plain copy of it."""

from __future__ import annotations

import shlex
from pathlib import Path

from devi.errors import DeviError, shown

# Run by the user, who knows where the file is from; so it may load everything.
_WHOLE_MODEL = (
    "torch.save(torch.load(p, weights_only=False, map_location='cpu').state_dict(), o / p.with_suffix('.pt').name)"
)
_DICT = (
    "c = torch.load(p, weights_only=False, map_location='cpu');"
    " torch.save({k: c[k] for k in ('state_dict', 'model_state_dict', 'model', 'global_step', 'step') if k in c}"
    " or {k: v for k, v in c.items() if torch.is_tensor(v)}, o / p.with_suffix('.pt').name)"
)


def how_to_make_it_plain(path: Path, objects: list[str]) -> DeviError:
    """The error for a file whose pickle names classes or functions."""
    is_model = any(name.startswith("torch.nn.modules.") for name in objects)
    named = ", ".join(shown(name) for name in objects[:5]) + (
        f" and {len(objects) - 5} more" if len(objects) > 5 else ""
    )
    return DeviError(
        f"{shown(path, 300)} holds Python objects ({named}); loading those can run code, so only tensors, numbers,"
        " text, lists and dicts are read. If you trust the file, make plain copies of all and convert those:\n"
        f"  {command(path, is_model=is_model)}"
    )


def command(path: Path, *, is_model: bool) -> str:
    """A line for the shell that writes the weights of all files beside `path` to a folder '…-plain'."""
    source = path.parent.resolve()
    code = (
        "import sys, torch\nfrom pathlib import Path\n"
        "o = Path(sys.argv[2]); o.mkdir(exist_ok=True)\n"
        f"for p in sorted(Path(sys.argv[1]).glob(sys.argv[3])): {_WHOLE_MODEL if is_model else _DICT}"
    )
    target = source.with_name(source.name + "-plain")
    return shlex.join(["python", "-c", code, str(source), str(target), f"*{path.suffix}"])
