"""How long the search for transitions takes: python benchmarks/detection_speed.py [--write]

Sizes: 5 metrics on 200 checkpoints (goal 0.3 s; RUNS runs, of all kinds of transition_cases.py in turn), and one
metric of 400 columns, features of which each moves at dates of its own, on 300 checkpoints (goal 20 s; once). A third
one, 3 metrics on 1,000,000 rows, is searched as means (once). Each by wall clock, on all cores, and in this process
alone on one thread by its processor time: waiting for other programs does not count there, but what they do to caches
and clock does.
"""

from __future__ import annotations

import argparse
import os
import time
from unittest import mock

import numpy as np
import xarray as xr
from tables import put_table
from threadpoolctl import threadpool_limits
from transition_cases import KINDS, NULLS, steps_of, summed

from devi import forks
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


def rows_of_a_log() -> xr.Dataset:
    """3 metrics of a training that logged every step: power laws with noise, one with a step of half a decade."""
    random, steps = np.random.default_rng(0), np.arange(1, 1_000_001)
    slow = (1 + steps / 1000) ** -0.4
    step = 1 / (1 + np.exp(-8.8 * (np.log10(steps) - 4.5)))
    curves = (slow, 1 - slow, slow - 0.5 * step)
    return xr.Dataset(
        {f"metric{i}": ("step", y + 0.05 * random.normal(size=len(steps))) for i, y in enumerate(curves)},
        coords={"step": steps},
    )


def seconds(trajectories: xr.Dataset) -> tuple[float, float]:
    """By wall clock on all cores, and of one thread's processor time."""
    begun = time.perf_counter()
    find_transitions(trajectories)
    wall = time.perf_counter() - begun
    with mock.patch.object(forks, "cores", return_value=1), threadpool_limits(1):
        begun = time.process_time()
        find_transitions(trajectories)
        return wall, time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    seconds(metrics("sigmoid", 99))  # imports
    kinds = KINDS + NULLS
    several = np.array([seconds(metrics(kinds[i % len(kinds)], i)) for i in range(RUNS)])
    many = seconds(features(0))
    spread = [f"{np.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in several.T]
    rows = [
        ["5 metrics × 200 checkpoints", *spread, "0.3"],
        ["400 columns × 300 checkpoints", *(f"{each:.1f}" for each in many), "20"],
        ["3 metrics × 1,000,000 rows", *(f"{each:.1f}" for each in seconds(rows_of_a_log())), "-"],
    ]
    header = ["size", "wall clock, all cores, s", "processor time, one thread, s", "goal, s"]
    for row in (header, *rows):
        print(*row, sep=" | ")
    if options.write:
        load = os.getloadavg()[0]
        note = f"Medians of {RUNS} runs, with minimum and maximum; the large ones once. Load {load:.1f} at the end."
        put_table("detection speed", header, rows, note)


if __name__ == "__main__":
    main()
