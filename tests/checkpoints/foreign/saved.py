"""Shared by the tests of foreign checkpoints: a task of one small network, its states, and files made of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from devi import Batch, Task


@dataclass(frozen=True)
class Net(Task):
    """Two linear maps; the second's weight is the first's if they are tied."""

    width: int = 3
    tied: bool = False
    norm: bool = False

    def model(self):
        model = nn.Sequential(nn.Linear(self.width, self.width), nn.Linear(self.width, self.width))
        if self.tied:
            model[1].weight = model[0].weight
        if self.norm:
            model.append(nn.BatchNorm1d(self.width))
        return model

    def data(self, split):
        inputs = torch.linspace(-1, 1, 4 * self.width).reshape(4, self.width)
        return Batch(inputs, inputs)

    def loss(self, outputs, targets):
        return (outputs - targets).square().mean(-1)


def state(step, *, width=3, prefix="", dtype=torch.float32):
    """A state dict of Net whose numbers say which step it is of."""
    shapes = {"0.weight": (width, width), "0.bias": (width,), "1.weight": (width, width), "1.bias": (width,)}
    return {
        prefix + name: (torch.arange(torch.Size(shape).numel()).reshape(shape) + step + 100 * place).to(dtype)
        for place, (name, shape) in enumerate(shapes.items())
    }


def assert_is(run, step, expected):
    """The run's checkpoint of a step is this state, bit for bit."""
    index = run.steps.tolist().index(step)
    stored = {**run.parameters(index), **run.buffers(index)}
    assert set(stored) == set(expected)
    for name, tensor in expected.items():
        assert stored[name].tobytes() == tensor.float().numpy().tobytes() or (stored[name] == tensor.numpy()).all(), (
            name
        )
