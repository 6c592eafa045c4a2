"""The line that the error about Python objects says to type makes files that are read."""

import argparse
import re
import shlex
import subprocess
import sys

import pytest
import torch

from devi import DeviError
from devi.checkpoints.foreign.torch_file import read_torch

STATE = {"net.0.weight": torch.arange(6.0).reshape(2, 3)}


def carried_out(error):
    """Run the command of the message with this Python; warnings of torch's about old files are no matter here."""
    line = re.search(r"python -c .*", str(error.value), re.DOTALL).group()
    _, *arguments = shlex.split(line)
    subprocess.run([sys.executable, "-W", "ignore", *arguments], check=True, timeout=60)


@pytest.mark.slow
def test_lightning_checkpoints_with_a_namespace_become_plain(tmp_path):
    folder = tmp_path / "it's here"
    folder.mkdir()
    content = {"state_dict": STATE, "global_step": 7, "hyper_parameters": argparse.Namespace(lr=0.1)}
    torch.save(content, folder / "epoch=1.ckpt")
    with pytest.raises(DeviError, match=r"argparse.Namespace") as error:
        read_torch(folder / "epoch=1.ckpt")
    carried_out(error)
    plain = read_torch(tmp_path / "it's here-plain" / "epoch=1.pt")
    assert plain.step == 7
    assert torch.equal(plain.tensors["net.0.weight"], STATE["net.0.weight"])


@pytest.mark.slow
def test_whole_models_become_their_state_dicts(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    torch.save(model, folder / "step_5.pth")
    with pytest.raises(DeviError, match=r"torch.nn.modules") as error:
        read_torch(folder / "step_5.pth")
    carried_out(error)
    assert torch.equal(read_torch(tmp_path / "models-plain" / "step_5.pt").tensors["0.weight"], model[0].weight)


@pytest.mark.slow
def test_a_folder_of_state_dicts_and_one_whole_model_becomes_plain(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    torch.save(model.state_dict(), folder / "step_1.pt")
    torch.save({"model": model, "step": 5}, folder / "step_5.pt")
    torch.save(model, folder / "step_9.pt")
    with pytest.raises(DeviError, match=r"torch.nn.modules") as error:
        read_torch(folder / "step_9.pt")
    carried_out(error)
    for step in (1, 5, 9):
        plain = read_torch(tmp_path / "mixed-plain" / f"step_{step}.pt")
        assert torch.equal(plain.tensors["0.weight"], model[0].weight)


def test_a_file_that_would_run_a_program_is_not_told_how_to_be_loaded(tmp_path):
    class Command:
        def __reduce__(self):
            return exec, ("pass",)

    torch.save({"W": Command()}, tmp_path / "x.pt")
    with pytest.raises(DeviError, match="would run .*exec when it is loaded") as error:
        read_torch(tmp_path / "x.pt")
    assert "weights_only" not in str(error.value)
