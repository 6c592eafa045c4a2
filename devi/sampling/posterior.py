"""Posterior: the loss around the checkpoints of a block, and its gradient, for all replicas in one pass.

    p(w) ∝ exp(−U(w)),   U(w) = nβ·L_n(w) + (γ/2)·‖w − w*‖²,   L_n the mean loss over the n training examples

A replica is one chain at one checkpoint. Its sampled parameters are one row of a flat (replica, parameter) buffer, so
one backward pass through vmap gives every replica's gradient:  ∇_flat Σ_replicas L(w_replica).
Source: Lau et al. 2023, arXiv:2308.12108, section 4.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from devi.errors import DeviError, Unsuitable
from devi.memory import CACHED_ACTIVATIONS, is_out_of_memory, saved_bytes
from devi.sampling.batching import can_batch
from devi.sampling.compiling import Gradient
from devi.sampling.data_sets import data_set
from devi.sampling.restriction import restricted
from devi.sampling.threads import side_by_side
from devi.sampling.well_defined import check_losses, tell_of_no_float64
from devi.sampling.written_out import check_replicas, float_as, floats_as, with_floats_as
from devi.task import Batch, Replicas

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

ACCELERATOR_MEMORY = 4 * 2**30  # what one gradient may keep there for its backward pass
# Of gradients that a task has written out: what the replicas' parameters may take, and how many share one call.
REPLICA_MEMORY = 3 * 2**20
MOST_REPLICAS = 256


class Posterior:
    """Loss and gradient around each checkpoint of `run` (a whole run or a block of one).

    centers    (checkpoint, parameter)  w*, the parameters with requires_grad, flat, in the order of `names`
    base_loss  (checkpoint,) float64    L_n(w*), on the whole data set, computed in float64
    """

    def __init__(
        self,
        run: Run,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        restriction: str = "",
        sample_on: str = "train",
    ) -> None:
        """restriction  which parameters move, see `devi.sampling.restriction`
        sample_on    the data set of L_n, see `devi.sampling.data_sets`
        """
        if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise DeviError(f"dtype = {dtype!r}: expected torch.float32 or torch.float64.")
        self.task, self.sample_on, self.restriction = run.task, sample_on, restriction
        self.replicas: Replicas | None = None
        self.compiled: dict[tuple[int, int, int], Gradient] = {}  # by the number of replicas, examples and threads
        self.device, self.dtype = torch.device(device), dtype
        self.model = with_floats_as(run.model_at(0).to(self.device), dtype).eval()
        data = data_set(run.task, sample_on, self.model)
        self.data = floats_as(data.to(self.device), dtype)
        self.examples = len(data.targets)
        sampled = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        if not sampled:
            raise Unsuitable("the model has no parameter with requires_grad=True, so there is nothing to sample.")
        self.weight_count = sum(value.numel() for value in self.model.parameters())  # what a gradient costs goes by
        rows_of = restricted(self.model, restriction) if restriction else dict.fromkeys(sampled)
        for name in rows_of:
            if not sampled[name].is_floating_point():
                raise DeviError(
                    f"parameter '{name}' is {str(sampled[name].dtype).removeprefix('torch.')}, and only real numbers"
                    " can be sampled. Register its real and imaginary parts as one real parameter, and put them"
                    " together in forward() with torch.view_as_complex; or leave the learning coefficient out: give"
                    " your task a method metrics() that returns names without 'llc'."
                )
        for name, value in sampled.items():
            value.requires_grad_(name in rows_of)
        # Parameters of which some entries of the first axis are sampled: name -> (entry,)
        self.entries = {n: torch.tensor(rows, device=self.device) for n, rows in rows_of.items() if rows is not None}
        self.names = list(rows_of)
        self.shapes = [
            (len(rows), *sampled[name].shape[1:]) if rows is not None else tuple(sampled[name].shape)
            for name, rows in rows_of.items()
        ]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.dimension = sum(self.sizes)  # d, the number of sampled parameters
        if self.dimension == 0:
            raise DeviError(f"{', '.join(self.names)}: no numbers in them, so there is nothing to sample.")

        # Copies: a run hands out read-only views of its file.
        saved = {name: torch.from_numpy(np.array(value)) for name, value in run.parameters(slice(None)).items()}
        buffers = {name: torch.from_numpy(np.array(value)) for name, value in run.buffers(slice(None)).items()}
        parts = [saved[name] if rows is None else saved[name][:, rows] for name, rows in rows_of.items()]
        rows = [part.reshape(len(run), size).double() for part, size in zip(parts, self.sizes, strict=True)]
        exact = torch.cat(rows, dim=1).to(self.device)  # (checkpoint, parameter)
        known = {*dict(self.model.named_parameters()), *dict(self.model.named_buffers())}
        whole = {name for name, part in rows_of.items() if part is None}
        fixed = {name: v for name, v in {**saved, **buffers}.items() if name in known and name not in whole}
        self.centers = exact.to(dtype)
        self.fixed = {name: float_as(value.to(self.device), dtype) for name, value in fixed.items()}
        check_losses(self, run)
        self.batched = self._vmap_works()
        # On a processor only: sums over examples that share a row are not made in a fixed order elsewhere.
        self.replicas = run.task.replicas() if self.device.type == "cpu" else None
        if self.replicas is not None:
            check_replicas(self, exact, fixed, data)
        self.base_loss = self._exact_loss(exact, fixed, data)
        # In the sampler's own precision: a minibatch is compared with the same examples here.
        self.base_losses = self._no_gradient(self.centers)  # (checkpoint, example)

    def loss_and_gradient(self, flat: Tensor, fixed: dict[str, Tensor], data: Batch) -> tuple[Tensor, Tensor]:
        """Mean loss (replica,) float64 and its gradient (replica, parameter) at `flat` (replica, parameter).

        fixed  name -> (replica, ...): buffers and frozen parameters, see `fixed_at`
        data   inputs and targets, shared by all replicas (example, ...)
        """
        action = self.compiled.get((len(flat), len(data.targets), torch.get_num_threads()))
        if action is not None:
            return action(flat, fixed, data.inputs, data.targets)
        if self.replicas is not None:
            return self._written_out(self.replicas, flat, fixed, data)
        flat = flat.detach().requires_grad_()
        # float64: the difference to the base loss is small, and n·β multiplies its error
        loss = self.losses(flat, fixed, data).mean(dim=-1, dtype=torch.float64)
        if not loss.requires_grad:  # none of the sampled parameters has a say in it
            return loss, torch.zeros_like(flat)
        (gradient,) = torch.autograd.grad(loss.sum(), flat, materialize_grads=True)
        return loss.detach(), gradient

    def losses(self, flat: Tensor, fixed: dict[str, Tensor], data: Batch) -> Tensor:
        """Loss of each example, (replica, example)."""
        parameters, fixed = self._assembled(flat, fixed)
        if self.replicas is not None and not flat.requires_grad:
            return self.replicas({**parameters, **fixed}, data.inputs, data.targets, gradients=False)[0]
        if self.batched:
            axes = (0, 0 if fixed else None, None, None)
            return vmap(self._one, in_dims=axes)(parameters, fixed, data.inputs, data.targets)
        return torch.stack(
            [
                self._one(
                    {name: value[row] for name, value in parameters.items()},
                    {name: value[row] for name, value in fixed.items()},
                    data.inputs,
                    data.targets,
                )
                for row in range(len(flat))
            ]
        )

    def _written_out(
        self, replicas: Replicas, flat: Tensor, fixed: dict[str, Tensor], data: Batch
    ) -> tuple[Tensor, Tensor]:
        """`loss_and_gradient` by the task's own formulas."""
        parameters, fixed = self._assembled(flat, fixed)
        losses, found = replicas({**parameters, **fixed}, data.inputs, data.targets, gradients=True)
        parts = [
            (found[name][:, self.entries[name]] if name in self.entries else found[name]).flatten(1)
            for name in self.names
        ]
        return losses.mean(dim=1, dtype=torch.float64), torch.cat(parts, dim=1).div_(len(data.targets))

    def _assembled(self, flat: Tensor, fixed: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The model's parameters at `flat` and what else it needs, each name -> (replica, *shape)."""
        views = [
            value.view(len(flat), *shape)
            for value, shape in zip(flat.split(self.sizes, dim=1), self.shapes, strict=True)
        ]
        parameters = dict(zip(self.names, views, strict=True))
        for name, entries in self.entries.items():
            parameters[name] = fixed[name].index_copy(1, entries, parameters[name])
        return parameters, {name: value for name, value in fixed.items() if name not in self.entries}

    def fixed_at(self, rows: Tensor) -> dict[str, Tensor]:
        """What is not sampled, name -> (replica, ...), for replicas at these checkpoints (replica,)."""
        return {name: value[rows] for name, value in self.fixed.items()}

    def gradient_cost(self, batch_size: int) -> int:
        """What a gradient over so many examples takes, as a number of examples gone through one by one."""
        if self.replicas is None or batch_size < self.examples:
            return batch_size
        return self.replicas.cost(*self.data)

    def replicas_at_once(self, batch_size: int, memory_bytes: int | None = None) -> int:
        """How many replicas one gradient is taken for: what fits in `memory_bytes`."""
        if not self.batched:
            return 1
        if memory_bytes is None:
            memory_bytes = CACHED_ACTIVATIONS if self.device.type == "cpu" else ACCELERATOR_MEMORY
        # position, center, gradient, noise and two temporaries
        buffers = 6 * self.dimension * self.centers.element_size()
        if self.replicas is not None:  # which take as many examples at a time as fit
            return max(1, min(MOST_REPLICAS, min(memory_bytes, REPLICA_MEMORY) // buffers))
        one, fixed = self.centers[0].clone().requires_grad_(), {name: value[0] for name, value in self.fixed.items()}
        some = self.minibatch(torch.arange(min(batch_size, self.examples), device=self.device))
        saved = saved_bytes(lambda: self.losses_of_one(one, fixed, some.inputs, some.targets).sum())
        return max(1, int(memory_bytes // (saved + buffers)))

    def at(self, rows: Tensor) -> Posterior:
        """The same at some of the checkpoints (checkpoint,), sharing all else."""
        some = copy.copy(self)
        some.centers, some.fixed = self.centers[rows], self.fixed_at(rows)
        some.base_loss, some.base_losses = self.base_loss[rows], self.base_losses[rows]
        return some

    def for_thread(self) -> Posterior:
        """The same, sharing all tensors, with a module of its own: `functional_call` swaps parameters in place."""
        twin = copy.copy(self)
        # What forward() has left in a module, as weight_norm's hook does, is made anew; of vmap it cannot be copied.
        left = [value for module in self.model.modules() for value in vars(module).values()]
        shared = {id(value): value for value in left if isinstance(value, Tensor)}
        twin.model = copy.deepcopy(self.model, shared)
        twin.replicas = None if self.replicas is None else self.task.replicas()
        return twin

    def minibatch(self, index: Tensor) -> Batch:
        """The examples `index` (example,) of the training set."""
        return Batch(self.data.inputs[index], self.data.targets[index])

    def losses_of_one(self, flat: Tensor, fixed: dict[str, Tensor], inputs: Any, targets: Tensor) -> Tensor:
        """Loss of each example (example,) for one replica: flat (parameter,), fixed name -> (...)."""
        return self._one(self.state_of_one(flat, fixed), {}, inputs, targets)

    def state_of_one(self, flat: Tensor, fixed: dict[str, Tensor]) -> dict[str, Tensor]:
        """The model's parameters and what else it needs, name -> (...): flat (parameter,), fixed name -> (...)."""
        of_one = self._assembled(flat[None], {name: value[None] for name, value in fixed.items()})
        return {name: value[0] for part in of_one for name, value in part.items()}

    def _one(self, parameters: dict[str, Tensor], fixed: dict[str, Tensor], inputs: Any, targets: Tensor) -> Tensor:
        outputs = functional_call(self.model, {**parameters, **fixed}, (inputs,))
        losses = self.task.loss(outputs, targets)
        if losses.shape != (len(targets),):
            raise DeviError(
                f"task {type(self.task).__name__}: loss(outputs, targets) has shape {tuple(losses.shape)} for"
                f" {len(targets)} examples; one value per example was expected, e.g. reduction='none'."
            )
        return losses

    def _vmap_works(self) -> bool:
        self.batched, one = True, torch.arange(1, device=self.device)
        data = self.minibatch(one)
        return can_batch(
            type(self.model).__name__, lambda: self.loss_and_gradient(self.centers[:1], self.fixed_at(one), data)
        )

    def mean_loss_at_centers(self, data: Batch) -> Tensor:
        """Mean loss on other data at every checkpoint, (checkpoint,) float64, in the sampler's precision."""
        return self._no_gradient(self.centers, data).mean(dim=1, dtype=torch.float64)

    def exact_loss(self, flat: Tensor) -> Tensor:
        """L_n at `flat` (checkpoint, parameter), one place for each checkpoint, in float64."""
        return self._exact_loss(flat.double(), self.fixed, self.data)

    def data_set(self, name: str) -> Batch:
        """Other examples, as this device and precision need them."""
        return floats_as(data_set(self.task, name, self.model).to(self.device), self.dtype)

    def _no_gradient(self, flat: Tensor, data: Batch | None = None) -> Tensor:
        examples = data or self.data

        # Otherwise one checkpoint at a time: the whole data set times all checkpoints at once may not fit in memory.
        at_once = 1 if self.replicas is None else self.replicas_at_once(len(examples.targets))
        pieces = [slice(start, start + at_once) for start in range(0, len(flat), at_once)]

        def work(number: int, own: Posterior) -> Tensor:
            rows = pieces[number]
            with torch.no_grad():
                return own.losses(flat[rows], {name: value[rows] for name, value in self.fixed.items()}, examples)

        threads = torch.get_num_threads() if self.device.type == "cpu" and self.batched else 1
        if threads == 1 or len(pieces) == 1:
            found = [work(number, self) for number in range(len(pieces))]
        else:
            found = side_by_side(len(pieces), work, self.for_thread, threads=threads)
        return torch.cat(found)

    def _exact_loss(self, exact: Tensor, fixed: dict[str, Tensor], data: Batch) -> Tensor:
        """L_n at every checkpoint in float64; in the sampler's precision if the model cannot be computed in that."""
        own = self.model, self.fixed, self.data
        try:
            self.model = self.model.double()
            self.fixed = {name: float_as(value.to(self.device), torch.float64) for name, value in fixed.items()}
            self.data = floats_as(data.to(self.device), torch.float64)
            return self._no_gradient(exact).mean(dim=1)
        except Exception as reason:  # forward() may say .float(), or compute with a float32 tensor of its own
            if isinstance(reason, DeviError) or is_out_of_memory(reason):
                raise
            tell_of_no_float64(self, reason)
        finally:
            self.model, self.fixed, self.data = own
            with_floats_as(self.model, self.dtype)
        return self._no_gradient(exact.to(self.dtype)).mean(dim=1, dtype=torch.float64)
