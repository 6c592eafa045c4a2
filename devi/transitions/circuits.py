"""Whether a circuit forms between two sets of checkpoints, as far as the restricted loss alone cannot tell.

The restricted loss of a network that only memorizes falls too: it averages the logits over all pairs of one sum, and
the memorized ones are among them. So, of what was measured,

    the excluded loss rises         the training pairs come to be answered by the circuit, no longer by heart
    the restricted test loss falls  to half or less, as the restricted loss does
    test accuracy gets above chance at some time of the run

Source: Nanda et al. 2023, arXiv:2301.05217, section 5.2, where in circuit formation the excluded loss rises.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from devi.transitions.ranks import CIRCUIT

RISES = 0.1  # of the excluded loss before: a smaller rise of a loss of several nats is none
LEAST_RISE = 0.02  # nats: a smaller change of a loss is immaterial
CLEAR = 0.3  # of the range: an accuracy that moves less has not been learned


def circuit_forms(trajectories: xr.Dataset, before: np.ndarray, after: np.ndarray) -> bool:
    """before, after: places of the checkpoints at the beginning and at the end, whose medians are compared."""

    def levels(metric: str) -> tuple[float, float] | None:
        if metric not in trajectories:
            return None
        values = trajectories[metric].values.astype(float)
        one, other = (values[places][np.isfinite(values[places])] for places in (before, after))
        return (float(np.median(one)), float(np.median(other))) if len(one) and len(other) else None

    excluded, tested = levels("excluded_loss"), levels("restricted_loss_test")
    if excluded is not None and excluded[1] - excluded[0] < max(RISES * excluded[0], LEAST_RISE):
        return False
    if tested is not None and tested[1] > CIRCUIT * tested[0]:
        return False
    return generalizes(trajectories)


def generalizes(trajectories: xr.Dataset) -> bool:
    """Whether test accuracy ever gets clear of where it began, which is chance; True if it was not measured."""
    if "test_accuracy" not in trajectories:
        return True
    values = trajectories["test_accuracy"].values.astype(float)
    values = values[np.isfinite(values)]
    return len(values) > 0 and float(values.max() - values[0]) >= CLEAR * whole_of(values)


def whole_of(accuracy: np.ndarray) -> float:
    """What an accuracy is measured against: 1, or 100 in per cent."""
    return 100.0 if np.nanmax(accuracy) > 1.5 else 1.0
