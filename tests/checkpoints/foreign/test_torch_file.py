"""Files of torch.save: where the state and the step are in them, and what half a file says."""

import argparse

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from devi import DeviError
from devi.checkpoints.foreign.torch_file import read_torch

STATE = {"0.weight": torch.arange(6.0).reshape(2, 3), "0.bias": torch.ones(2)}


@pytest.fixture
def saved(tmp_path):
    def save(content, **options):
        torch.save(content, tmp_path / "x.pt", **options)
        return tmp_path / "x.pt"

    return save


def equal(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_state_dict_is_read_as_it_is(saved):
    assert equal(read_torch(saved(STATE)).tensors, STATE)
    assert read_torch(saved(STATE)).step is None


@pytest.mark.parametrize("name", ["model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("step_name", ["step", "global_step"])
def test_a_nested_state_is_found_with_its_step(saved, name, step_name):
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2, 3)}}, "param_groups": [{"lr": 0.1}]}
    content = read_torch(saved({name: STATE, "optimizer": optimizer, "model_ema": None, step_name: 12}))
    assert equal(content.tensors, STATE)
    assert content.step == 12


def test_states_nested_otherwise_get_the_names_of_their_path(saved):
    content = read_torch(saved({"params": {"encoder": {"0.weight": STATE["0.weight"]}}, "step": torch.tensor(7)}))
    assert equal(content.tensors, {"params.encoder.0.weight": STATE["0.weight"], "step": torch.tensor(7)})
    assert content.step == 7


def test_one_state_under_two_names_is_found_under_both(saved):
    content = read_torch(saved({"net": STATE, "best": STATE, "epoch": 3}))
    assert equal(content.tensors, {f"{name}.{key}": STATE[key] for name in ("net", "best") for key in STATE})


DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.uint8]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.uint16, torch.uint32, torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_dtype_stays_what_it_is(saved, dtype):
    tensor = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    found = read_torch(saved({"x": tensor})).tensors["x"]
    assert found.dtype == dtype
    assert found.view(torch.uint8).tolist() == tensor.view(torch.uint8).tolist()


def test_views_transposed_and_parameters_are_read_right(saved):
    whole = torch.arange(12.0).reshape(3, 4)
    found = read_torch(saved({"t": whole.T, "part": whole[1:, ::2], "p": torch.nn.Parameter(whole)})).tensors
    assert equal(found, {"t": whole.T, "part": whole[1:, ::2], "p": whole})


def test_wrong_steps_in_a_file_are_no_steps(saved):
    for step in (-1, 2**63, 1.5, "3", True, torch.tensor([3])):
        assert read_torch(saved({"model": STATE, "step": step})).step is None


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_a_damaged_file_gives_tensors_or_a_clear_error(tmp_path_factory, place, junk):
    path = tmp_path_factory.mktemp("damaged") / "x.pt"
    torch.save(STATE, path)
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place : place + len(junk)] = junk
    path.write_bytes(content)
    try:
        told = str(path) if read_torch(path).tensors else ""
    except DeviError as error:
        told = str(error)
    assert str(path) in told


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_an_error_that_names_it(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "step_7.pt"
    torch.save(STATE, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DeviError, match=r"step_7.pt is no whole checkpoint: .* Was it still being written\?"):
        read_torch(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (STATE["0.weight"], "holds a Tensor; expected a dict of tensors by name"),
        ([1, 2], "holds a list; expected a dict"),
        ({"lr": 0.1, "note": "x"}, "holds no tensors by name; it has the entries lr, note"),
        ({"model": STATE, "state_dict": STATE}, "holds a state under each of state_dict, model"),
        ({"W": torch.zeros(2, 2).to_sparse()}, "sparse, quantized or other special tensors"),
        ({"model": STATE, "args": argparse.Namespace()}, r"holds Python objects \(argparse.Namespace\)"),
    ],
)
def test_what_is_no_state_is_told_with_what_to_write(saved, content, words):
    with pytest.raises(DeviError, match=words) as error:
        read_torch(saved(content))
    assert "torch.save(" in str(error.value)


def test_the_old_format_is_told_how_to_become_new(saved):
    path = saved(STATE, _use_new_zipfile_serialization=False)
    with pytest.raises(DeviError, match="format of torch before 1.6"):
        read_torch(path)
    torch.save(torch.load(path, weights_only=True), path)  # what the message says
    assert equal(read_torch(path).tensors, STATE)


def test_a_file_that_may_not_be_read_says_so(tmp_path):
    with pytest.raises(DeviError, match="cannot be read: No such file"):
        read_torch(tmp_path / "gone.pt")
