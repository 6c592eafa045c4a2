"""Tensors: what a file cannot hold is refused by its name."""

import pytest
import torch
from torch import nn

from devi import DeviError, Recorder


def quiet(text):
    pass


class Masked(torch.Tensor):
    """A tensor that keeps its values to itself, as torch's distributed and masked ones do."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError(".numpy() is not supported for tensor subclasses.")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # torch's, of its own tensors
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: torch.zeros(3).as_subclass(Masked), "'1.scale' is a Masked, which has no plain values to store"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "'1.scale' is a nested tensor"),
        (lambda: torch.eye(3).to_sparse(), "'1.scale' is a sparse tensor"),
        (lambda: torch.zeros([1] * 33), "'1.scale' has 33 axes; a file holds at most 32"),
    ],
)
def test_a_tensor_without_values_that_a_file_can_hold_is_refused_by_its_name(tmp_path, make, text):
    model = nn.Sequential(nn.Identity(), nn.Module())
    model[1].register_buffer("scale", make())
    with Recorder(tmp_path / "run", notice=quiet) as record, pytest.raises(DeviError, match=text):
        record(0, model)
    assert not list((tmp_path / "run").glob("segment*"))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: torch.zeros(3).as_subclass(Masked), "'scale' is a Masked"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "'scale' is a nested tensor"),
        (lambda: torch.ones(3).to_sparse(), "'scale' is a sparse tensor"),
    ],
)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_tensor_that_has_no_plain_values_any_more_is_refused_by_its_name(tmp_path, make, text, steps):
    model = nn.Linear(1, 1)
    model.register_buffer("scale", torch.ones(3))
    with Recorder(tmp_path / "run", notice=quiet) as record:
        for step in range(steps):
            record(step, model)
        model.scale = make()
        with pytest.raises(DeviError, match=text):
            record(steps, model)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["w\ud800"], r"a parameter or buffer is called 'w\\ud800', which no file can hold. Rename it"),
        (["w\0a", "w\0b"], r"'w\\x00b' cannot be told from 'w\\x00a' in a file: HDF5 ends a name"),
        (["w\0a", "w"], r"'w' cannot be told from 'w\\x00a' in a file"),
        (["step\0"], r"'step\\x00' cannot be told from 'step' in a file"),
        (["loss\0"], r"'loss\\x00' cannot be told from 'loss' in a file"),
        (["\0"], r"'\\x00' cannot be told from '' in a file"),
    ],
)
def test_names_that_a_file_cannot_tell_apart_or_hold_are_refused(tmp_path, names, text):
    model = nn.Module()
    for name in names:
        model.register_buffer(name, torch.ones(2))
    with Recorder(tmp_path / "run", notice=quiet) as record, pytest.raises(DeviError, match=text):
        record(0, model, loss=0.5)
