"""How long torch's threads spin while they wait for each other. Imports no torch: it must be said before torch loads.

An operation that two threads share ends when both have their half. GNU's OpenMP lets the one that is ready first spin
300,000 turns, in case the other is done soon. Where other programs keep a core busy, the other one waits for a core,
and the spinning one takes the time that it would need. benchmarks/busy_cores.py measures what that costs.
"""

from __future__ import annotations

import os

SPINS = 10_000  # enough for threads on free cores to find each other awake; fewer make large products slower there


def sleep_soon() -> None:
    """Let waiting threads go to sleep after SPINS turns, unless the user has decided how they wait."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
