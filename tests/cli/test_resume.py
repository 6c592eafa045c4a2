"""devi train --resume after kill -9, again and again: the bits of a run that nothing stopped."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import numpy as np
import pytest

from devi import open_run
from devi.checkpoints.lock import holder_of

DROPOUT = """
from dataclasses import dataclass
import torch
from devi import Batch, Task

@dataclass(frozen=True)
class Dropout(Task):
    batch_size: int = 8
    scheduler: str = "CosineAnnealingLR"
    steps: int = 1000
    checkpoints: str = "every:10"
    seed: int = 0

    def model(self):
        return torch.nn.Sequential(
            torch.nn.Linear(2, 16), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.4), torch.nn.Linear(16, 1)
        )

    def data(self, split):
        inputs = torch.linspace(-1, 1, 64).reshape(32, 2)
        return Batch(inputs, inputs.prod(1, keepdim=True)) if split == "train" else None

    def loss(self, outputs, targets):
        return (outputs - targets).square().sum(1)
"""

ADDITION = [
    *("modular_addition", "--steps", "800", "--checkpoints", "every:10"),
    *("--set", "p=13", "--set", "batch_size=20", "--set", "width=16", "--set", "scheduler=CosineAnnealingLR"),
]


@pytest.mark.slow  # exact, no false alarms: it waits for processes
@pytest.mark.parametrize("words", [ADDITION, ["dropout.py:Dropout"]], ids=["minibatches", "dropout"])
def test_kills_at_random_moments_change_no_bit(tmp_path, words):
    (tmp_path / "dropout.py").write_text(DROPOUT)

    def command(out):
        resume = ["--resume"] if (tmp_path / out).exists() else []
        return [sys.executable, "-m", "devi.cli.main", "train", *words, "--out", out, *resume]

    def run(out):
        subprocess.run(command(out), cwd=tmp_path, check=True, capture_output=True)
        return open_run(tmp_path / out)

    whole, generator = run("whole"), random.Random(0)
    for _ in range(2):
        process = subprocess.Popen(
            command("cut"), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while process.poll() is None and getattr(holder_of(tmp_path / "cut"), "pid", 0) != process.pid:
            time.sleep(0.01)
        time.sleep(0.4 * generator.random())
        process.kill()
        assert process.communicate()[1].count("Error") == 0
        assert process.returncode in (-9, 0)
    cut = run("cut")
    assert cut.findings == []
    assert cut.steps.tolist() == whole.steps.tolist()
    for mine, its in ((cut.parameters(), whole.parameters()), (cut.scalars, whole.scalars)):
        for name in mine:
            assert np.asarray(mine[name]).tobytes() == np.asarray(its[name]).tobytes(), name
