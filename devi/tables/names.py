"""Names of columns: which counts steps, which run they belong to, and which are no quantity of the model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from devi.errors import quoted

STEPS = ("step", "_step", "global_step", "trainer/global_step", "steps", "iteration", "iter")  # any case
CLOCKS = (
    "_timestamp", "timestamp", "wall time", "wall_time", "time", "relative time", "elapsed", "elapsed time",
    "elapsed_time", "epoch", "date", "relative_time", "walltime", "wall_clock", "wall clock", "seconds", "time_s",
    "created_at",
)  # fmt: skip
LEARNING_RATE = re.compile(r"(^|[^a-z])(lr|learning[ _-]?rate)([^a-z]|$)")  # lr-AdamW, train/learning_rate, lr/pg0
WORK = re.compile(r"_per_sec(ond)?$|^(total_flos|num_input_tokens_seen|num_tokens)$")  # as Hugging Face's trainer logs
# In the name of a metric, (lr=0.1) or lr=0.1: what it was measured at, and not what it is.
IN_BRACKETS = re.compile(r"\s*\([^)]*\)$")  # Relative Time (Wall) and (Process)
SETTING = re.compile(r"\([^)]*\)|[\w.-]+ *= *[^\s/,]+")
COUNTS_STEPS = "counts steps; to take these: --step NAME"
WANDB_EXTREMES = ("__MIN", "__MAX")


def common_run(step: str, names: Sequence[str]) -> str:
    """What Weights & Biases puts before the metrics of a chart, 'run name - ', where all are of one run.

    step  the column of steps, which is theirs if it is called so, or if extremes stand beside a metric: another program
          may call its columns 'loss - train' and 'loss - test'
    """
    heads = {name.partition(" - ")[0] for name in names if " - " in name}
    run = f"{next(iter(heads))} - " if len(heads) == 1 else ""
    is_theirs = step == "Step" or any(name.endswith(WANDB_EXTREMES) for name in names)
    return run if run and is_theirs and all(name.startswith(run) for name in names) else ""


def several_runs(names: Sequence[str]) -> list[str]:
    """A sentence where the columns of one chart are those of several runs, which are no metrics of one."""
    runs = list(dict.fromkeys(name.partition(" - ")[0] for name in names))
    if len(runs) < 2 or not all(" - " in name for name in names):
        return []
    first = ",".join(name for name in names if name.startswith(f"{runs[0]} - "))
    return [
        f"the columns belong to {len(runs)} runs ({', '.join(runs)}), which are searched as if they were metrics of"
        f" one. One run at a time: --metrics {quoted(first)}"
    ]


def no_quantity(name: str, names: Sequence[str]) -> str:
    """Why a column is not searched unless it is asked for; nothing of one that is."""
    bare = IN_BRACKETS.sub("", last_part(name))
    if bare in CLOCKS or bare.endswith("runtime"):
        return "counts time"
    if last_part(name) in STEPS:
        return COUNTS_STEPS
    if name.endswith(WANDB_EXTREMES) and last_part(name[: -len(WANDB_EXTREMES[0])]) in STEPS:
        return COUNTS_STEPS
    if WORK.search(last_part(name)):
        return "counts work or the machine's speed"
    # The name of a run may hold its learning rate, and that of a metric too: loss (lr=0.1).
    if LEARNING_RATE.search(SETTING.sub(" ", name.lower().rpartition(" - ")[2])):
        return "is set from outside; to declare a drop: --exogenous STEP:LABEL"
    if name.endswith(WANDB_EXTREMES) and name[: -len(WANDB_EXTREMES[0])] in names:
        return "is an extreme of another column"
    return ""


def last_part(name: str) -> str:
    """global_step of train/global_step and of 'run - train/global_step': loggers put what it belongs to before it."""
    return name.lower().rpartition(" - ")[2].rpartition("/")[2]
