"""How long the search for transitions takes: OMP_NUM_THREADS=1 python benchmarks/detection_speed.py [--write]

Two sizes: 5 metrics on 200 checkpoints (goal 0.3 s; RUNS runs, of all kinds of transition_cases.py in turn), and one
metric of 400 columns, features of which each moves at dates of its own, on 300 checkpoints (goal 20 s; once). Time is
that of the process: waiting for other programs does not count, but what they do to caches and clock does.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import xarray as xr
from tables import put_table
from transition_cases import KINDS, NULLS, steps_of, summed

from devi.transitions.fusion import find_transitions

RUNS = 21


def metrics(kind: str, seed: int) -> xr.Dataset:
    """5 metrics on 200 checkpoints with up to three shared changes of one kind, or none."""
    random = np.random.default_rng([seed, 5])
    steps = steps_of(200, random)
    return summed(kind, steps, 5, random).trajectories


def features(seed: int) -> xr.Dataset:
    """One metric of 400 columns on 300 checkpoints; each has a background, noise and changes of its own."""
    random = np.random.default_rng([seed, 400])
    steps = steps_of(300, random)
    columns = [summed("sigmoid", steps, 1, random).trajectories["metric0"].values for _ in range(400)]
    return xr.Dataset({"feature_norm": (("step", "feature"), np.stack(columns, axis=1))}, coords={"step": steps})


def seconds(trajectories: xr.Dataset) -> float:
    begun = time.process_time()
    find_transitions(trajectories)
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    seconds(metrics("sigmoid", 99))  # imports
    kinds = KINDS + NULLS
    several = [seconds(metrics(kinds[i % len(kinds)], i)) for i in range(RUNS)]
    many = seconds(features(0))
    rows = [
        [
            "5 metrics × 200 checkpoints",
            f"{np.median(several):.2f}",
            f"{min(several):.2f} to {max(several):.2f}",
            "0.3",
        ],
        ["400 columns × 300 checkpoints", f"{many:.1f}", "one run", "20"],
    ]
    header = ["size", "median, s", "range, s", "goal, s"]
    for row in (header, *rows):
        print(*row, sep=" | ")
    if options.write:
        load = os.getloadavg()[0]
        put_table("detection speed", header, rows, f"Processor time, one thread. Load {load:.1f} at the end.")


if __name__ == "__main__":
    main()
