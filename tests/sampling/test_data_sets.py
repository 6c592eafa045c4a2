import pytest
import torch

from devi.errors import DeviError
from devi.known.regression import Regression
from devi.metrics.learning_coefficient import LearningCoefficient
from devi.sampling.data_sets import data_set, described
from devi.sampling.posterior import Posterior
from devi.tasks.superposition import Superposition

OWN = """
from dataclasses import dataclass
import torch
from devi import Batch

def far():
    return Batch(torch.ones(7, 3), torch.full((7,), 2.0))

def several():
    return [1, 2, 3]

def boom():
    raise ValueError("no such corpus")

def of_task(task):
    return task.data("test")

def nothing():
    return None

def empty():
    return Batch(torch.ones(0, 3), torch.ones(0))

def arrays():
    return Batch(torch.ones(7, 3).numpy(), torch.ones(7).numpy())

def gaps():
    return Batch(torch.ones(7, 3), torch.tensor([1.0, 1.0, float("nan"), 1.0, 1.0, 1.0, float("inf")]))

def wide():
    return Batch(torch.ones(7, 4), torch.ones(7))

def column():
    return Batch(torch.ones(7, 3), torch.ones(7, 1))

def precise():
    return Batch(torch.ones(7, 3, dtype=torch.float64), torch.ones(7, dtype=torch.float64))

def drawn():
    return Batch(torch.randn(7, 3), torch.randn(7))

def uneven():
    return Batch(torch.ones(7, 3), torch.ones(6))

@dataclass
class Corpus:
    examples: int

    def __call__(self):
        return Batch(torch.ones(self.examples, 3), torch.ones(self.examples))

corpus = Corpus(7)
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
        "test": r"task Regression: data\('test'\) has no examples\. Leave out what asks for them, --observe test or",
        f"{own}:farr": "no function in .* is called 'farr'. Did you mean 'far'",
        f"{own}:several": r"several\(\) returned a list; expected Batch\(inputs, targets\)",
        f"{own}:uneven": r"uneven\(\) returned \(Tensor \(7, 3\), Tensor \(6,\)\); expected Batch",
        f"{own}:boom": r"function boom: boom\(\) failed with ValueError: no such corpus \(own.py, line 13\)",
        f"{own}:of_task": r"called without arguments and takes \(task\); expected a function without arguments that",
        f"{own}:nothing": r"nothing\(\) returned None; expected a function without arguments .* at least one example",
        f"{own}:empty": r"empty\(\) returned no examples; expected",
        f"{own}:arrays": r"arrays\(\) returned \(ndarray \(7, 3\), ndarray \(7,\)\).* torch.from_numpy",
        f"{own}:gaps": r"2 of 7 examples have targets that are not finite, the first is number 2",
        f"{own}:column": r"targets \(7, 1\) float32; expected the shapes of data\('train'\): .*, targets \(\d+,\)",
        "nowhere.py:far": "nowhere.py: there is no such file",
    }.items():
        with pytest.raises(DeviError, match=message):
            data_set(task, name)


def test_a_function_that_draws_other_examples_each_time_is_told_to_seed_them(own):
    task = Regression(3)
    assert len(data_set(task, f"{own}:drawn").targets) == 7
    with pytest.raises(DeviError, match=r"drawn\(\) returned other examples .* torch.Generator\(\).manual_seed\(0\)"):
        data_set(task, f"{own}:drawn")


def test_what_returns_examples_may_be_a_dataclass_which_has_no_hash(own):
    task = Regression(3)
    for _ in range(2):
        assert len(data_set(task, f"{own}:corpus").targets) == 7


def test_examples_that_the_model_cannot_take_are_refused_before_anything_is_sampled(own):
    run = Regression(3).run()
    message = r"wide: inputs \(7, 4\) float32, .* do not go through .*RuntimeError: .* Those of data\('train'\) are"
    with pytest.raises(DeviError, match=message):
        Posterior(run, sample_on=f"{own}:wide")
    with pytest.raises(DeviError, match=message):
        LearningCoefficient(observe=f"{own}:wide").resolved(run)
    with pytest.raises(DeviError, match=message):
        Posterior(run).data_set(f"{own}:wide")
    assert Posterior(run, sample_on=f"{own}:precise").data.inputs.dtype == torch.float32  # taken as the sampler counts
