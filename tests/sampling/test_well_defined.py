from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from devi.errors import Notice, Unsuitable
from devi.known.memory_run import MemoryRun
from devi.metrics.learning_coefficient import LearningCoefficient
from devi.sampling.posterior import Posterior
from devi.task import Batch, Task

SHORT = {"chains": 2, "draws": 8, "burn_in": 20, "n_beta": 20.0, "localization": 1.0, "step_size": 1e-3}


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, inputs):
        return self.last(torch.tanh(self.first(inputs)))


class OfBytes(Two):
    """Says .float(), as models of images do: in float64 it cannot be computed."""

    def forward(self, inputs):
        return super().forward((255 * inputs).to(torch.uint8).float() / 255)


class FromZeros(Two):
    def forward(self, inputs):
        return torch.zeros(len(inputs), 4) @ self.last.weight.T + super().forward(inputs)


class RefusesFloat64(Two):
    def forward(self, inputs):
        if inputs.dtype == torch.float64:
            raise ValueError  # without a message
        return super().forward(inputs)


class ByAPlainTensor(Two):
    def __init__(self):
        super().__init__()
        self.turned = torch.eye(3).flip(0)

    def forward(self, inputs):
        return super().forward(inputs @ self.turned)


class AlwaysDropping(Two):
    def forward(self, inputs):
        return self.last(nn.functional.dropout(self.first(inputs), 0.5))


class OfItsBatch(Two):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, inputs):
        return self.last(self.norm(self.first(inputs)))


class InAList(Two):
    def __init__(self):
        super().__init__()
        self.weights = [self.first.weight, self.last.weight]

    def forward(self, inputs):
        first, last = self.weights
        return torch.tanh(inputs @ first.T) @ last.T + self.last.bias


class Remembering(Two):
    """Multiplies its weights once for all, when it is first used."""

    def __init__(self):
        super().__init__()
        self.product = None

    def forward(self, inputs):
        if self.product is None:
            self.product = (self.last.weight @ self.first.weight).T
        return inputs @ self.product + self.last.bias


class ChangingItself(Two):
    def forward(self, inputs):
        with torch.no_grad():
            self.last.weight.div_(self.last.weight.norm())
        return super().forward(inputs)


class LeavingItsWeight(Two):
    """As the hook of torch.nn.utils.weight_norm does."""

    def forward(self, inputs):
        self.weight = 2 * self.last.weight
        return torch.tanh(self.first(inputs)) @ self.weight.T


class WithoutAPlace(Two):
    """As modules of torch.jit are: they take no other parameters than their own."""

    def forward(self, inputs):
        if type(self.first.weight) is not nn.Parameter:
            raise RuntimeError("no other parameters")
        return super().forward(inputs)


class InDouble(ByAPlainTensor):
    def __init__(self):
        super().__init__()
        self.double()
        self.turned = self.turned.double()


@dataclass(frozen=True)
class OwnModel(Task):
    kind: type = Two
    weighted: bool = False

    def model(self):
        return self.kind()

    def data(self, split):
        if split == "test":
            return None
        inputs = torch.rand(24, 3, generator=torch.Generator().manual_seed(0))
        return Batch(inputs.double() if self.kind is InDouble else inputs, (inputs[:, 0] > inputs[:, 1]).long())

    def loss(self, outputs, targets):
        weight = torch.tensor([1.0, 2.0]) if self.weighted else None
        return nn.functional.cross_entropy(outputs, targets, weight=weight, reduction="none")


def run_of(kind=Two, *, checkpoints=1, weighted=False):
    models = []
    for seed in range(checkpoints):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            models.append(kind())
    return MemoryRun.of(OwnModel(kind, weighted), models)


@pytest.mark.parametrize("kind", [OfBytes, FromZeros, ByAPlainTensor, RefusesFloat64])
def test_a_model_that_cannot_be_computed_in_float64_is_sampled_with_its_losses_in_float32(kind):
    run = run_of(kind, checkpoints=2)
    with pytest.warns(Notice, match=f"{kind.__name__} cannot be computed in float64 .* losses at the checkpoints are"):
        posterior = Posterior(run)
    data = run.task.data("train")
    for row in range(2):
        with torch.no_grad():
            expected = run.task.loss(run.model_at(row)(data.inputs), data.targets).mean()
        assert float(posterior.base_loss[row]) == pytest.approx(float(expected), rel=1e-6)
    with pytest.warns(Notice):
        found = LearningCoefficient(**SHORT).over(run)
    assert np.isfinite(found["llc"]).all()
    assert np.isfinite(found["llc_headroom"]).all()


@pytest.mark.parametrize(
    ("run", "dtype", "other"),
    [
        (run_of(FromZeros), torch.float64, "float32"),
        (run_of(weighted=True), torch.float64, "float32"),
        (run_of(InDouble), torch.float32, "float64"),
    ],
    ids=["zeros", "weights of the loss", "double"],
)
def test_what_fails_in_the_precision_of_sampling_is_told_with_what_to_change(run, dtype, other):
    precision = str(dtype).removeprefix("torch.")
    expected = (
        rf"task OwnModel: in {precision}, .* fails with RuntimeError: .*register_buffer.*Or try --dtype {other}\."
    )
    with pytest.raises(Unsuitable, match=expected):
        Posterior(run, dtype=dtype)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (AlwaysDropping, r"gives other numbers each time, in eval mode too.* training=self\.training"),
        (OfItsBatch, "the loss of an example depends on the other examples of the batch.* track_running_stats=True"),
        (WithoutAPlace, r"does not compute with the parameters .* Give the module itself\. \(RuntimeError: no other"),
        (Remembering, "does not compute with the parameters .* or keep what it computed from them"),
        (ChangingItself, r"does not compute with the parameters .* and change none there.*\(RuntimeError: .* inplace"),
        (InAList, "does not compute with the parameters that are put in the place of its own.*as in a list"),
    ],
)
@pytest.mark.parametrize("checkpoints", [1, 2])
def test_losses_that_are_no_function_of_parameters_and_example_are_refused(kind, message, checkpoints):
    with pytest.raises(Unsuitable, match=f"task OwnModel: .*{message}"):
        Posterior(run_of(kind, checkpoints=checkpoints))


def test_a_model_that_leaves_tensors_of_vmap_behind_is_sampled_by_several_threads():
    run = run_of(LeavingItsWeight, checkpoints=2)
    posterior = Posterior(run)
    twin = posterior.for_thread()
    rows = torch.arange(2)
    own, other = (each.losses(each.centers, each.fixed_at(rows), each.data) for each in (posterior, twin))
    assert torch.equal(own, other)
    assert twin.model.first.weight is not posterior.model.first.weight
