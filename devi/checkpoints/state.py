"""State: nested Python values with tensors in them, as JSON and arrays, and back, bit for bit and without pickle."""

from __future__ import annotations

import collections
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from devi.checkpoints.layout import MOST_AXES, stored_dtype
from devi.checkpoints.tensors import from_stored, to_stored
from devi.errors import DeviError, shown, wrong_kind

_DICTS: dict[str, Callable[[list[Any]], Any]] = {
    "dict": dict,
    "OrderedDict": collections.OrderedDict,
    "Counter": lambda pairs: collections.Counter(dict(pairs)),  # MultiStepLR keeps its milestones in one
}


# Items from which on a list of numbers goes to an array: in the JSON a history of losses would outgrow what is read.
LONG = 1000
_NUMBERS: dict[type, str] = {float: "<f8", int: "<i8"}


def encode(value: Any, arrays: list[np.ndarray], at: str) -> Any:
    """`value` as JSON; tensors and arrays go to `arrays`, not copied, and are named by their place there; so do long
    lists of numbers.

    Floats are written in hexadecimal, which loses nothing. Raises DeviError naming the place `at` of any other object.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Tensor):
        return _encode_tensor(value, arrays, at)
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in "biufc" or value.dtype.char in "gG":  # a longdouble's bytes differ between machines
            raise DeviError(
                f"{at} is an array of {value.dtype}, which a resume slot cannot hold. Expected whole numbers, bools,"
                " floats up to float64 or complex128: convert it, or leave it out of `state`."
            )
        arrays.append(_plain(np.asarray(value), at))
        return {"numpy" if isinstance(value, np.ndarray) else "scalar": len(arrays) - 1}
    if type(value) is int:
        try:
            return {"int": str(value)}
        except ValueError:  # Python's own limit, which a slot's reader has too
            raise DeviError(
                f"{at} is a whole number of {value.bit_length():,} bits, which a resume slot cannot hold: expected at"
                f" most {sys.get_int_max_str_digits():,} digits. Give it as bytes, or leave it out of `state`."
            ) from None
    if type(value) is float:
        return {"float": value.hex()}
    if type(value) is complex:
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if type(value) is bytes:
        return {"bytes": value.hex()}
    if isinstance(value, torch.dtype | torch.device):
        return {"torch": str(value)}
    if type(value) in (list, tuple, torch.Size):
        numbers = _numbers(value) if len(value) >= LONG else None
        if numbers is not None:
            arrays.append(numbers)
            return {type(value).__name__: len(arrays) - 1}
        return {type(value).__name__: [encode(item, arrays, f"{at}[{i}]") for i, item in enumerate(value)]}
    if type(value).__name__ in _DICTS and isinstance(value, dict):
        pairs = [[encode(k, arrays, at), encode(v, arrays, f"{at}[{k!r}]")] for k, v in value.items()]
        return {type(value).__name__: pairs}
    raise DeviError(
        f"{at} is a {type(value).__module__}.{type(value).__qualname__}, which a resume slot cannot hold."
        " Expected numbers, text, lists, tuples, dicts, arrays and tensors: leave it out of `state`,"
        " or give it a state_dict() made of those."
    )


def _encode_tensor(tensor: Tensor, arrays: list[np.ndarray], at: str) -> Any:
    try:
        dtype = str(tensor.dtype).removeprefix("torch.")
        stored_dtype(dtype)
        stored = to_stored(tensor)
    except Exception:  # whatever a tensor of another class makes of being read
        is_own = type(tensor) in (Tensor, torch.nn.Parameter)
        kind = f"{tensor.layout}, {tensor.dtype}, on {tensor.device}" if is_own else f"a {type(tensor).__name__}"
        raise DeviError(
            f"{at} is a tensor without plain values ({kind.replace('torch.', '')}), which a resume slot cannot hold."
            " Expected a dense one: convert it, or leave it out of `state`."
        ) from None
    arrays.append(_plain(stored, at))
    return {"tensor": len(arrays) - 1, "dtype": dtype}


def _numbers(items: Sequence[Any]) -> np.ndarray | None:
    """The items as an array that gives the same ones back: all of them floats, or integers of 64 bits; else None."""
    kinds = set(map(type, items))
    kind = _NUMBERS.get(kinds.pop()) if len(kinds) == 1 else None
    try:
        return None if kind is None else np.array(items, kind)
    except OverflowError:
        return None


def _listed(numbers: np.ndarray) -> list[Any]:
    if numbers.ndim != 1 or numbers.dtype.str not in _NUMBERS.values():
        raise ValueError(f"an array of {numbers.dtype} and shape {numbers.shape} is no list of numbers")
    items: list[Any] = numbers.tolist()
    return items


def _plain(array: np.ndarray, at: str) -> np.ndarray:
    """Little-endian and in C order: itself if it is so."""
    if array.ndim > MOST_AXES:
        raise DeviError(f"{at} has {array.ndim} axes; a file holds at most {MOST_AXES}. Reshape it to fewer.")
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def decode(node: Any, arrays: dict[int, np.ndarray]) -> Any:
    """What `encode` was given; tensors on the CPU, in the memory of `arrays`, from which each is taken once: many names
    for one would fill memory."""
    if not isinstance(node, dict):
        return node
    kind = next(key for key in node if key != "dtype")
    content = node[kind]
    if kind == "tensor":
        stored = arrays.pop(content)
        if stored_dtype(node["dtype"]) != stored.dtype:
            raise ValueError(f"an array of {stored.dtype} is no tensor of {node['dtype']!r}")
        return from_stored(stored, node["dtype"])
    if kind in ("numpy", "scalar"):
        stored = arrays.pop(content)
        array = np.array(stored, dtype=stored.dtype.newbyteorder("="))
        return array if kind == "numpy" else array[()]
    if kind in _DICTS:
        return _DICTS[kind]([(decode(key, arrays), decode(value, arrays)) for key, value in content])
    if kind in ("list", "tuple", "Size"):
        is_long = type(content) is int
        items = _listed(arrays.pop(content)) if is_long else [decode(item, arrays) for item in content]
        return items if kind == "list" else tuple(items) if kind == "tuple" else torch.Size(items)
    if kind == "torch":
        named = torch.device(content) if not content.startswith("torch.") else getattr(torch, content[6:])
        if not isinstance(named, torch.dtype | torch.device):
            raise ValueError(f"{content!r} names neither a dtype nor a device")
        return named
    simple: dict[str, Callable[[Any], Any]] = {
        "int": int,
        "float": float.fromhex,
        "complex": lambda parts: complex(float.fromhex(parts[0]), float.fromhex(parts[1])),
        "bytes": bytes.fromhex,
    }
    return simple[kind](content)


def checked_state(given: Any) -> dict[str, Any]:
    """What a Recorder is given as `state`. Raises DeviError, before training begins, for what cannot be kept."""
    if not isinstance(given, Mapping):
        raise wrong_kind("state", given, "names for what to keep: state={'optimizer': optimizer}.")
    for name, thing in given.items():
        if type(name) is not str:  # it would come back from the slot as text, and not be found
            raise wrong_kind("a name in `state`", name, f"text: state={{'{shown(name)}': ...}}.")
        get_state(name, thing)
    return dict(given)


def get_state(name: str, thing: Any) -> Any:
    """The state of one of the user's objects."""
    if isinstance(thing, type):
        raise wrong_kind(f"state['{name}']", thing, f"an object of it, as in {thing.__name__}(...).")
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    if isinstance(thing, np.random.Generator):
        return thing.bit_generator.state
    if isinstance(thing, random.Random) and not isinstance(thing, random.SystemRandom):  # which has no state
        return thing.getstate()
    if callable(getattr(thing, "state_dict", None)) and callable(getattr(thing, "load_state_dict", None)):
        return thing.state_dict()
    raise DeviError(
        f"state['{name}'] is a {type(thing).__name__}, whose state cannot be kept: expected an object with state_dict()"
        " and load_state_dict(), a torch.Generator, a numpy Generator or a random.Random."
    )


