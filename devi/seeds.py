"""Seeds: many seeds of a task trained in one batched computation, into one ordinary run each.

On the CPU every operation is done by one thread, and large stacks are split among threads: sums are then taken in the
same order however many seeds there are, unless torch's batched products choose another kernel for so many matrices of
that size. superposition, the MLP p=53 and the transformer p=113 give the bits of a seed trained alone on one thread
(OMP_NUM_THREADS=1), the first two on a processor without AVX-512 as well, where an MLP 16 wide differs in its last
bits. In the transformer p=43 two gradients of 1 or 2 seeds differ from those of 3 or more by 1e-6 of
their size; Adam's division by their own root mean square makes a whole step of that within a dozen steps at a learning
rate of 0.005 (1e-5 in 20 at 0.001), and growth by itself does the rest. A run's metadata has `seeds_at_once` for that
reason, and a resume that computes otherwise says so.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from devi.checkpoints.folder import check_usable
from devi.checkpoints.reader import Run, open_run
from devi.checkpoints.slot_file import step_of
from devi.checkpoints.writer import Recorder
from devi.devices import device_of
from devi.errors import DeviError
from devi.plan import TrainingPlan
from devi.schedules import schedule
from devi.stack import Stack, activation_bytes
from devi.stackable import obstacle
from devi.task import Task
from devi.training import Diverged, Trainee, seeded, train

AT_ONCE = 64  # seeds: a run that is written holds a thread and some files open
# Activations of a thread's share, bytes. Below, threads wait for each other's Python more than they compute: a step of
# 16 seeds took 2.8 ms on one thread and 4.1 on two with 1.4 MB each, 17 ms and 8.1 with 13 MB (MLP of width 48).
WORTH_A_THREAD = 4 << 20


class Wanted(NamedTuple):
    """One run to be made."""

    task: Task
    plan: TrainingPlan
    path: Path


def train_seeds(
    wanted: Sequence[Wanted],
    *,
    name: str,
    resume: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> list[Run]:
    """Train tasks that differ in their seed; at once if that is possible, else one after another, with a notice.

    Seeds that stand at different steps (after a kill) go on from the earliest, and are joined by those ahead of it.

    progress   called with (steps done by all, steps in all)
    Raises DeviError as `devi.training.train` does; a seed that diverges stops, and the others go on to their end.
    """
    for _, _, path in wanted:
        check_usable(path, resume)
    place = device_of(device)
    steps = sum(each.plan.steps for each in wanted)
    failed: list[str] = []
    done = 0
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        trainees = [_trainee(each, name, place) for each in some] if len(some) > 1 else []
        reason, slow = obstacle(trainees) if trainees else ("", [])

        def tell(now: int, before: int = done) -> None:
            if progress is not None:
                progress(before + now, steps)

        if slow:
            notice(f"torch.vmap cannot batch {', '.join(slow)}: these run one seed after another, which is slower.")
        if reason is None:
            if trainees[0].lacking:
                notice(trainees[0].lacking)
            failed += _Together(trainees, resume=resume, progress=tell, notice=notice).train()
        else:
            if reason:
                notice(f"{name}: seeds are trained one after another, not at once: {reason}.")
            failed += _one_by_one(some, name=name, resume=resume, device=device, progress=tell, notice=notice)
        done += sum(each.plan.steps for each in some)
    if failed:
        raise DeviError("\n".join(failed))
    return [open_run(each.path, each.task) for each in wanted]


def _trainee(wanted: Wanted, name: str, device: torch.device) -> Trainee:
    with seeded(wanted.plan.seed):
        return Trainee(wanted.task, wanted.path, wanted.plan, name, device)


def _one_by_one(wanted: Sequence[Wanted], *, progress: Callable[[int], None], **options: Any) -> list[str]:
    failed, before = [], 0
    for task, plan, path in wanted:

        def tell(step: int, _: int, before: int = before) -> None:
            progress(before + step)

        try:
            train(task, path, plan=plan, progress=tell, **options)
        except DeviError as error:
            failed.append(str(error))
        before += plan.steps
    return failed


class _Kept:
    """The state of a seed's optimizer or scheduler, for its recorder: its own, or its share of a stack's."""

    def __init__(self, own: Any) -> None:
        self.own, self.share = own, own.state_dict

    def state_dict(self) -> dict[str, Any]:
        return self.share()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.own.load_state_dict(state)


class _Seed:
    """One seed: its run and the recorder of it."""

    def __init__(self, run: Trainee, together: int | str, resume: bool, keep: set[int], notice: Any) -> None:
        self.run, self.failure = run, ""
        self.optimizer, self.order = _Kept(run.optimizer), run.order
        self.scheduler = _Kept(run.scheduler) if run.scheduler else None
        state = {"optimizer": self.optimizer, "order": run.order}
        self.record = Recorder(
            run.path, run.task, state=state | ({"scheduler": self.scheduler} if self.scheduler else {}),
            metadata={**run.metadata, "seeds_at_once": together}, resume=resume, expected=len(keep), notice=notice,
        )  # fmt: skip
        self.step = 0

    def restored(self) -> int | None:
        try:
            return self.run.restored(self.record)
        except Diverged as error:
            self.failure = str(error)
            return self.run.plan.steps  # the others go on

    def checkpoint(self, step: int) -> None:
        try:
            if not self.failure:
                self.run.checkpoint(self.record, step)
        except DeviError as error:
            self.failure = str(error)


class _Together:
    """Seeds that are trained at once, each with a recorder of its own."""

    def __init__(
        self,
        runs: Sequence[Trainee],
        *,
        resume: bool,
        progress: Callable[[int], None],
        notice: Callable[[str], None],
    ) -> None:
        self.runs, self.resume, self.notice, self.progress = runs, resume, notice, progress
        self.steps = runs[0].plan.steps
        self.keep = set(schedule(runs[0].plan.checkpoints, self.steps))
        self.stop = threading.Event()
        is_cpu = runs[0].device.type == "cpu"
        self.threads = torch.get_num_threads() if is_cpu else 1
        self._inner = 1 if is_cpu else torch.get_num_threads()  # threads inside an operation

    def train(self) -> list[str]:
        """Train all to the end; the messages of those that diverged."""
        with ExitStack() as stack:
            stack.enter_context(seeded(self.runs[0].plan.seed))
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(self._inner)
            self.seeds = [self._opened(run, stack) for run in self.runs]
            for seed in self.seeds:
                step = seed.restored() if self.resume else None
                if step is None:
                    seed.checkpoint(0)
                seed.step = step or 0
            try:
                while unfinished := [seed for seed in self.seeds if seed.step < self.steps and not seed.failure]:
                    self._advance_earliest(unfinished)
            except KeyboardInterrupt:
                self._keep_all()
                raise
            self._keep_all()
        return [seed.failure for seed in self.seeds if seed.failure]

    def _opened(self, run: Trainee, stack: ExitStack) -> _Seed:
        # Seeds that stand at different steps go on in groups of those at the same one.
        are_level = not self.resume or len({step_of(each.path) for each in self.runs}) == 1
        together = len(self.runs) if are_level else f"1 to {len(self.runs)}"
        seed = _Seed(run, together, self.resume, self.keep, self.notice)
        stack.enter_context(seed.record)
        return seed

    def _keep_all(self) -> None:
        for seed in self.seeds:
            if not seed.failure:
                seed.record.keep(seed.step, seed.run.model)

    def _advance_earliest(self, unfinished: list[_Seed]) -> None:
        """Train the seeds that are furthest behind until they reach the next, or their end."""
        earliest = min(seed.step for seed in unfinished)
        group = [seed for seed in unfinished if seed.step == earliest]
        end = min((seed.step for seed in unfinished if seed.step > earliest), default=self.steps)
        is_worth_it = activation_bytes(group[0].run) * len(group) > WORTH_A_THREAD * self.threads
        size = -(-len(group) // (self.threads if is_worth_it else 1))
        shares = [group[start : start + size] for start in range(0, len(group), size)]
        # In threads even if it is one: Ctrl-C reaches the main thread only, and finds the seeds between two steps.
        with ThreadPoolExecutor(len(shares), initializer=torch.set_num_threads, initargs=(self._inner,)) as pool:
            parts = [pool.submit(self._advance, share, earliest, end) for share in shares]
            try:
                for part in parts:
                    part.result()
            except BaseException:
                self.stop.set()
                while not all(part.done() for part in parts):  # nor may a second Ctrl-C find them in mid-step
                    with suppress(KeyboardInterrupt):
                        wait(parts)
                raise

    def _advance(self, seeds: list[_Seed], step: int, end: int) -> None:
        stack = Stack([seed.run for seed in seeds])
        for row, seed in enumerate(seeds):
            seed.optimizer.share = partial(stack.optimizer_state, row)
            if seed.scheduler:
                seed.scheduler.share = stack.scheduler.state_dict
        drawn = _global_generators()
        while step < end and not self.stop.is_set() and not all(seed.failure for seed in seeds):
            stack.update(step)
            step += 1
            if step in self.keep and _global_generators() != drawn:
                raise DeviError(
                    f"{type(seeds[0].run.task).__name__} draws from a global random generator before step {step}, which"
                    " seeds that are trained at once would share: they would get other examples than alone. Draw from"
                    " a generator of the task's own, or train them one by one: --seed N"
                )
            for seed in seeds:
                seed.step = step
                if step in self.keep:
                    seed.checkpoint(step)
            self.progress(sum(seed.step for seed in self.seeds))
        stack.dissolve()
        for seed in seeds:
            seed.optimizer.share = seed.optimizer.own.state_dict
            if seed.scheduler:
                seed.scheduler.share = seed.scheduler.own.state_dict


def _global_generators() -> tuple[Any, ...]:
    """What torch's, numpy's and Python's generators stand at, to compare."""
    _, numbers, place, *_ = np.random.get_state()  # noqa: NPY002  # a task may draw from it
    return torch.get_rng_state().numpy().tobytes(), np.asarray(numbers).tobytes(), place, random.getstate()
