"""The training loop: a task and a plan in, a run of dense checkpoints out. Read it from top to bottom."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from devi.checkpoints.reader import Run, open_run
from devi.checkpoints.writer import Recorder
from devi.contract import check_model, check_values, checked_batch, examples, own_code, per_example
from devi.devices import device_of
from devi.errors import DeviError
from devi.optimizers import make_optimizer, make_scheduler
from devi.plan import TrainingPlan, planned
from devi.plugins import name_of
from devi.schedules import schedule
from devi.task import Batch, Split, Task, settings_of

EVALUATION_CHUNK = 8192  # examples a forward pass, so that a large test set does not need its activations all at once


def train(
    task: Task,
    path: Path | str,
    *,
    plan: TrainingPlan | None = None,
    name: str | None = None,
    resume: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> Run:
    """Train `task` and keep its checkpoints in directory `path`; with `resume`, go on where a killed run stopped.

    name       how the user named the task; stored in the run
    progress   called with (steps done, steps in all)
    Raises DeviError if the path cannot be used, the settings differ from the run's, or training diverges.
    """
    plan = plan or planned(type(task), settings_of(task))[1]
    keep_steps = set(schedule(plan.checkpoints, plan.steps))
    with seeded(plan.seed):
        run = Trainee(task, Path(path), plan, name or name_of("task", type(task)), device_of(device))
        if run.lacking and notice:
            notice(run.lacking)
        optimizer, scheduler = run.optimizer, run.scheduler
        state = {"optimizer": optimizer, "order": run.order} | ({"scheduler": scheduler} if scheduler else {})
        with Recorder(
            path, task, state=state, metadata=run.metadata, resume=resume, expected=len(keep_steps), notice=notice
        ) as record:
            step = run.restored(record) if resume else None
            if step is None:
                step = 0
                run.checkpoint(record, step)
            while step < plan.steps:
                try:
                    loss = update(task, run.model, optimizer, run.batch(step))
                except DeviError as error:
                    raise DeviError(f"{error}. What was recorded before is kept, to be resumed.") from error
                if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                    scheduler.step(loss)
                elif scheduler:
                    scheduler.step()
                step += 1
                if step in keep_steps:
                    run.checkpoint(record, step)
                if progress:
                    progress(step, plan.steps)
            record.keep(step, run.model)
    return open_run(path, task)


class Diverged(DeviError):
    """The loss of a run that is to go on is not finite."""


class Trainee:
    """One run under way, made with the global random states seeded: what is trained, on what, in which order."""

    def __init__(self, task: Task, path: Path, plan: TrainingPlan, name: str, device: torch.device) -> None:
        self.task, self.path, self.plan, self.name, self.device = task, path, plan, name, device
        with own_code(task, "model()"):
            model = task.model()  # first: its random numbers follow the seed, whatever the data draws
        check_model(task, model)
        self.model = model.to(device)
        train_split, self.test_split = _on(examples(task, "train"), device), _on(examples(task, "test"), device)
        if train_split is None:
            raise DeviError(f"task {type(task).__name__}: data('train') gave no examples; at least one is needed.")
        self.train_split = train_split
        self.order = torch.Generator().manual_seed(plan.seed)  # of the data; apart from the model's own randomness
        self.optimizer = make_optimizer(task, plan, self.model)
        self.scheduler = make_scheduler(plan, self.optimizer)
        with seeded(plan.seed):  # random states of its own, and eval mode: looking changes nothing
            self.lacking = check_values(task, self.model.eval(), self.train_split, "train")
        self.metadata = {"task": name, "training": settings_of(plan), "seed": plan.seed, "device": str(device)}

    def batch(self, step: int) -> Batch:
        """The examples of optimizer step `step`."""
        call = "batch(step, generator)"
        with own_code(self.task, f"{call} at step {step}"):
            made = self.task.batch(step, self.order)
        fresh = checked_batch(f"task {type(self.task).__name__}: {call}", made)
        return _on(fresh, self.device) or minibatch(self.train_split, self.plan.batch_size, self.order)

    def restored(self, record: Recorder) -> int | None:
        """The step to go on from, the model as it was there; None: from the beginning. Raises Diverged."""
        step = record.restore(self.model, end=self.plan.steps)
        if step is None:
            return None
        with seeded(self.plan.seed):  # random states of its own: looking changes nothing
            loss = measured(self.task, self.model, self.train_split, None)["train_loss"]
        if not np.isfinite(loss):
            raise Diverged(
                f"{self.path}: training had diverged by step {step}, where train_loss is {loss}; there is nothing to go"
                " on with. Train anew, with a smaller step and another --out: --set"
                f" learning_rate={self.plan.learning_rate / 10:g}"
            )
        return step

    def checkpoint(self, record: Recorder, step: int) -> None:
        """Measure and record the model. Raises DeviError if its loss is not finite."""
        scalars = measured(self.task, self.model, self.train_split, self.test_split)
        loss = scalars["train_loss"]
        if step == 0 and not np.isfinite(loss):
            raise DeviError(
                f"{self.path}: train_loss is {loss} before the first step; nothing was written."
                f" Look at the data, the loss and the initialization of {self.name}."
            )
        record(step, self.model, **scalars)
        if not np.isfinite(loss):
            raise DeviError(
                f"{self.path}: training diverged, train_loss is {loss} at step {step}. Checkpoints up to there are"
                f" kept. Try a smaller step: --set learning_rate={self.plan.learning_rate / 10:g}"
            )


def update(task: Task, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """One optimizer step on the batch's mean loss; returns that loss, before the step."""

    def closure() -> float:
        optimizer.zero_grad()
        with own_code(task, f"model or loss of a batch with inputs {tuple(batch.inputs.shape)}"):
            loss = task.loss(model(batch.inputs), batch.targets).mean()
        loss.backward()
        return loss.item()

    model.train()
    # A closure, because some optimizers (LBFGS) evaluate the loss more than once a step.
    return float(optimizer.step(closure))


