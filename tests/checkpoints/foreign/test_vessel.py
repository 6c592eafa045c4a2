"""Vessel: one network from the first file to the last, whatever the names begin with."""

import re
import shlex

import pytest
import torch

from devi import DeviError, open_run
from devi.checkpoints.foreign.convert import convert
from tests.checkpoints.foreign.saved import Net, assert_is, state


@pytest.fixture
def saved(tmp_path):
    """A folder of files step_1.pt and so on, of which each argument gives the prefixes in one."""

    def save(*files):
        (tmp_path / "files").mkdir()
        for step, prefixes in enumerate(files, 1):
            tensors = [state(step + 1000 * place, prefix=prefix) for place, prefix in enumerate(prefixes)]
            torch.save(dict(item for one in tensors for item in one.items()), tmp_path / "files" / f"step_{step}.pt")
        return tmp_path / "files"

    return save


def steps_of_the_first_prefix(path):
    run = open_run(path, Net)
    for step in run.steps.tolist():
        assert_is(run, step, state(step))
    return run.steps.tolist()


def test_a_network_that_is_wrapped_from_some_step_on_stays_the_same_one(saved, tmp_path):
    told = []
    files = saved([""], ["module."], ["model._orig_mod."], [""], ["module."])
    convert(files, tmp_path / "run", Net(), notice=told.append)
    assert steps_of_the_first_prefix(tmp_path / "run") == [1, 2, 3, 4, 5]
    assert told == [
        f"{files}/step_{step}.pt: '{prefix}' stands before every name in the files and is taken off."
        for step, prefix in ((2, "module."), (3, "model._orig_mod."))
    ]


@pytest.mark.parametrize("files", [(["ema."], ["ema.", "net."]), (["net."], ["net.", "model."])])
def test_the_network_of_the_first_file_is_taken_from_all(saved, tmp_path, files):
    convert(saved(*files), tmp_path / "run", Net())
    assert steps_of_the_first_prefix(tmp_path / "run") == [1, 2]


def test_another_network_of_the_same_shapes_is_refused_and_a_rename_says_that_it_is_the_same(saved, tmp_path):
    files = saved(["model."], ["discriminator."], ["model."])
    one, other = (re.escape(str(files / f"step_{step}.pt")) for step in (2, 1))
    under = rf"^{one} has the parameters under 'discriminator\.', and {other} under 'model\.': "
    with pytest.raises(DeviError, match=rf"{under}.* same: --rename discriminator.=model\.$") as error:
        convert(files, tmp_path / "run", Net())
    assert steps_of_the_first_prefix(tmp_path / "run") == [1]
    rename = shlex.split(str(error.value).partition("--rename ")[2])
    done = convert(files, tmp_path / "run", Net(), renames=rename)
    assert done.already == 1
    assert steps_of_the_first_prefix(tmp_path / "run") == [1, 2, 3]


@pytest.mark.parametrize(("one", "other"), [("", "actor."), ("actor.", "")])
def test_names_without_a_prefix_are_a_network_too(saved, tmp_path, one, other):
    with pytest.raises(DeviError, match=r"under their own names.* if they are the same, save all with the same names"):
        convert(saved([one], [other]), tmp_path / "run", Net())


def test_a_conversion_that_is_taken_up_is_still_of_the_first_files_network(saved, tmp_path):
    files = saved(["ema."], ["ema.", "model."], ["ema.", "model."])
    (files / "step_3.pt").rename(tmp_path / "step_3.pt")
    convert(files, tmp_path / "run", Net())
    (tmp_path / "step_3.pt").rename(files / "step_3.pt")
    assert convert(files, tmp_path / "run", Net(), is_unchanged=True).already == 2
    assert steps_of_the_first_prefix(tmp_path / "run") == [1, 2, 3]


def test_two_networks_of_which_neither_is_usual_are_told_with_the_file(saved, tmp_path):
    with pytest.raises(DeviError, match=r"files/step_1.pt has every parameter under each of a\., b\..* --rename a.="):
        convert(saved(["a.", "b."]), tmp_path / "run", Net())
    with pytest.raises(DeviError, match=r"files/step_1.pt: --rename x.= fits no name in it. Did you mean 'b\."):
        convert(tmp_path / "files", tmp_path / "run", Net(), renames=["x.="])
