import pytest
import torch

from devi.errors import DeviError
from devi.known.regression import Regression
from devi.sampling.data_sets import data_set, described
from devi.sampling.posterior import Posterior
from devi.tasks.superposition import Superposition

OWN = """
import torch
from devi import Batch

def far():
    return Batch(torch.ones(7, 3), torch.full((7,), 2.0))

def several():
    return [1, 2, 3]

def uneven():
    return Batch(torch.ones(7, 3), torch.ones(6))
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return str(path)


def test_a_split_of_the_task_is_its_own_data():
    task = Superposition()
    for split in ("train", "test"):
        assert torch.equal(data_set(task, split).inputs, task.data(split).inputs)


def test_the_users_own_data_are_what_their_function_returns_and_give_n(own):
    posterior = Posterior(Regression(3).run(), sample_on=f"{own}:far")
    assert posterior.examples == 7
    weight = torch.from_numpy(posterior.centers.numpy()).double()
    assert posterior.base_loss[0] == pytest.approx(0.5 * (float(weight.sum()) - 2) ** 2, rel=1e-6)
    assert described(f"{own}:far", 7) == f"7 examples of {own}:far"
    assert described("train", 1000) == "1000 training examples"


def test_a_data_set_that_is_none_says_what_was_expected(own):
    task = Regression(3)
    for name, message in {
        "tset": r"no split is called 'tset'. Did you mean 'test'\? Known: test, train. A data set of your own: file.py",
        "test": r"task Regression: data\('test'\) has no examples",
        f"{own}:farr": "no function in .* is called 'farr'. Did you mean 'far'",
        f"{own}:several": r"several\(\) returned a list; expected a devi.Batch",
        f"{own}:uneven": r"uneven\(\) returned 7 inputs and 6 targets",
        "nowhere.py:far": "nowhere.py: there is no such file",
    }.items():
        with pytest.raises(DeviError, match=message):
            data_set(task, name)
