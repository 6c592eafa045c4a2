"""The sampler on what users bring: each architecture, for sgld and hmc, float32 and float64."""

import dataclasses
import math
import re
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from devi.known.memory_run import MemoryRun
from devi.metrics.learning_coefficient import LearningCoefficient
from devi.sampling.chains import sample_posterior
from devi.sampling.posterior import Posterior
from devi.sampling.samplers import kernel_named
from devi.sampling.settings import Settings
from devi.task import Batch, Task

SHORT = {"chains": 2, "draws": 8, "burn_in": 20, "n_beta": 20.0, "localization": 1.0, "batch_size": 0}
SETTINGS = Settings("", step_size=1e-3, most_draws=8, leapfrog_steps=3, **SHORT)
EXAMPLES = 12


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)
        )

    def forward(self, inputs):
        return self.layers(inputs)


class Normalized(nn.Module):
    """LayerNorm and dropout, which is off: a model is sampled as it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 6), nn.LayerNorm(6), nn.Dropout(0.5), nn.GELU(), nn.Linear(6, 3))

    def forward(self, inputs):
        return self.layers(inputs.flatten(1))


class Batched(nn.Module):
    """BatchNorm: buffers with statistics of each checkpoint, and a count that is an integer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, inputs):
        return self.last(torch.relu(self.norm(self.first(inputs.flatten(1)))))


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 6).requires_grad_(False), nn.Linear(6, 3)

    def forward(self, inputs):
        return self.last(torch.relu(self.first(inputs.flatten(1))))


class Branching(nn.Module):
    """Data decide which way it goes: vmap cannot batch it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 6), nn.Linear(6, 3)

    def forward(self, inputs):
        hidden = self.first(inputs.flatten(1))
        return self.last(torch.relu(hidden) if hidden.mean() > -1e9 else hidden)


class Tied(nn.Module):
    """Integer inputs; the unembedding is the embedding's own tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 4)
        self.unembed = nn.Linear(4, 3, bias=False)
        self.unembed.weight = self.embed.weight

    def forward(self, inputs):
        return self.unembed(self.embed(inputs).mean(dim=1))


class Attention(nn.Module):
    """A causal mask as a buffer that is not saved, and nn.MultiheadAttention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.last = nn.Linear(4, 3)
        self.register_buffer("mask", torch.triu(torch.ones(5, 5, dtype=torch.bool), diagonal=1), persistent=False)

    def forward(self, inputs):
        seen = self.embed(inputs)
        moved, _ = self.attention(seen, seen, seen, attn_mask=self.mask, need_weights=False)
        return self.last(moved[:, -1])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.last = nn.Embedding(3, 4), nn.GRUCell(4, 4), nn.Linear(4, 3)

    def forward(self, inputs):
        state = self.embed(inputs[:, 0])
        for position in range(1, inputs.shape[1]):
            state = self.cell(self.embed(inputs[:, position]), state)
        return self.last(state)


class Double(Normalized):
    def __init__(self) -> None:
        super().__init__()
        self.double()


NOTICES = {
    Branching: "Branching cannot be batched over replicas .* one after another, which is slower",
    Recurrent: "Recurrent uses aten::gru_cell.*, which torch.vmap cannot batch: .* one replica after another, which is",
}
MODELS = (Convolution, Normalized, Batched, Frozen, Branching, Tied, Attention, Recurrent, Double)


@dataclass(frozen=True)
class Classification(Task):
    """Three classes of small images, or of token sequences for a model that embeds them."""

    kind: type = Convolution

    def model(self) -> nn.Module:
        return self.kind()

    def data(self, split):
        generator = torch.Generator().manual_seed(0 if split == "train" else 1)
        targets = torch.randint(3, (EXAMPLES,), generator=generator)
        if self.kind in (Tied, Attention, Recurrent):
            return Batch(torch.randint(3, (EXAMPLES, 5), generator=generator), targets)
        dtype = torch.float64 if self.kind is Double else torch.float32
        return Batch(torch.randn(EXAMPLES, 1, 4, 4, generator=generator, dtype=dtype), targets)

    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets, reduction="none")


def trained(kind, checkpoints=2):
    """A run of this model with buffers that differ from those of a new one."""
    models = []
    for seed in range(checkpoints):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = kind()
            data = Classification(kind).data("train")
            with torch.no_grad():
                model.train()(data.inputs)
        models.append(model)
    return MemoryRun.of(Classification(kind), models)


def quietly(kind, call):
    """What `call` returns; the only warnings are the notices of what cannot be batched, where they are due."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    assert len(caught) == (kind in NOTICES)
    assert all(re.match(NOTICES[kind], str(one.message)) for one in caught)
    return found


@pytest.mark.parametrize("kind", MODELS)
def test_the_gradient_of_a_replica_is_that_of_the_model_itself(kind):
    run = trained(kind)
    posterior = quietly(kind, lambda: Posterior(run, dtype=torch.float64))
    rows = torch.tensor([1, 0])
    loss, gradient = posterior.loss_and_gradient(posterior.centers[rows], posterior.fixed_at(rows), posterior.data)
    for place, row in enumerate(rows.tolist()):
        model = run.model_at(row).double().eval()
        expected = run.task.loss(model(posterior.data.inputs), posterior.data.targets).mean()
        sampled = [value for value in model.parameters() if value.requires_grad]
        own = torch.cat([part.flatten() for part in torch.autograd.grad(expected, sampled)])
        torch.testing.assert_close(loss[place], expected.detach())
        torch.testing.assert_close(gradient[place], own)
        assert float(posterior.base_loss[row]) == pytest.approx(float(expected.detach()), rel=1e-12)


@pytest.mark.parametrize("sampler", ["sgld", "hmc"])
@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_of_model_is_sampled(kind, sampler):
    run = trained(kind)
    kernel, settings = kernel_named(sampler), dataclasses.replace(SETTINGS, sampler=sampler)
    draws = quietly(kind, lambda: sample_posterior(Posterior(run), run.steps, settings, kernel=kernel, seed=0))
    assert np.isfinite(draws["loss"].values).all()
    assert (draws["loss"].std("draw") > 0).all()
    assert draws.attrs["batched"] == (kind is not Branching)


@pytest.mark.parametrize("kind", [Convolution, Batched, Tied, Double])
def test_the_model_that_a_run_gives_keeps_its_precision_and_buffers(kind):
    run = trained(kind)
    before = {name: value.copy() for name, value in {**run.parameters(), **run.buffers()}.items()}
    sample_posterior(Posterior(run), run.steps, SETTINGS, kernel=kernel_named("sgld"), seed=0)
    for name, value in {**run.parameters(), **run.buffers()}.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_metric_samples_in_the_precision_asked_for(dtype):
    found = LearningCoefficient(step_size=1e-3, dtype=dtype, **SHORT).over(trained(Double))
    assert found.attrs["dtype"] == dtype
    assert np.isfinite(found["llc"]).all()


def test_the_two_precisions_agree_to_that_of_float32():
    run = trained(Convolution)
    base = [Posterior(run, dtype=dtype) for dtype in (torch.float32, torch.float64)]
    rows = torch.arange(2)
    one, other = (each.loss_and_gradient(each.centers, each.fixed_at(rows), each.data)[1] for each in base)
    assert (one.dtype, other.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-6)
    assert math.isclose(float(base[0].base_loss[0]), float(base[1].base_loss[0]), rel_tol=1e-12)
