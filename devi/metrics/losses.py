"""Loss and accuracy on the task's fixed training and test examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import xarray as xr
from torch import Tensor

from devi.contract import examples, per_example
from devi.metrics.metric import OF_THE_LOSS, Metric, labels
from devi.metrics.outputs import outputs

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run
    from devi.task import Batch, Split


@dataclass(frozen=True)
class Losses(Metric):
    """Mean over a split's examples, added up in float64; a split or an accuracy that the task lacks is left out.

    train_loss, test_loss          (step,)  in `task.loss_units`
    train_accuracy, test_accuracy  (step,)  no unit, 0 to 1
    """

    device: str = "cpu"

    name: ClassVar[str] = "losses"
    long_name: ClassVar[str] = "loss and accuracy on the training and test examples"
    gives: ClassVar[tuple[str, ...]] = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
    units_of: ClassVar[Mapping[str, str]] = dict.fromkeys(gives[:2], OF_THE_LOSS)

    def over(self, run: Run) -> xr.Dataset:
        found = {}
        splits: tuple[tuple[Split, str], ...] = (("train", "training"), ("test", "test"))
        for split, words in splits:
            batch = examples(run.task, split)
            if batch is None:
                continue
            loss, accuracy = self._means(run, batch.to(self.device), split)
            source = f"mean over the {len(batch.inputs)} {words} examples"
            found[f"{split}_loss"] = ("step", loss, labels(run.task.loss_units, f"{words} loss", source))
            if accuracy is not None:
                found[f"{split}_accuracy"] = ("step", accuracy, labels("1", f"{words} accuracy", source))
        return xr.Dataset(found, coords={"step": run.steps})

    def _means(self, run: Run, batch: Batch, split: Split) -> tuple[np.ndarray, np.ndarray | None]:
        loss, right, has_accuracy = np.zeros(len(run)), np.zeros(len(run)), True
        for checkpoints, place_of, values in outputs(run, batch.inputs, device=self.device):
            targets = batch.targets[place_of]
            for place, value in enumerate(values, start=checkpoints.start):
                loss[place] += _sum(per_example(run.task, "loss", run.task.loss(value, targets), targets, split))
                accuracy = run.task.accuracy(value, targets)
                if accuracy is None:
                    has_accuracy = False
                else:
                    right[place] += _sum(per_example(run.task, "accuracy", accuracy, targets, split))
        count = len(batch.inputs)
        return loss / count, right / count if has_accuracy else None


def _sum(values: Tensor) -> float:
    """Sum over examples in float64."""
    # On the CPU first: some devices have no float64.
    return float(values.detach().cpu().double().sum())
