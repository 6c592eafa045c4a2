"""A finished analysis to report on: small, with known numbers, and with a name that tries to break the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import xarray as xr

from devi.transitions.transition import Skipped, Stage, Support, Transition

HOSTILE = "</script><script>alert(1)</script>$\\frac"


@dataclass
class FinishedAnalysis:
    """What `devi.report` reads of an analysis; `devi.analysis.Analysis` itself would import torch."""

    trajectories: xr.Dataset
    transitions: list[Any] = field(default_factory=list)
    stages: list[Any] = field(default_factory=list)
    skipped: list[Any] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    command: str = "devi analyze checkpoints/toy"
    flag_meanings: dict[str, str] = field(default_factory=lambda: {"rhat": "The chains disagree. Ask for more draws."})


def described(units: str, long_name: str) -> dict[str, str]:
    return {"units": units, "long_name": long_name, "source": ""}


def grokking() -> xr.Dataset:
    """Eight checkpoints; the test accuracy jumps between steps 100 and 1000."""
    steps = np.array([0, 1, 10, 50, 100, 1000, 2000, 4000])
    low, high = np.full(5, 0.05), np.full(3, 1.0)
    data = {
        "train_loss": ("step", np.geomspace(4, 0.01, 8), described("nats", "training loss")),
        "test_loss": ("step", np.r_[np.full(5, 9.0), 0.5, 0.2, 0.1], described("nats", "test loss")),
        "test_accuracy": ("step", np.r_[low, high], described("1", "test accuracy")),
        "llc": ("step", np.r_[np.full(5, 412.3), np.full(3, 138.2)], described("1", "local learning coefficient")),
        "llc_se": ("step", np.r_[np.full(5, 8.7), np.full(3, 4.1)], described("1", "standard error of the LLC")),
        "llc_flags": ("step", np.array(["rhat", "", "", "", "", "", "", ""], dtype=object), described("1", "flags")),
        "llc_rhat": ("step", np.r_[1.4, np.full(7, 1.01)], described("1", "R-hat")),
        "llc_trace": (
            ("step", "chain", "draw"),
            np.random.default_rng(0).normal(1.0, 0.1, (8, 2, 500)),
            described("nats", "loss along the chains"),
        ),
    }
    return xr.Dataset(data, coords={"step": steps})


@pytest.fixture
def superposition() -> xr.Dataset:
    """Three features in a plane over four checkpoints; feature 2 stays too small to have a dimensionality."""
    norms = np.array([[0.01, 0.01, 0.01], [1.0, 0.02, 0.01], [1.0, 1.0, 0.02], [1.0, 1.0, 0.02]])
    angles = np.array([0.0, np.pi / 2, np.pi])
    columns = norms[:, None, :] * np.stack([np.cos(angles), np.sin(angles)])
    dimensionality = np.where(norms > 0.3, 1.0, np.nan)
    data = {
        "train_loss": ("step", np.array([0.1, 0.05, 0.01, 0.01]), described("squared error", "training loss")),
        "feature_norm": (("step", "feature"), norms, described("1", "norm of a feature")),
        "feature_dimensionality": (("step", "feature"), dimensionality, described("1", "dimensionality")),
        "feature_direction": (("step", "hidden", "feature"), columns, described("1", "W")),
    }
    return xr.Dataset(data, coords={"step": np.array([0, 10, 100, 1000])})


@pytest.fixture
def modular() -> xr.Dataset:
    """Spectra over five frequencies, of which 2 and 4 are key, and restricted and excluded loss."""
    steps = np.array([0, 1, 10, 100, 1000])
    spectrum = np.outer(np.linspace(1, 3, 5), [0.1, 1, 0.1, 2, 0.1])
    data = {
        "train_loss": ("step", np.geomspace(4, 0.01, 5), described("nats", "training loss")),
        "embedding_spectrum": (("step", "frequency"), spectrum, described("1", "norm by frequency")),
        "unembedding_spectrum": (("step", "frequency"), spectrum, described("1", "norm by frequency")),
        "key_frequencies": ("frequency", np.array([0, 1, 0, 1, 0]), described("1", "key frequencies")),
        "restricted_loss": ("step", np.geomspace(4, 0.01, 5), described("nats", "restricted loss")),
        "excluded_loss": ("step", np.linspace(4, 6, 5), described("nats", "excluded loss")),
    }
    return xr.Dataset(data, coords={"step": steps, "frequency": np.arange(1, 6)})


def generalization() -> Transition:
    return Transition(
        id="t1",
        onset=120.0,
        midpoint=300.0,
        end=900.0,
        type="step",
        confidence=0.93,
        resolvable=True,
        intervals={"onset": (100.0, 150.0), "midpoint": (250.0, 350.0), "end": (800.0, 1000.0)},
        support=(Support("test_accuracy", None, "up", 0.95, 210.0), Support("test_loss", None, "down", -8.5, 88.0)),
        against=("weight_norm",),
        label="generalization",
        description="",
    )


def finished() -> FinishedAnalysis:
    return FinishedAnalysis(
        grokking(),
        [generalization()],
        [Stage(0.0, 120.0, {"test_loss": {"level": 9.0, "slope": 0.0}}, "before generalization")],
        [Skipped("gini", "its range is immaterial")],
        {
            "name": "toy-seed0", "path": "checkpoints/toy", "task": "modular_addition", "seed": 0, "checkpoints": 8,
            "parameters": 1234, "task_settings": {"p": 53}, "training": {"steps": 4000}, "metadata": {"device": "cpu"},
        },
        {"llc": {"chains": 4, "reasons": {"step_size": "the largest with a virial near 1"}}},
    )  # fmt: skip


@pytest.fixture
def trajectories() -> xr.Dataset:
    return grokking()


@pytest.fixture
def transition() -> Transition:
    return generalization()


@pytest.fixture
def analysis() -> FinishedAnalysis:
    return finished()


@pytest.fixture(scope="session")
def html() -> str:
    """The page of `analysis`, for the tests that only read it."""
    from devi.report.page import page

    return page(finished())


@pytest.fixture
def bare() -> Callable[..., FinishedAnalysis]:
    """An analysis of given trajectories in which nothing was found."""

    def make(trajectories: xr.Dataset, **changes: Any) -> FinishedAnalysis:
        run = {
            "name": "bare", "path": "checkpoints/bare", "task": "toy.py:Line", "seed": None, "parameters": 2,
            "checkpoints": trajectories.sizes["step"], "task_settings": {}, "training": {}, "metadata": {},
        }  # fmt: skip
        return FinishedAnalysis(trajectories, run=run, **changes)

    return make


@pytest.fixture
def hostile() -> str:
    return HOSTILE
