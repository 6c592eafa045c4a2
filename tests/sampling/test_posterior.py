from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from devi.errors import DeviError
from devi.known.memory_run import MemoryRun
from devi.known.monomials import Monomials
from devi.known.regression import Regression
from devi.sampling.posterior import Posterior
from devi.sampling.record import sums
from devi.task import Batch, Task
from devi.tasks.modular_addition import ModularAddition
from devi.tasks.superposition import Superposition


def models_of(task: Task, count: int) -> list[nn.Module]:
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        models.append(task.model())
    return models


@pytest.mark.parametrize(
    "task", [Superposition(init_scale=0.5), ModularAddition(p=7, embed=4, width=8)], ids=["superposition", "modular"]
)
def test_one_backward_pass_gives_the_gradient_of_every_replica(task):
    models = models_of(task, 3)
    posterior = Posterior(MemoryRun.of(task, models), dtype=torch.float64)
    rows = torch.tensor([2, 0, 1, 2])
    loss, gradient = posterior.loss_and_gradient(posterior.centers[rows], posterior.fixed_at(rows), posterior.data)
    for place, row in enumerate(rows.tolist()):
        model = models[row].double()
        expected = task.loss(model(posterior.data.inputs), posterior.data.targets).mean()
        expected_gradient = torch.cat([g.flatten() for g in torch.autograd.grad(expected, list(model.parameters()))])
        torch.testing.assert_close(loss[place], expected)
        torch.testing.assert_close(gradient[place], expected_gradient)


def test_the_base_loss_is_computed_in_float64_whatever_the_sampler_uses():
    run = Regression(3).run()
    data = run.task.data("train")
    weight = torch.tensor(run.parameters()["weight"][0]).double()
    expected = 0.5 * (data.inputs.double() @ weight.T - data.targets.double()[:, None]).square().mean()
    assert Posterior(run, dtype=torch.float32).base_loss[0] == pytest.approx(float(expected), rel=1e-14)


