"""Stack: several seeds of one task side by side, trained as one: parameters (seed, *shape), one optimizer over them.

    loss = Σ_seed L_seed(w_seed),   ∂loss/∂w_seed = ∂L_seed/∂w_seed

so one backward pass through vmap gives every seed its own gradient, and an optimizer that works element by element
gives every seed the step that it would take alone. The sums inside L_seed are those of one seed; whether their last
bits are too depends on torch's kernels, see `devi.seeds`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from devi.errors import DeviError
from devi.memory import CACHED_ACTIVATIONS, saved_bytes
from devi.optimizers import make_scheduler
from devi.task import Batch
from devi.training import Trainee

# State of an optimizer that is a number, whatever shape a parameter has: the same for all seeds.
COUNTERS = ("step", "mu_product", "mu", "eta")


class Stack:
    """Seeds that stand at the same step. While it exists their models' parameters are rows of its own."""

    def __init__(self, runs: Sequence[Trainee]) -> None:
        self.runs, self.first = list(runs), runs[0]
        self.parameters = {
            name: torch.stack([of_run[name].detach() for of_run in self._named("named_parameters")])
            for name, _ in self.first.model.named_parameters()
        }
        self.buffers = {
            name: torch.stack([of_run[name] for of_run in self._named("named_buffers")])
            for name, _ in self.first.model.named_buffers()
        }
        for name, parameter in self.first.model.named_parameters():
            self.parameters[name].requires_grad_(parameter.requires_grad)
        for row, of_run in enumerate(self._named("named_parameters")):
            for name, own in of_run.items():
                own.data = self.parameters[name].detach()[row]
        self._full: Batch | None = None
        # Gradients are taken for as many seeds as keep their activations in the cache, which changes no number.
        fitting = (
            max(1, CACHED_ACTIVATIONS // activation_bytes(self.first)) if self.first.device.type == "cpu" else len(runs)
        )
        at_once = -(-len(runs) // -(-len(runs) // fitting))  # in parts of nearly the same size
        self._parts = [slice(start, start + at_once) for start in range(0, len(runs), at_once)]
        self.optimizer = self._stacked_optimizer()
        self.scheduler = self._stacked_scheduler()

    def update(self, step: int) -> None:
        """One optimizer step of every seed on its own examples."""
        self.first.model.train()
        moving = [parameter for parameter in self.parameters.values() if parameter.requires_grad]
        for parameter, gradient in zip(moving, self.gradients(self.batch(step)), strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        if self.scheduler:
            self.scheduler.step()

    def gradients(self, batch: Batch) -> list[Tensor | None]:
        """Of every seed's mean loss on its examples (seed, example, ...), by parameter that moves: (seed, *shape).

        None where the loss does not depend on the parameter; an optimizer then leaves it alone.
        """
        found = []
        for part in self._parts:
            own = {name: value.detach()[part] for name, value in self.parameters.items()}
            moving = [v.requires_grad_() for name, v in own.items() if self.parameters[name].requires_grad]
            buffers = {name: value[part] for name, value in self.buffers.items()}
            losses = vmap(self._loss)({**own, **buffers}, batch.inputs[part], batch.targets[part])
            found.append(torch.autograd.grad(losses.sum(), moving, allow_unused=True))
        return [None if parts[0] is None else torch.cat(parts) for parts in zip(*found, strict=True)]

    def batch(self, step: int) -> Batch:
        """The examples of optimizer step `step`, (seed, example, ...). Raises DeviError if their shapes differ."""
        batches = [run.batch(step) for run in self.runs]
        is_full = all(batch is run.train_split for batch, run in zip(batches, self.runs, strict=True))
        if is_full and self._full is not None:
            return self._full
        try:
            stacked = Batch(torch.stack([b.inputs for b in batches]), torch.stack([b.targets for b in batches]))
        except RuntimeError as reason:
            raise DeviError(
                f"the examples of step {step} differ in shape between seeds ({reason}); seeds that are trained at once"
                " need the same. Train them one by one: --seed N"
            ) from None
        self._full = stacked if is_full else None
        return stacked

    def optimizer_state(self, row: int) -> dict[str, Any]:
        """What the optimizer of one seed alone would give as its state_dict."""
        whole = self.optimizer.state_dict()
        stacked = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        return {**whole, "state": {
            place: {key: value[row] if _is_stacked(value, stacked[place]) else value for key, value in kept.items()}
            for place, kept in whole["state"].items()
        }}  # fmt: skip

    def dissolve(self) -> None:
        """Give every seed its optimizer's and scheduler's state, and parameters of its own."""
        for row, run in enumerate(self.runs):
            run.optimizer.load_state_dict(self.optimizer_state(row))
            if run.scheduler:
                run.scheduler.load_state_dict(self.scheduler.state_dict())
            for own in run.model.parameters():
                own.data = own.data.clone()

    def _loss(self, tensors: Mapping[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return self.first.task.loss(functional_call(self.first.model, dict(tensors), (inputs,)), targets).mean()

    def _named(self, kind: str) -> Iterator[dict[str, Tensor]]:
        return (dict(getattr(run.model, kind)()) for run in self.runs)

    def _stacked_optimizer(self) -> torch.optim.Optimizer:
        """Of the seeds' own kind, settings and state, over the stacked parameters."""
        own = self.first.optimizer
        names = {id(value): name for name, value in self.first.model.named_parameters()}
        groups = [{**g, "params": [self.parameters[names[id(p)]] for p in g["params"]]} for g in own.param_groups]
        optimizer: torch.optim.Optimizer = cast(Any, type(own))(groups)
        states = [_states(run.optimizer) for run in self.runs]
        for place, stacked in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            of_seeds = [each[place] for each in states]
            if of_seeds[0]:
                optimizer.state[stacked] = {
                    key: torch.stack([each[key] for each in of_seeds])
                    if isinstance(value, Tensor) and value.shape == stacked.shape[1:] and key not in COUNTERS
                    else value
                    for key, value in of_seeds[0].items()
                }
        return optimizer

    def _stacked_scheduler(self) -> Any:
        own = self.first.scheduler
        if own is None:
            return None
        settings = [
            {key: value for key, value in g.items() if key != "params"} for g in self.first.optimizer.param_groups
        ]
        scheduler = make_scheduler(self.first.plan, self.optimizer)
        scheduler.load_state_dict(own.state_dict())
        for group, before in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(before)
        return scheduler


def activation_bytes(run: Trainee) -> int:
    """What one seed's loss keeps for its gradient."""
    order = run.order.get_state()

    def loss() -> None:
        examples = run.batch(0)
        run.task.loss(run.model(examples.inputs), examples.targets).mean()

    saved = saved_bytes(loss)
    run.order.set_state(order)
    return saved


def _is_stacked(value: Any, stacked: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == stacked.shape


def _states(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [optimizer.state.get(p, {}) for group in optimizer.param_groups for p in group["params"]]
