"""One version of devinterp at known cases: reads {case, gradients} a line, answers with an estimate a setting.

Started by llc_peers.py, with the version to measure in front of the path. The three settings are published ones:
  tests        step 6e-5, γ = 1, no burn-in, 3 chains        devinterp 1.3.2, tests/slt/rrr_test.py
  calibration  step 1e-3, γ = 0, half is burn-in, 8 chains   devinterp 2, examples/llc_calibration.py
  users        step 4e-4, γ = 100, no burn-in, 5 chains      the setting met most often in user code
nβ is n / log n and the batch is full, for all of them.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import sys
import time
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from devi.known.cases import Case, named


class Setting(NamedTuple):
    step_size: float
    localization: float
    chains: int
    burn_in: float  # share of the steps


SETTINGS = {
    "tests": Setting(6e-5, 1.0, 3, 0.0),
    "calibration": Setting(1e-3, 0.0, 8, 0.5),
    "users": Setting(4e-4, 100.0, 5, 0.0),
}


def version_1(case: Case, model: nn.Module, setting: Setting, steps: int) -> tuple[float, float]:
    """Mean over chains and its error, by devinterp 1's estimate_learning_coeff_with_summary."""
    from devinterp.optim.sgld import SGLD
    from devinterp.slt.sampler import estimate_learning_coeff_with_summary

    data = case.task.data("train")
    assert data is not None
    n = len(data.targets)
    # One item, the whole training set: torch would else collect every batch example by example
    loader = torch.utils.data.DataLoader([tuple(data)], batch_size=1)  # type: ignore[arg-type]
    burn_in = round(setting.burn_in * steps)
    with torch.no_grad():
        base = float(case.task.loss(model(data.inputs), data.targets).mean())
    found = estimate_learning_coeff_with_summary(
        model, loader, evaluate=lambda m, batch: case.task.loss(m(batch[0][0]), batch[1][0]).mean(),
        sampling_method=SGLD, num_chains=setting.chains, num_draws=steps - burn_in, num_burnin_steps=burn_in,
        optimizer_kwargs={
            "lr": setting.step_size, "localization": setting.localization, "nbeta": n / math.log(n)
        },
        init_loss=base, seed=0, verbose=False,
    )  # fmt: skip
    return float(found["llc/mean"]), float(found["llc/std"]) / math.sqrt(setting.chains)


def version_2(case: Case, model: nn.Module, setting: Setting, steps: int) -> tuple[float, float]:
    """The same by devinterp 2's llc, through its hook for losses; a row of its data set is an example's number."""
    from datasets import Dataset
    from devinterp.slt.llc import llc

    data = case.task.data("train")
    assert data is not None
    n = len(data.targets)
    rows = Dataset.from_dict({"input_ids": [[i, 0] for i in range(n)]}).with_format("torch")

    def loss(m: nn.Module, input_ids: Tensor) -> Tensor:
        index = input_ids[:, 0]
        return case.task.loss(m(data.inputs[index]), data.targets[index])[:, None]

    burn_in = round(setting.burn_in * steps)
    found = llc(
        model=model, dataset=rows, observables={}, loss_fn=loss, lr=setting.step_size, n_beta=n / math.log(n),
        localization=setting.localization, num_chains=setting.chains, num_draws=steps - burn_in,
        num_burnin_steps=burn_in, batch_size=n, num_init_loss_batches=1, init_seed=0, device="cpu",
    )  # fmt: skip
    return float(found["llc_mean"]), float(found["llc_std"]) / math.sqrt(setting.chains)


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    version = importlib.metadata.version("devinterp")
    estimate: Any = version_1 if version.startswith("1.") else version_2
    answers = sys.stdout
    sys.stdout = sys.stderr  # devinterp prints
    for line in sys.stdin:
        job = json.loads(line)
        (case,) = named([job["case"]])
        results = []
        for name, setting in SETTINGS.items():
            began = time.perf_counter()
            steps = max(20, job["gradients"] // setting.chains)
            try:
                mean, error = estimate(case, case.point().float(), setting, steps)
            except RuntimeError:  # version 1 ends so where a loss is not a number
                mean = error = math.nan
            seconds = time.perf_counter() - began
            results.append({"setting": name, "estimate": mean, "error": error, "seconds": seconds})
        print(json.dumps({"version": version, "results": results}), file=answers, flush=True)


if __name__ == "__main__":
    main()
