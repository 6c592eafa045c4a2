"""A user's training loop with all kinds of state, shared by the tests of what a resumed run gives."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn

from devi import Recorder

STEPS = 40


class Stop(Exception):
    pass


class Loop:
    """A user's loop with all kinds of state: dropout, batch norm, a moving average, a loss scaler, four generators."""

    def __init__(self):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - a user's loop may draw from the global generators
        random.seed(0)
        self.model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 1))
        self.model.register_buffer("noise", torch.zeros(3), persistent=False)
        self.average = torch.optim.swa_utils.AveragedModel(self.model, avg_fn=lambda old, new, _: 0.9 * old + 0.1 * new)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, max_lr=0.05, total_steps=STEPS + 1)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=5)
        self.order, self.augment, self.drawn = torch.Generator(), np.random.default_rng(1), random.Random(2)
        self.data = torch.randn(24, 3, generator=torch.Generator().manual_seed(3))

    @property
    def state(self):
        names = ["average", "optimizer", "scheduler", "scaler", "order", "augment", "drawn"]
        return {name: getattr(self, name) for name in names}

    def step(self):
        chosen = torch.randperm(24, generator=self.order)[:8]
        inputs = self.data[chosen] * self.augment.uniform(0.9, 1.1) + self.model.noise
        targets = inputs.sum(1, keepdim=True) + 0.1 * float(np.random.standard_normal())  # noqa: NPY002
        self.optimizer.zero_grad()
        loss = (self.model(inputs) - targets).square().mean() * (1 + 0.1 * random.random()) * self.drawn.random()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.average.update_parameters(self.model)
        self.model.noise.add_(0.01 * torch.randn(3))
        return loss.item()

    def run(self, path, *, stop_at=None, keep_at=(), **options):
        """The record stands first in the loop, its loss is the last one: a value of the loop to be kept by the user."""
        with Recorder(path, state=self.state, notice=lambda text: None, segment_bytes=2000, **options) as record:
            begins = record.restore(self.model) if options.get("resume") else None
            for step in range(begins or 0, STEPS):
                record(step, self.model, scale=self.scaler.get_scale())
                if step in keep_at:
                    record.keep(step, self.model)
                self.step()
                if step == stop_at:
                    raise Stop
        return record


def assert_same_bits(one, other):
    assert one.steps.tolist() == other.steps.tolist()
    for mine, its in (
        (one.parameters(), other.parameters()),
        (one.buffers(), other.buffers()),
        (one.scalars, other.scalars),
    ):
        for name in mine:
            assert np.asarray(mine[name]).tobytes() == np.asarray(its[name]).tobytes(), name
