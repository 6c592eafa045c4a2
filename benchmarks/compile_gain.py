"""Does `--compile` pay? python benchmarks/compile_gain.py [--rounds N] [--write]    needs a C++ compiler

Whole SGLD curves of `sampling_speed.py`, three ways that must agree: the gradient derived by autograd, as for a user's
own model; the same compiled; and as the built-in tasks write it out. They take turns; wall clock, all cores;
compilation, with an empty cache of torch's, is counted apart.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from sampling_cases import CHAINS, ROWS, run_of
from tables import put_table

from devi.sampling import walk
from devi.sampling.chains import sample_posterior
from devi.sampling.compiling import compile_gradient
from devi.sampling.posterior import Posterior
from devi.sampling.samplers import kernel_named
from devi.sampling.settings import Settings

ROW_DRAWS = {"superposition 6→2, batch 100": 200, "MLP p=53, batch 128": 100, "transformer p=113, batch 256": 20}
HEADER = ("row", "way", "µs per step and chain", "× autograd", "seconds to compile")
WAYS = ("autograd", "autograd, compiled", "written out")


class Stopwatch:
    """`compile_gradient`, and how long it took."""

    seconds = 0.0

    def __call__(self, posterior: Posterior, replicas: int, examples: int, *, threads: int) -> bool:
        began = time.perf_counter()
        assert compile_gradient(posterior, replicas, examples, threads=threads), "nothing was compiled"
        self.seconds += time.perf_counter() - began
        return True


def measured(name: str, folder: Path, rounds: int) -> list[list[str]]:
    row, draws = ROWS[name], ROW_DRAWS[name]
    run = run_of(row, folder)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    means: dict[str, float] = {}
    first = 0.0
    for number in range(1 + rounds):  # the first is not counted
        for way in WAYS:
            walk.compile_gradient = watch = Stopwatch()  # type: ignore[assignment]
            began = time.perf_counter()
            posterior = Posterior(run)
            if way != "written out":
                posterior.replicas = None
            settings = Settings(
                "sgld", step_size=row.step_size, n_beta=row.n_beta(posterior.examples), localization=row.localization,
                burn_in=0, draws=draws, most_draws=draws, chains=CHAINS, batch_size=row.batch_size,
            )  # fmt: skip
            found = sample_posterior(
                posterior, run.steps, settings, kernel=kernel_named("sgld"), seed=0, compile="compiled" in way
            )
            seconds = time.perf_counter() - began - watch.seconds
            means[way] = float((found["loss"] - found["base_loss"]).mean())
            if number:
                taken[way].append(1e6 * seconds / (len(run) * CHAINS * draws))
            elif "compiled" in way:
                first = watch.seconds
    assert np.allclose(list(means.values()), means["autograd"], rtol=1e-2), f"{name}: other losses, {means}"
    usual = np.array(taken["autograd"])
    return [
        [
            name, way, f"{np.median(each):,.3g} ({min(each):,.3g} to {max(each):,.3g})",
            f"{np.median(usual / each):.2f} ({(usual / each).min():.2f} to {(usual / each).max():.2f})",
            f"{first:.0f}" if "compiled" in way else "-",
        ]
        for way, each in taken.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{scratch}/cache"
        rows = [cells for name in ROW_DRAWS for cells in measured(name, Path(scratch), options.rounds)]
    for line in (HEADER, *rows):
        print(*line, sep=" | ")
    if options.write:
        note = f"Wall clock, all cores; medians of {options.rounds} alternating rounds, with minimum and maximum."
        put_table("compile gain", HEADER, rows, note)


if __name__ == "__main__":
    main()
