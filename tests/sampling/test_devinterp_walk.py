"""The reference walk against ours. devinterp draws its noise a tensor at a time, so `Walkers` are given it here."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from devi.known.memory_run import MemoryRun
from devi.known.monomials import Monomials
from devi.sampling import langevin
from devi.sampling.devinterp_walk import DevinterpWalkers
from devi.sampling.kernels import Target
from devi.sampling.noise import stream
from devi.sampling.posterior import Posterior
from devi.sampling.record import Plan, Walk
from devi.sampling.walk import Walkers
from devi.task import Batch, Task
from devi.tasks.superposition import Superposition

KEYS = [(0, 0), (0, 1), (10, 0)]
ROWS = torch.tensor([0, 0, 1])


@dataclass(frozen=True)
class Shapes(Task):
    """Weights of five shapes, one of them frozen, one without a use, a buffer and a LayerNorm."""

    def model(self):
        return Shaped()

    def data(self, split):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(32, 3, generator=generator)
        return Batch(inputs, inputs.sum(1)) if split == "train" else None

    def loss(self, outputs, targets):
        return (outputs.sum(1) - targets).square()


class Shaped(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.norm = nn.LayerNorm(5)
        self.scale = nn.Parameter(torch.ones(()))
        self.last = nn.Parameter(torch.randn(4, 5))
        self.unused = nn.Parameter(torch.ones(2))
        self.first.bias.requires_grad_(False)
        self.register_buffer("shift", torch.randn(4))

    def forward(self, inputs):
        return self.scale * self.norm(self.first(inputs)).tanh() @ self.last.T + self.shift


def run_of(task):
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(task.model())
    return MemoryRun.of(task, models, steps=[0, 10])


def everywhere(value, count, dtype=torch.float32):
    return torch.full((count, 1), value, dtype=dtype)


def plan_of(count, *, dtype=torch.float32, **changes):
    step_size, localization = changes.pop("step_size", 1e-3), changes.pop("localization", 1.0)
    numbers = {"n_beta": 30.0, "burn_in": 0, "batch_size": 32, "seed": 0} | changes
    return Plan(everywhere(step_size, count, dtype), localization=everywhere(localization, count, dtype), **numbers)


class TheirNoise:
    """The normal numbers that devinterp draws from a chain's generator: float32, one call per tensor."""

    def __init__(self, sizes):
        self.sizes = sizes

    def __call__(self, seed, keys, width, like):
        self.like = like
        self.generators = [torch.Generator().manual_seed(stream(seed, *key)) for key in keys]
        return self

    def next(self):
        rows = [
            torch.cat([torch.normal(0.0, 1.0, size=(size,), generator=generator) for size in self.sizes])
            for generator in self.generators
        ]
        return torch.stack(rows).to(self.like)


def both(monkeypatch, posterior, *, batch_size, dtype):
    plan = plan_of(3, dtype=dtype, burn_in=3, batch_size=batch_size, seed=7)
    plan = plan._replace(
        step_size=torch.tensor([[1e-3], [1e-3], [3e-3]], dtype=dtype),
        localization=torch.tensor([[5.0], [5.0], [0.0]], dtype=dtype),
    )
    monkeypatch.setattr("devi.sampling.chunk.Noise", TheirNoise(posterior.sizes))
    pair = Walkers(posterior, langevin.sgld, ROWS, KEYS, plan), DevinterpWalkers(posterior, ROWS, KEYS, plan)
    for draws in (9, 13):
        walks = [walkers.advance(draws) for walkers in pair]
    assert pair[0].gradients == pair[1].gradients == 75
    return walks


@pytest.mark.parametrize("batch_size", [32, 8], ids=["full_batch", "minibatch"])
@pytest.mark.parametrize(
    "task", [Shapes(), Superposition(init_scale=0.5, examples=32)], ids=["shapes", "superposition"]
)
def test_25_steps_in_two_parts_are_those_of_our_walk_given_the_same_noise(monkeypatch, task, batch_size):
    posterior = Posterior(run_of(task), dtype=torch.float64)
    ours, theirs = both(monkeypatch, posterior, batch_size=batch_size, dtype=torch.float64)
    assert ours.excess.shape == (3, 22)
    assert ours.excess.abs().max() > 1e-3  # the chains have moved
    for name in Walk._fields:
        torch.testing.assert_close(getattr(theirs, name), getattr(ours, name), rtol=1e-10, atol=1e-12)


