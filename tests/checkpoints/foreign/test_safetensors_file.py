""".safetensors files: every dtype, the step in their metadata, and what damaged ones say."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from devi import DeviError
from devi.checkpoints.foreign.safetensors_file import read_safetensors

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16), "n": torch.tensor(3)}


def test_tensors_come_as_they_were_saved(tmp_path):
    save_file(STATE, tmp_path / "x.safetensors")
    found = read_safetensors(tmp_path / "x.safetensors")
    assert found.step is None
    assert found.tensors.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


@pytest.mark.parametrize(("metadata", "step"), [({"step": "12"}, 12), ({"global_step": "0"}, 0), ({"step": "-1"}, None),
                                                ({"step": "9" * 30}, None), ({"step": "²"}, None)])  # fmt: skip
def test_the_step_may_stand_in_the_metadata(tmp_path, metadata, step):
    save_file(STATE, tmp_path / "x.safetensors", metadata)
    assert read_safetensors(tmp_path / "x.safetensors").step == step


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_error_that_names_the_file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "step_1.safetensors"
    path.write_bytes(content)
    with pytest.raises(DeviError, match=r"step_1.safetensors is no whole .safetensors file: .*still being written"):
        read_safetensors(path)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_an_error(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "step_1.safetensors"
    save_file(STATE, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DeviError, match="no whole .safetensors file"):
        read_safetensors(path)


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DeviError, match=r"x.safetensors: may not be read: Permission denied"):
        read_safetensors(tmp_path / "x.safetensors")