class Frozen(nn.Module):
    """y = (w + frozen + buffer)·x, of which only w is sampled."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.register_buffer("offset", torch.zeros(1))

    def forward(self, inputs):
        return inputs * (self.w + self.frozen + self.offset)


class Branching(Frozen):
    """The same, with a branch on a value, which vmap cannot batch."""

    def forward(self, inputs):
        return super().forward(inputs) if float(self.w.detach()) > -1e9 else inputs


@dataclass(frozen=True)
class FrozenTask(Task):
    branching: bool = False

    def model(self):
        return Branching() if self.branching else Frozen()

    def data(self, split):
        return Batch(torch.ones(4, 1), torch.zeros(4)) if split == "train" else None

    def loss(self, outputs, targets):
        return (outputs[:, 0] - targets).square()


def frozen_run(task):
    parameters = {"w": np.float32([[1], [2]]), "frozen": np.float32([[10], [20]])}
    return MemoryRun(task, parameters, buffers={"offset": np.float32([[100], [200]])})


def test_only_parameters_that_require_gradients_are_sampled_and_each_checkpoint_keeps_its_own_others():
    posterior = Posterior(frozen_run(FrozenTask()))
    assert posterior.names == ["w"]
    assert posterior.base_loss.tolist() == [111.0**2, 222.0**2]


def test_read_only_arrays_of_a_run_are_taken_without_a_warning_and_left_alone():
    run = Regression(3).run()
    array = run.parameters()["weight"]
    array.setflags(write=False)
    before = array.copy()
    run._parameters["weight"] = array
    Posterior(run).centers.zero_()
    assert (array == before).all()


def test_a_model_that_vmap_cannot_batch_runs_one_replica_at_a_time_with_a_notice():
    with pytest.warns(UserWarning, match="Branching cannot be batched over replicas .* one after another"):
        slow = Posterior(frozen_run(FrozenTask(branching=True)))
    fast = Posterior(frozen_run(FrozenTask()))
    rows = torch.tensor([0, 1, 1])
    assert slow.replicas_at_once(4) == 1
    for ours, theirs in zip(
        slow.loss_and_gradient(slow.centers[rows], slow.fixed_at(rows), slow.data),
        fast.loss_and_gradient(fast.centers[rows], fast.fixed_at(rows), fast.data),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


class Rotating(nn.Module):
    """A complex factor, frozen or sampled; a table of turns that is in no checkpoint; a parameter without numbers."""

    def __init__(self, sampled: bool) -> None:
        super().__init__()
        self.w, self.nothing = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(0, 4))
        self.factor = nn.Parameter(torch.tensor([3 + 4j]), requires_grad=sampled)
        self.register_buffer("turns", torch.tensor([0, 1j]), persistent=False)

    def forward(self, inputs):
        return inputs * (self.w + self.factor * self.turns)


@dataclass(frozen=True)
class RotatingTask(FrozenTask):
    sampled: bool = False

    def model(self):
        return Rotating(self.sampled)

    def loss(self, outputs, targets):
        return outputs.abs().square().sum(1)


def test_complex_numbers_that_are_not_sampled_keep_their_imaginary_part():
    # |1|² + |1 + (3 + 4i)·i|² = 1 + |−3 + 3i|²
    task = RotatingTask()
    posterior = Posterior(MemoryRun.of(task, [task.model()]))
    assert posterior.base_loss.tolist() == pytest.approx([19.0])
    loss, gradient = posterior.loss_and_gradient(posterior.centers, posterior.fixed_at(torch.arange(1)), posterior.data)
    assert loss.tolist() == pytest.approx([19.0])
    assert gradient[0].tolist() == pytest.approx([2.0, -6.0])


def test_a_parameter_without_numbers_takes_no_room():
    posterior = Posterior(MemoryRun.of(RotatingTask(), [RotatingTask().model()] * 3))
    assert posterior.batched
    assert posterior.dimension == 2
    assert posterior.centers.shape == (3, 2)
    assert posterior.names == ["w", "nothing"]
    assert sums(torch.tensor([[1.0, 2.0]]), posterior.sizes).tolist() == [[3.0, 0.0]]
    with pytest.raises(DeviError, match="nothing: no numbers in them, so there is nothing to sample"):
        Posterior(MemoryRun.of(RotatingTask(), [RotatingTask().model()]), restriction="nothing")


def test_a_complex_parameter_cannot_be_sampled_and_is_named():
    task = RotatingTask(sampled=True)
    run = MemoryRun.of(task, [task.model()])
    with pytest.raises(
        DeviError, match=r"parameter 'factor' is complex64, and only real .* returns names without 'llc'"
    ):
        Posterior(run)
    assert Posterior(run, restriction="w").base_loss.tolist() == pytest.approx([19.0])


def test_the_replicas_at_once_follow_the_memory_allowed():
    posterior = Posterior(Monomials((2,) * 4).run())
    few, many = (posterior.replicas_at_once(1000, memory_bytes) for memory_bytes in (10**6, 10**7))
    assert 1 <= few < many
    assert posterior.replicas_at_once(1000, 1) == 1


@dataclass(frozen=True)
class Untrained(Monomials):
    def data(self, split):
        return None


@dataclass(frozen=True)
class MeanLoss(Monomials):
    def loss(self, outputs, targets):
        return super().loss(outputs, targets).mean()


def test_a_task_without_training_examples_is_told_what_to_return():
    with pytest.raises(DeviError, match=r"task Untrained: data\('train'\) has no examples.*return a Batch"):
        Posterior(Untrained().run())


def test_a_loss_that_is_not_one_value_per_example_is_told_so():
    with pytest.raises(DeviError, match=r"task MeanLoss: loss\(outputs, targets\) has shape \(\).*reduction='none'"):
        Posterior(MeanLoss().run())