def set_state(thing: Any, state: Any) -> None:
    if isinstance(thing, torch.Generator):
        thing.set_state(state)
    elif isinstance(thing, np.random.Generator):
        thing.bit_generator.state = state
    elif isinstance(thing, random.Random):
        thing.setstate(state)
    else:
        thing.load_state_dict(state)


def random_states() -> dict[str, Any]:
    """Every global random number generator: torch, CUDA and MPS where they are in use, numpy, Python."""
    uses_cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if uses_cuda else [],
        "mps": [torch.mps.get_rng_state()] if torch.backends.mps.is_available() else [],
        "numpy": np.random.get_state(),  # noqa: NPY002 - the global state is what a user's loop may draw from
        "python": random.getstate(),
    }


def set_random_states(states: Mapping[str, Any]) -> str | None:
    """Put the global generators back; returns what could not be, in words."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])
    words = []
    devices = torch.cuda.device_count(), int(torch.backends.mps.is_available())
    for kind, backend, here in zip(("cuda", "mps"), (torch.cuda, torch.mps), devices, strict=True):
        saved = states.get(kind, [])
        for number, state in enumerate(saved[:here]):
            backend.set_rng_state(state, f"{kind}:{number}")
        if here < len(saved):
            words.append(f"the random state of {len(saved)} {kind} devices was kept, {here} are here")
    return f"{' and '.join(words)}: random numbers there differ" if words else None


@contextmanager
def seeded(number: int) -> Iterator[None]:
    """The global generators of the processor seeded; afterwards all are as they were."""
    states = random_states()
    try:
        torch.default_generator.manual_seed(number)
        np.random.seed(number % 2**32)  # noqa: NPY002 - a user's task or metric may draw from the global state
        random.seed(number)
        yield
    finally:
        set_random_states(states)
