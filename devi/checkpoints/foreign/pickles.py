"""Pickles: what a pickle would do when it is loaded, read from its instructions without carrying out any."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator

import torch

MOST_OPERATIONS = 200_000  # a thousand tensors with Adam's state take 110,000
MOST_NESTED = 100  # hashing tuples nested a million deep overruns the C stack

# What state dicts are made of. torch's own list for weights_only is longer, and has names in it (bytearray) that can be
# made to fill all memory.
_PLAIN = frozenset(
    [
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor_v3",  # uint16, float8 and other dtypes without a storage class of their own
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_parameter_with_state",
        "torch._tensor _rebuild_from_type_v2",
        "torch.nn.parameter Parameter",
        "torch Tensor",
        "torch Size",
        "torch device",
        "torch.serialization _get_layout",
        "_codecs encode",
        "__builtin__ set",
        "builtins set",
        "__builtin__ complex",
        "builtins complex",
        "torch.storage UntypedStorage",
        *(f"torch {name}" for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)),
        *(f"{kind.__module__} {kind.__name__}" for kind in torch._storage_classes),
    ]
)
# Ways to name a class or function other than GLOBAL; files of protocol 2, which torch writes, have none of them.
_OTHER_GLOBALS = frozenset(["STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"])


class Unreadable(ValueError):
    """Why these bytes are no pickle that can be looked through."""


def objects_named_in(data: bytes) -> list[str]:
    """The classes and functions, beyond plain tensors and containers, that loading would call: 'argparse.Namespace'.

    Raises Unreadable for bytes that are no pickle, that nest too deeply, or that hold too much.
    """
    named = set()
    depths = _TupleDepths()
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(data)):
            if count > MOST_OPERATIONS:
                raise Unreadable(f"its description has more than {MOST_OPERATIONS:,} parts")
            if operation.name == "GLOBAL":
                named.add(str(argument))
            elif operation.name in _OTHER_GLOBALS:
                raise Unreadable(f"it uses {operation.name}, which files that torch.save writes by default do not")
            if depths.after(operation, argument) > MOST_NESTED:
                raise Unreadable(f"its tuples are nested more than {MOST_NESTED} deep")
    except (ValueError, IndexError, KeyError, UnicodeError, OverflowError) as error:
        raise error if isinstance(error, Unreadable) else Unreadable(f"it is no pickle: {error}") from None
    return sorted(name.replace(" ", ".") for name in named - _PLAIN)


class _TupleDepths:
    """The unpickler's stack, of which only how deep tuples are nested is kept."""

    def __init__(self) -> None:
        self._stack: list[int | None] = []  # None is a mark
        self._memo: dict[int, int] = {}

    def after(self, operation: pickletools.OpcodeInfo, argument: object) -> int:
        """The depth of what is on top once the operation is done."""
        name = operation.name
        if "GET" in name:
            self._stack.append(self._memo[int(argument)])  # type: ignore[call-overload]
        elif "PUT" in name:
            self._memo[int(argument)] = self._stack[-1] or 0  # type: ignore[call-overload]
        elif name == "MARK":
            self._stack.append(None)
        else:
            taken = max(self._popped(operation), default=0)
            self._stack += [taken + 1 if name.startswith("TUPLE") else 0] * len(operation.stack_after)
        return (self._stack[-1] or 0) if self._stack else 0

    def _popped(self, operation: pickletools.OpcodeInfo) -> Iterator[int]:
        before = operation.stack_before
        if pickletools.markobject in before:
            while (depth := self._stack.pop()) is not None:
                yield depth
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            yield self._stack.pop() or 0
