import numpy as np
import pytest
import torch
from torch import nn

from devi.known.memory_run import MemoryRun
from devi.task import Batch, Task


class Normalized(Task):
    """One weight, and a BatchNorm with buffers."""

    def model(self):
        return nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))

    def data(self, split):
        return Batch(torch.zeros(3, 2), torch.zeros(3))

    def loss(self, outputs, targets):
        return (outputs[:, 0] - targets).square()


def models(count):
    torch.manual_seed(0)
    return [Normalized().model() for _ in range(count)]


def test_what_goes_in_comes_out():
    given = models(3)
    run = MemoryRun.of(Normalized(), given, steps=[0, 10, 30])
    assert (len(run), run.steps.tolist()) == (3, [0, 10, 30])
    assert run.parameters()["0.weight"].shape == (3, 1, 2)
    assert run.parameters(1)["0.weight"].shape == (1, 2)
    assert set(run.buffers()) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    for name, value in run.model_at(2).state_dict().items():
        assert torch.equal(value, given[2].state_dict()[name])


def test_a_block_knows_its_whole_and_its_place_in_it():
    run = MemoryRun.of(Normalized(), models(4))
    inner = run.block(1, 4).block(1, 2)
    assert inner.whole is run
    assert (inner.start, inner.steps.tolist()) == (2, [2])
    assert run.select([3, 0]).steps.tolist() == [3, 0]


def test_what_it_hands_out_cannot_be_written_to_as_with_a_run_on_disk():
    run = MemoryRun.of(Normalized(), models(1))
    with pytest.raises(ValueError, match="read-only"):
        run.parameters()["0.weight"][0, 0, 0] = 1.0


def test_the_global_random_state_is_left_alone():
    run = MemoryRun.of(Normalized(), models(1))
    before = torch.get_rng_state()
    run.model_at(0)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(run.steps, [0])
