"""Restriction: which parameters the chains may move, by patterns of their names; all others stay at w*.

    blocks.0.*                         every parameter whose name matches, as file names match (fnmatch)
    blocks.0.query[2]                  entry 2 of the first axis of each: a head, where heads are the first axis
    attn.in_proj_weight[0:8,32:40]     entries 0 to 7 and 32 to 39
    blocks.0.query[2]+blocks.0.key[2]  both together

A bracket at the very end always means entries of the first axis; anywhere else it is one of fnmatch's. A comma joins
such entries. What could be meant as a second axis (W[:,0], W[0:2,0:2]) is refused: it would select another set.
"""

from __future__ import annotations

import itertools
import re
from fnmatch import fnmatchcase

from torch import nn

from devi.errors import DeviError, unknown_name

ENTRIES = re.compile(r"(.+)\[([-\d:,.\s]+)\]")
HAS_BOTH_ENDS = re.compile(r"\s*-?\d+\s*(:\s*-?\d+\s*)?")  # what a comma may join: 2 or 0:8, neither : nor 2: nor ...


def restricted(model: nn.Module, restriction: str) -> dict[str, list[int] | None]:
    """Parameter name -> the entries of its first axis that are sampled, None for all, in the model's order.

    Raises DeviError if a part of the restriction selects nothing, naming what there is.
    """
    if not isinstance(restriction, str):
        raise DeviError(
            f"restriction = {restriction!r}: expected one text; several patterns are joined as in 'a.*+b.*'."
        )
    own = {id(value): name for name, value in model.named_parameters()}
    # A tied parameter has several names: each of them finds it.
    names = {name: own[id(value)] for name, value in model.named_parameters(remove_duplicate=False)}
    parameters = dict(model.named_parameters())
    chosen: dict[str, set[int]] = {}
    for part in restriction.split("+"):
        pattern, entries = _split(part.strip())
        found = list(dict.fromkeys(names[name] for name in names if fnmatchcase(name, pattern)))
        moving = [name for name in found if parameters[name].requires_grad]
        if not found:
            listed = unknown_name("parameter", pattern, names)
            raise DeviError(f"--restrict '{restriction}': {listed} A pattern such as 'embed*' selects several.")
        if not moving:
            raise DeviError(
                f"--restrict '{restriction}': {', '.join(found)} is frozen (requires_grad=False), and so is never"
                f" sampled. Those that are: {', '.join(n for n, value in parameters.items() if value.requires_grad)}."
            )
        for name in moving:
            shape = tuple(parameters[name].shape)
            chosen.setdefault(name, set()).update(_rows(entries, name, shape, restriction))
    order = [name for name in parameters if name in chosen]
    return {name: None if len(chosen[name]) == _count(parameters[name]) else sorted(chosen[name]) for name in order}


def selects_all(model: nn.Module, restriction: str) -> bool:
    """Whether nothing that would be sampled without the restriction is left out."""
    chosen = restricted(model, restriction)
    sampled = [name for name, value in model.named_parameters() if value.requires_grad]
    return list(chosen) == sampled and all(rows is None for rows in chosen.values())


def _split(part: str) -> tuple[str, str | None]:
    """'query[2]' -> ('query', '2'); 'query' -> ('query', None)."""
    match = ENTRIES.fullmatch(part)
    return (match[1], match[2]) if match else (part, None)


def _count(parameter: nn.Parameter) -> int:
    return parameter.shape[0] if parameter.ndim else 1


def _rows(entries: str | None, name: str, shape: tuple[int, ...], restriction: str) -> list[int]:
    """The entries of the first axis that '2', '0:8' or '0,2:4' means."""
    count = shape[0] if shape else 1
    if entries is None:
        return list(range(count))
    pieces = entries.split(",")
    if len(pieces) > 1 and not all(HAS_BOTH_ENDS.fullmatch(piece) for piece in pieces):
        raise _several_axes(entries, name, shape, restriction)
    taken = [_taken(piece, name, shape, restriction) for piece in pieces]
    if any(set(one) & set(other) for one, other in itertools.combinations(taken, 2)):
        raise _several_axes(entries, name, shape, restriction)
    return list(itertools.chain(*taken))


def _taken(piece: str, name: str, shape: tuple[int, ...], restriction: str) -> list[int]:
    """The entries that '2' or '0:8' means; never none."""
    count = shape[0] if shape else 1
    try:
        numbers = [int(end) if end.strip() else None for end in piece.split(":")]
    except ValueError:
        numbers = []
    taken: list[int] = []
    if len(numbers) == 2 and shape:
        taken = list(range(count))[numbers[0] : numbers[1]]
    elif len(numbers) == 1 and numbers[0] is not None and shape and -count <= numbers[0] < count:
        taken = [numbers[0] % count]
    if not taken:
        raise DeviError(
            f"--restrict '{restriction}': '{piece}' selects nothing of {name}, of shape {shape};"
            f" expected entries of its first axis, 0 to {count - 1}: {name}[0] or {name}[0:{count}]."
        )
    return taken


def _several_axes(entries: str, name: str, shape: tuple[int, ...], restriction: str) -> DeviError:
    last = max(shape[0] - 1, 0) if shape else 0
    example = f"{name}[0,{last}] or {name}[0:1,{last}]" if last else f"{name}[0]"
    return DeviError(
        f"--restrict '{restriction}': [{entries}] could mean several axes of {name}, of shape {shape}; expected entries"
        f" of its first axis alone, 0 to {last}. Several of them: numbers and ranges with both ends, none of them"
        f" twice, with commas between: {example}."
    )