def test_in_float32_the_two_agree_to_its_rounding(monkeypatch):
    posterior = Posterior(run_of(Shapes()))
    ours, theirs = both(monkeypatch, posterior, batch_size=32, dtype=torch.float32)
    for name in Walk._fields:
        torch.testing.assert_close(getattr(theirs, name), getattr(ours, name), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("batch_size", [32, 8])
def test_a_step_size_of_0_stays_at_the_checkpoints_loss(batch_size):
    plan = plan_of(3, step_size=0.0, batch_size=batch_size)
    found = DevinterpWalkers(Posterior(run_of(Shapes())), ROWS, KEYS, plan).advance(4)
    # The minibatch's loss at w* is taken from a pass over all examples, which rounds differently.
    assert (found.excess.abs() <= (0 if batch_size == 32 else 1e-6)).all()
    assert (found.distance == 0).all()


def test_the_numbers_depend_on_seed_checkpoint_and_chain_and_not_on_the_company():
    posterior = Posterior(run_of(Shapes()))

    def excess(rows, keys, seed=0):
        plan = plan_of(len(keys), seed=seed)
        return DevinterpWalkers(posterior, torch.tensor(rows), keys, plan).advance(4).excess

    together = excess([0, 0, 1], KEYS)
    assert torch.equal(excess([1], [(10, 0)])[0], together[2])
    assert torch.equal(excess([0], [(0, 1)])[0], together[1])
    assert (together[0] != together[1])[1:].all()
    assert (excess([0, 0, 1], KEYS, seed=1) != together)[:, 1:].all()


def test_neither_the_posterior_nor_the_global_random_state_is_touched_and_progress_ends_at_1():
    posterior = Posterior(Monomials((2, 4), examples=8).run())
    before = torch.get_rng_state(), posterior.centers.clone(), [p.clone() for p in posterior.model.parameters()]
    heard = []
    # nβ = 1 too: devinterp warns of it, and here it is what was asked for
    plan = plan_of(2, n_beta=1.0, burn_in=5, batch_size=8)
    DevinterpWalkers(posterior, torch.tensor([0, 0]), [(0, 0), (0, 1)], plan).advance(20, heard.append)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(posterior.centers, before[1])
    assert all(torch.equal(*pair) for pair in zip(posterior.model.parameters(), before[2], strict=True))
    assert heard == [0.5, 1.0]


def test_a_chain_that_leaves_the_numbers_leaves_the_others_as_they_are():
    posterior = Posterior(Monomials((2, 4), examples=8).run())
    plan = plan_of(2, batch_size=8)._replace(step_size=torch.tensor([[50.0], [1e-3]]))
    found = DevinterpWalkers(posterior, torch.tensor([0, 0]), [(0, 0), (0, 1)], plan).advance(40)
    assert not found.excess[0].isfinite().all()
    assert found.excess[1].isfinite().all()


@pytest.mark.parametrize("shape", [(), (1,), (5,), (4, 3), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("localization", [0.0, 3.0])
@pytest.mark.parametrize("name", ["sgld", "psgld"])
def test_20_steps_of_a_kernel_are_those_of_devinterps_optimizer_given_the_same_noise(name, localization, shape):
    """A quadratic with a curvature of its own per weight and gradient noise common to both, as of a minibatch."""
    from devinterp.optim import SGMCMC

    generator = torch.Generator().manual_seed(3)
    center, curvature = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    disturbances = torch.randn(21, *shape, generator=generator, dtype=torch.float64)
    parameter = nn.Parameter(center.clone())
    settings = {"lr": 0.01, "nbeta": 7.0, "localization": localization}
    if name == "sgld":
        kernel, peer = langevin.sgld, SGMCMC.sgld([parameter], **settings)
    else:
        kernel = langevin.psgld
        settings |= {"alpha": langevin.RMSPROP_DECAY, "eps": langevin.RMSPROP_STABILITY}
        peer = SGMCMC.rmsprop_sgld([parameter], **settings)
    left = iter(disturbances)

    def potential(position):
        return position.sum(dim=1), curvature.abs().reshape(1, -1) * position + next(left).reshape(1, -1)

    theirs, ours = (torch.Generator().manual_seed(9) for _ in range(2))
    target = Target(center.reshape(1, -1), 7.0, localization)
    state = kernel.init(target.center.clone(), potential, torch.full((1, 1), 0.01, dtype=torch.float64))
    for disturbance in disturbances[:20]:
        parameter.grad = curvature.abs() * parameter.detach() + disturbance
        peer.step(noise_generator=theirs)
        noise = torch.normal(0.0, 1.0, size=shape, generator=ours).reshape(1, -1).double()
        state = kernel.step(state, potential, target, noise, 0.0)
        torch.testing.assert_close(state.position[0], parameter.detach().flatten(), rtol=1e-13, atol=1e-13)
    assert (parameter.detach() - center).abs().max() > 0.01
