"""devi reads the dense training history of a neural network and says when its structure changed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from devi.analysis import analyze
    from devi.checkpoints.reader import Run, open_run
    from devi.checkpoints.writer import Recorder
    from devi.errors import DeviError
    from devi.metrics.metric import Metric
    from devi.report import figures as plot
    from devi.sampling.sample import sample
    from devi.task import Batch, Task
    from devi.transitions.fusion import find_transitions

# Loaded on first use, so that `devi --help` and `import devi` cost nothing (tested).
_HOME = {
    "Task": "devi.task",
    "Batch": "devi.task",
    "Metric": "devi.metrics.metric",
    "Run": "devi.checkpoints.reader",
    "open_run": "devi.checkpoints.reader",
    "Recorder": "devi.checkpoints.writer",
    "sample": "devi.sampling.sample",
    "find_transitions": "devi.transitions.fusion",
    "analyze": "devi.analysis",
    "DeviError": "devi.errors",
    "plot": "devi.report.figures",
}

__all__ = [
    "Batch",
    "DeviError",
    "Metric",
    "Recorder",
    "Run",
    "Task",
    "analyze",
    "find_transitions",
    "open_run",
    "plot",
    "sample",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'devi' has no attribute '{name}'")
    module = importlib.import_module(_HOME[name])
    return module if name == "plot" else getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