def minibatch(split: Batch, size: int, order: torch.Generator) -> Batch:
    """`size` examples without replacement; 0 means all."""
    count = len(split.inputs)
    if size == 0 or size >= count:
        return split
    chosen = torch.randperm(count, generator=order)[:size].to(split.inputs.device)
    return Batch(split.inputs[chosen], split.targets[chosen])


def measured(task: Task, model: nn.Module, train_split: Batch, test_split: Batch | None) -> dict[str, float]:
    """Mean loss, and accuracy where the task has one, on the fixed splits; the model in eval mode."""
    model.eval()
    scalars = {}
    splits: tuple[tuple[Split, Batch | None], ...] = (("train", train_split), ("test", test_split))
    for split, batch in splits:
        if batch is None:
            continue
        losses, right = [], []
        with torch.no_grad(), own_code(task, f"loss or accuracy of the {split} examples"):
            for inputs, targets in zip(
                batch.inputs.split(EVALUATION_CHUNK), batch.targets.split(EVALUATION_CHUNK), strict=True
            ):
                outputs = model(inputs)
                losses.append(per_example(task, "loss", task.loss(outputs, targets), targets, split).double())
                accuracy = task.accuracy(outputs, targets)
                if accuracy is not None:
                    right.append(per_example(task, "accuracy", accuracy, targets, split).double())
        scalars[f"{split}_loss"] = torch.cat(losses).mean().item()
        if right:
            scalars[f"{split}_accuracy"] = torch.cat(right).mean().item()
    return scalars


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Global random states (torch, numpy, python) seeded inside, put back afterwards."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 - a user's task may use the global one
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


def _on(batch: Batch | None, device: torch.device) -> Batch | None:
    return None if batch is None else batch.to(device)
