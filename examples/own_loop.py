"""A training loop of your own that writes checkpoints with two devi lines, and can be resumed.

python examples/own_loop.py checkpoints/mine && devi analyze checkpoints/mine --task examples/line.py:Line
"""

import sys

import torch
from line import Line

from devi import Recorder

task = Line()
torch.manual_seed(0)
model, (x, y) = task.model(), task.data("train")
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

with Recorder(sys.argv[1], task, state={"optimizer": optimizer}) as record:  # line 1
    for step in range(301):
        loss = task.loss(model(x), y).mean()
        if step % 10 == 0:
            record(step, model, train_loss=loss.item())  # line 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
