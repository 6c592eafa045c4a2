"""Any state that torch can hold comes back bit for bit: from the records, and from a resume slot."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from devi import Recorder, open_run
from devi.checkpoints import rebuild
from devi.checkpoints.state import LONG, decode, encode

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128)
EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16, torch.uint64)
DTYPES = (*FLOATS, torch.complex32, *EIGHT_BITS, *WHOLE)

shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
names = st.text("abW_0é漢 ", min_size=1, max_size=5).filter(lambda name: not hasattr(nn.Module, name))
tensors = st.tuples(st.sampled_from(DTYPES), shapes, st.integers(0, 2**32 - 1))
kinds = st.sampled_from(["parameter", "buffer", "transient", "tied"])
# What state_dict() of optimizers and schedulers is made of, and more.
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.complex_numbers()
    | st.binary(max_size=5) | tensors.map(lambda about: tensor_of(*about)) | st.sampled_from([torch.bool, torch.int8])
)  # fmt: skip
nested = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def tensor_of(dtype, shape, seed):
    """Random bits: every NaN, infinity and denormal of the dtype."""
    generator = np.random.default_rng(seed)
    if dtype == torch.bool:
        return torch.from_numpy(generator.integers(0, 2, shape).astype(bool))
    size = torch.empty(0, dtype=dtype).element_size()
    data = np.frombuffer(generator.bytes(int(np.prod(shape, dtype=int)) * size), np.uint8).copy()
    return torch.from_numpy(data).view(dtype).reshape(shape) if len(data) else torch.empty(shape, dtype=dtype)


def model_of(parts, *, zeroed=False):
    model, first = nn.Module(), None
    for name, (kind, about) in parts.items():
        tensor = tensor_of(*about)
        if zeroed:
            tensor = torch.zeros_like(tensor)
        if kind == "tied" and first is not None:
            model.register_parameter(name, first)
        elif kind in ("parameter", "tied"):
            parameter = nn.Parameter(tensor, requires_grad=False)
            first = parameter if first is None else first
            model.register_parameter(name, parameter)
        else:
            model.register_buffer(name, tensor, persistent=kind == "buffer")
    return model


def bits(value):
    """A value as something that is equal only if every bit is."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), bytes(value.detach().clone().contiguous().untyped_storage())
    if isinstance(value, dict):
        return [(key, bits(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [bits(item) for item in value]
    if isinstance(value, float):
        return value.hex()  # 'nan' has no further bits in Python's text, and none are promised
    if isinstance(value, complex):
        return value.real.hex(), value.imag.hex()
    return type(value).__name__, value


class Holder:
    """An object with a state."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def test_long_lists_of_numbers_go_to_arrays_and_come_back_as_they_were():
    history = [float(i) / 7 for i in range(LONG)]
    state = {
        "losses": [*history, float("inf"), -0.0],
        "steps": list(range(-2, LONG)),
        "pair": (tuple(history), [1] * (LONG - 1)),
        "mixed": [*history, 1],
        "large": [2**64] * LONG,
        "claims": [True, False] * LONG,
    }
    arrays = []
    nodes = encode(state, arrays, "state")
    assert len(arrays) == 3
    assert bits(decode(nodes, dict(enumerate(arrays)))) == bits(state)


def test_an_array_is_put_together_once(tmp_path):
    """Else a slot of a few bytes could name one array a thousand times."""
    with pytest.raises(KeyError):
        decode({"list": [{"list": 0}, {"list": 0}]}, {0: np.zeros(3)})
    with pytest.raises(ValueError, match=r"an array of float32 and shape \(3,\) is no list of numbers"):
        decode({"list": 0}, {0: np.zeros(3, np.float32)})


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")  # torch's, of its own dtype
@settings(max_examples=40)
@given(
    parts=st.dictionaries(names, st.tuples(kinds, tensors), max_size=5),
    state=nested,
    step=st.integers(0, 2**63 - 1),
)
def test_any_state_comes_back_bit_for_bit(parts, state, step):
    model = model_of(parts)
    everything = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    expected = bits(everything)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        with Recorder(path, state={"its": Holder(state)}, notice=lambda text: None) as record:
            record(step, model, loss=float("nan"))
            record.keep(step, model)

        run = open_run(path)
        assert (run.steps.tolist(), run.problems) == ([step], [])
        again = model_of(parts, zeroed=True)
        rebuild.load(again, run.layout, run._records.one(0))
        assert bits(again.state_dict()) == bits(model.state_dict())
        assert {**run.parameters(0), **run.buffers(0)}.keys() == {tensor.name for tensor in run.layout.tensors}

        again, holder = model_of(parts, zeroed=True), Holder(None)
        with Recorder(path, state={"its": holder}, resume=True, notice=lambda text: None) as record:
            assert record.restore(again) == step
            record(step, again, loss=float("nan"))  # must equal what is stored, or DeviError
        found = {**dict(again.named_parameters(remove_duplicate=False)), **dict(again.named_buffers())}
        assert bits(found) == expected
        assert bits(holder.state) == bits(state)
