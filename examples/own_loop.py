"""A training loop of your own that writes checkpoints with two devi lines, and goes on where it was interrupted.

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

with Recorder(sys.argv[1], task, state={"optimizer": optimizer}, resume=True) as record:  # line 1
    for step in range(record.restore(model) or 0, 301):
        # First in the loop, before anything random is drawn: what follows is what a resumed run repeats.
        if step % 10 == 0:
            record(step, model, train_loss=task.loss(model(x), y).mean().item())  # line 2
        batch = torch.randint(len(x), (16,))
        optimizer.zero_grad()
        task.loss(model(x[batch]), y[batch]).mean().backward()
        optimizer.step()
