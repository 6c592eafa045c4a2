"""One file of torch.save (.pt, .pth, .bin, a Lightning .ckpt), loaded with weights_only=True and behind checks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from devi.checkpoints.foreign.pickles import Unreadable, objects_named_in
from devi.checkpoints.foreign.plain_copy import how_to_make_it_plain
from devi.checkpoints.foreign.source import Content, as_step
from devi.checkpoints.foreign.zips import NotOurs, description_in
from devi.errors import DeviError, shown

STATE_NAMES = ("state_dict", "model_state_dict", "model")  # under which a larger dict keeps the state
STEP_NAMES = ("global_step", "step")
_BEFORE_ZIP = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # torch before 1.6: several pickles in a row
MOST_NESTED = 8
MOST_TENSORS = 100_000
MOST_AGAIN = 16 << 20  # bytes, about, for what is found in dicts that were gone through before: paths multiply


def read_torch(path: Path) -> Content:
    """The tensors and the step in a file. They stay in the file, mapped, until they are looked at.

    Raises DeviError for a file that is damaged, that names Python objects, or that holds no tensors.
    """
    _check(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch comments on old ways of writing; nothing the user can act on here
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever the instructions of a crafted or damaged file lead to
        raise _damaged(path, f"torch cannot load it: {str(error).splitlines()[0] if str(error) else error!r}") from None
    return _content(loaded, path)


def _check(path: Path) -> None:
    try:
        with open(path, "rb") as file:
            start = file.read(len(_BEFORE_ZIP))
            if start == _BEFORE_ZIP:
                raise DeviError(
                    f"{shown(path, 300)} is in the format of torch before 1.6, which is not read. Write it anew:"
                    " torch.save(torch.load(path, weights_only=True), path)"
                )
            if start and not start.startswith(b"PK"):
                raise NotOurs("it is no file of torch.save")
            description = description_in(file)
        objects = objects_named_in(description)
    except OSError as error:
        raise DeviError(f"{shown(path, 300)}: cannot be read: {error.strerror}. May you read it?") from None
    except (NotOurs, Unreadable) as error:
        raise _damaged(path, str(error)) from None
    if objects:
        raise how_to_make_it_plain(path, objects)


def _damaged(path: Path, why: str) -> DeviError:
    return DeviError(
        f"{shown(path, 300)} is no whole checkpoint: {shown(why, 400)}. Expected a state dict as torch.save writes it."
        " Was it still being written? Replace it or move it away, then run the same command again: what is done"
        " is kept."
    )


def _content(loaded: Any, path: Path) -> Content:
    """The state in what was loaded: what stands under state_dict, model_state_dict or model, else everything."""
    if not isinstance(loaded, dict):
        raise DeviError(
            f"{shown(path, 300)} holds a {type(loaded).__name__}; expected a dict of tensors by name."
            " Write it so: torch.save(model.state_dict(), path)"
        )
    step = next((found for name in STEP_NAMES if (found := as_step(loaded.get(name))) is not None), None)
    states = {name: state for name in STATE_NAMES if (state := _tensors(loaded.get(name)))}
    if len(states) > 1:
        raise DeviError(
            f"{shown(path, 300)} holds a state under each of {', '.join(states)}; which is meant cannot be told."
            f" Keep one: torch.save({{'model': torch.load(path, weights_only=True)['{next(iter(states))}']}}, path)"
        )
    tensors = next(iter(states.values())) if states else _tensors(loaded)
    if not tensors:
        raise DeviError(
            f"{shown(path, 300)} holds no tensors by name; it has the entries"
            f" {', '.join(shown(name) for name in list(loaded)[:8]) or '(none)'}."
            " Write it so: torch.save(model.state_dict(), path)"
        )
    return Content(tensors, step)


def _tensors(tree: Any) -> dict[str, Tensor]:
    """The tensors in nested dicts, named by their keys joined by dots; not those in lists, which optimizers use.

    A dict that stands at two places, as the best state so far that is also the present one, has the names of both.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    again = 0
    pending: list[tuple[str, Any, tuple[int, ...]]] = [("", tree, ())]
    while pending and len(found) < MOST_TENSORS:
        prefix, branch, within = pending.pop()
        if not isinstance(branch, Mapping) or id(branch) in within or len(within) > MOST_NESTED:
            continue
        if id(branch) in seen:
            if again <= MOST_AGAIN:
                again += sum(100 + len(prefix) + len(key) for key in branch if isinstance(key, str))
            if again > MOST_AGAIN:
                continue
        seen.add(id(branch))
        for key, value in branch.items():
            if not isinstance(key, str):  # an optimizer numbers its parameters
                continue
            if isinstance(value, Tensor):
                # Tensor's own method: a file can give a tensor attributes that hide its methods
                found[prefix + key] = Tensor.detach(value)
            else:
                pending.append((f"{prefix}{key}.", value, (*within, id(branch))))
    return found
