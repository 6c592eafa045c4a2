"""One version of devinterp on the rows of sampling_speed.py: reads a job a line, answers with losses and seconds.

devinterp 1 through `estimate_learning_coeff_with_summary` and a DataLoader over a TensorDataset, as its examples do;
devinterp 2 through `sample_single_chain`, which makes its own. Settings are the row's, the losses those of its batches.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sampling_cases import ROWS, Plain, Row, run_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


def version_1(row: Row, model: nn.Module, data: TensorDataset, job: dict[str, Any], base: float) -> np.ndarray:
    """(chain, draw) losses."""
    from devinterp.optim.sgld import SGLD
    from devinterp.slt.sampler import estimate_learning_coeff_with_summary

    found = estimate_learning_coeff_with_summary(
        model, DataLoader(data, batch_size=row.batch_size, shuffle=True),
        evaluate=lambda m, batch: row.task.loss(m(batch[0]), batch[1]).mean(), sampling_method=SGLD,
        optimizer_kwargs={
            "lr": row.step_size, "localization": row.localization, "nbeta": row.n_beta(len(data)),
        },
        num_chains=job["chains"], num_draws=job["draws"], init_loss=base, seed=job["seed"], verbose=False,
    )  # fmt: skip
    return np.asarray(found["loss/trace"])


class Named(Dataset):
    """The same examples as devinterp 2 asks for them, by name."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        inputs, targets = self.data[number]
        return {"input_ids": inputs, "targets": targets}


def version_2(row: Row, model: nn.Module, data: TensorDataset, job: dict[str, Any], base: float) -> np.ndarray:
    from devinterp.optim.sgmcmc import SGMCMC
    from devinterp.slt.sampler import sample_single_chain

    def evaluate(m: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Any]]:
        return row.task.loss(m(batch["input_ids"]), batch["targets"]).mean(), {}

    losses: list[list[float]] = []
    for chain in range(job["chains"]):
        losses.append([])

        def keep(loss: Tensor, own: list[float] = losses[-1], **rest: Any) -> None:
            own.append(float(loss))

        sample_single_chain(
            model, Named(data), evaluate, {name: None for name, _ in model.named_parameters()}, num_draws=job["draws"],
            sampling_method=SGMCMC.sgld,
            sampling_method_kwargs={
                "lr": row.step_size, "localization": row.localization, "nbeta": row.n_beta(len(data)),
            },
            chain=chain, seed=job["seed"] + chain, dataloader_seed=job["seed"] + chain, callbacks=[keep],
            batch_size=row.batch_size,
        )  # fmt: skip
    return np.asarray(losses)


def main() -> None:
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    version = importlib.metadata.version("devinterp")
    walk: Any = version_1 if version.startswith("1.") else version_2
    answers = sys.stdout
    sys.stdout = sys.stderr  # devinterp prints
    for line in sys.stdin:
        job = json.loads(line)
        row = ROWS[job["row"]]
        torch.set_num_threads(job["threads"])
        run = run_of(row, folder)
        data = row.task.data("train")
        model = run.model_at(job["checkpoint"])
        with torch.no_grad():
            base = float(row.task.loss(model(data.inputs), data.targets).double().mean())
        module = Plain(model) if job["plain"] else model
        began = time.perf_counter()
        losses = walk(row, module, TensorDataset(*data), job, base)
        seconds = time.perf_counter() - began
        answer = {"version": version, "seconds": seconds, "excess": (losses.mean(axis=1) - base).tolist()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
