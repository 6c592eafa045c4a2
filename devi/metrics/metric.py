"""Metric: one quantity, or a family of them, at each checkpoint of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import xarray as xr

from devi.errors import DeviError
from devi.plugins import snake_case

if TYPE_CHECKING:
    from torch import nn

    from devi.checkpoints.reader import Run
    from devi.task import Task


OF_THE_LOSS = "those of the task's loss"


class Metric:
    """Subclass it (as a frozen dataclass if it has settings) and write `at`, or `over` for whole blocks at once.

    A class that only defines `at` needs nothing else. `name`, `units`, `long_name`, `source` and `dims` label the
    result; `material`, `bounds` and `monotone` tell the search for transitions what is known of it.
    """

    name: ClassVar[str] = ""
    units: ClassVar[str] = "1"
    long_name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    dims: ClassVar[tuple[str, ...]] = ()  # of the array that `at` returns, one name an axis: ("head",)
    material: ClassVar[float | None] = None  # a smaller change is no change of structure, in `units`
    bounds: ClassVar[tuple[float | None, float | None] | None] = None  # values it cannot leave; None or infinite: open
    monotone: ClassVar[Literal["up", "down"] | None] = None  # it only rises, only falls
    gives: ClassVar[tuple[str, ...]] = ()  # variables that `over` returns, for `devi metrics`; () means (name,)
    units_of: ClassVar[Mapping[str, str]] = {}  # of those in `gives` that have others than `units`
    whole_run: ClassVar[bool] = False  # True: `over` sees the run in one piece rather than block by block
    progresses: ClassVar[bool] = (
        False  # True: `over` and `resolved` take `progress`, called with the share done, 0 to 1
    )

    def at(self, model: nn.Module, task: Task) -> float | np.ndarray | dict[str, float | np.ndarray]:
        """The value at one checkpoint: a number, an array, or several by name.

        `model` is in eval mode and gradients are off; a metric of gradients opens `torch.enable_grad()` itself. The
        global generators are seeded with the step: what is drawn from them is the same in every analysis.
        Blocks of checkpoints may be worked on in any order, in several processes, or be in the cache already: a metric
        that keeps something of the checkpoint before in `self` says `whole_run = True`.
        """
        raise DeviError(
            f"metric {type(self).__name__} defines neither at(model, task) nor over(run); write one of them."
        )

    def over(self, run: Run) -> xr.Dataset:
        """The values over a block of checkpoints, along dimension `step`.

        `run` is a block: `len(run)` checkpoints, `run.steps` (step,), `run.parameters()`. `run.whole` is the run it
        was cut from and `run.start` its first checkpoint's place there. By default: `at`, checkpoint by checkpoint.
        """
        import torch

        from devi.checkpoints.state import seeded
        from devi.contract import own_code

        rows: list[dict[str, np.ndarray]] = []
        for index, step in enumerate(run.steps.tolist()):
            before = dict(vars(self))
            with torch.no_grad(), seeded(step), own_code(self, f"at() at step {step}"):
                value = self.at(run.model_at(index), run.task)
            if len(run) < len(run.whole):
                self._check_keeps_nothing(before)
            rows.append(self._row(value, rows[0] if rows else None, step))
        data = {}
        for name in rows[0]:
            values = np.stack([row[name] for row in rows])
            axes: Sequence[str] = [f"{name}_axis{axis}" for axis in range(values.ndim - 1)]
            attributes = labels(self.units, self.long_name or name, self.source)
            if name == self.label():  # of several by name nothing is declared
                axes = self._axes(values.shape[1:]) if self.dims and axes else axes
                attributes |= self._known()
            data[name] = (("step", *axes), values, attributes)
        return xr.Dataset(data, coords={"step": run.steps})

    def _check_keeps_nothing(self, before: Mapping[str, Any]) -> None:
        """Raises DeviError if `at` replaced what it had kept; what it computed once and uses again is no state."""
        kept = [name for name, value in before.items() if value is not None and vars(self).get(name) is not value]
        if kept:
            raise DeviError(
                f"metric {type(self).__name__}: at() changes self.{kept[0]} from checkpoint to checkpoint, and a block"
                " of checkpoints knows nothing of the block before it. If a value depends on what was kept, say"
                " whole_run = True in the class; if not, keep it in a variable of at()."
            )

    def _row(self, value: Any, first: dict[str, np.ndarray] | None, step: int) -> dict[str, np.ndarray]:
        """What `at` gave, by name. Raises DeviError here, not after all checkpoints, if no result can be made of it."""
        try:
            given = value if isinstance(value, dict) else {self.label(): value}
            row = {name: _real(one) for name, one in given.items()}
        except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a Tensor that numpy cannot hold
            wanted = "expected a number, an array, or a dict of them by name"
            if value is None:
                raise DeviError(
                    f"metric {self.label()}: at() gave None at step {step}; {wanted}. Does it end without a `return`?"
                ) from None
            raise DeviError(
                f"metric {self.label()}: at() gave a {type(value).__name__} at step {step} that is not made of"
                f" numbers ({error}); {wanted}."
            ) from None
        if first is None:
            check_names(self.label(), row)
            return row
        shapes, expected = ({name: one.shape for name, one in each.items()} for each in (row, first))
        if shapes != expected:
            raise DeviError(
                f"metric {self.label()}: at() gave values of shapes {shapes} at step {step}; expected {expected}, those"
                f" of the first checkpoint, with nan where there is no value."
            )
        return row

    def _axes(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        if len(self.dims) != len(shape) or {"step", self.label()} & set(self.dims):
            raise DeviError(
                f"metric {type(self).__name__}: at() gave an array of shape {shape}, and dims = {self.dims}; expected"
                f" one name for each of its axes, other than 'step' and '{self.label()}'."
            )
        return self.dims

    def with_declared(self, result: xr.Dataset) -> xr.Dataset:
        """What `over` gave, with what the class declares where the variable of its name does not say it itself."""
        known = self._known()
        if self.label() in result:
            own = result[self.label()].attrs
            own.update({name: value for name, value in known.items() if name not in own})
        return result

    def _known(self) -> dict[str, Any]:
        """What the class declares, as attributes; bounds as CF's valid_min and valid_max."""
        low, high = self._limits()
        material = self._declared("material", self.material or 0.0, "a size of 0 or more")
        if not 0 <= material < np.inf:
            raise self._undeclared("material", "a size of 0 or more")
        if self.monotone not in (None, "up", "down"):
            raise self._undeclared("monotone", "'up' or 'down', or None")
        known = {"valid_min": low, "valid_max": high} if self.bounds else {}
        known |= {"material": material} if material else {}
        return known | ({"monotone": self.monotone} if self.monotone else {})

    def _limits(self) -> tuple[float, float]:
        """The bounds as numbers; None on one side is none there."""
        expected = "(low, high) that increase, with None where there is none"
        if self.bounds is None:
            return -np.inf, np.inf
        if not isinstance(self.bounds, tuple | list) or len(self.bounds) != 2:
            raise self._undeclared("bounds", expected)
        low, high = (
            open_end if limit is None else self._declared("bounds", limit, expected)
            for limit, open_end in zip(self.bounds, (-np.inf, np.inf), strict=True)
        )
        if not low < high:
            raise self._undeclared("bounds", expected)
        return low, high

    def _declared(self, name: str, value: Any, expected: str) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            raise self._undeclared(name, expected) from None

    def _undeclared(self, name: str, expected: str) -> DeviError:
        return DeviError(f"metric {type(self).__name__}: {name} = {getattr(self, name)!r}; expected {expected}.")

    def resolved(self, run: Run) -> Self:
        """This metric with every setting that the whole run must decide filled in (`None` means: not yet).

        Results are cached under the resolved settings, so whatever `over` needs from outside its block goes here.
        """
        return self

    def preparation(self, run: Run) -> str:
        """What deciding the settings for `run` will cost, as `outlook`."""
        return ""

    def outlook(self, run: Run) -> str:
        """What the work on `run` will cost, as a sentence for the user before it starts; empty: not worth saying."""
        return ""

    def remarks(self, result: xr.Dataset) -> list[str]:
        """What the user should know of the finished values, a sentence each; they become notices of the report."""
        return []

    def digest(self) -> str:
        """What else the values depend on, beside settings, source, task and checkpoints: a data set, say."""
        return ""

    @classmethod
    def label(cls) -> str:
        """Name on the command line: `name`, or the class name in snake case."""
        return cls.name or snake_case(cls.__name__)


def _real(value: Any) -> np.ndarray:
    """The numbers, in a copy: those of the next checkpoint may come in the same memory."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value  # numpy has no bfloat16
    array = np.asarray(value)
    if np.iscomplexobj(array):
        raise TypeError("complex ones are taken by their .real, .imag or abs()")
    if array.dtype == object and any(one is None for one in array.flat):  # which numpy takes for nan
        raise TypeError("None is among them; where there is no value, give nan")
    return np.asarray(array, dtype=float).copy()


def check_names(metric: str, names: Iterable[Any]) -> None:
    """Raises DeviError for the first name that the result's file cannot take."""
    for name in names:
        is_usable = isinstance(name, str) and name.isprintable() and "/" not in name and name.strip(" .")
        if not is_usable or name == "step":
            plain = re.sub(r"[^\w.-]+", "_", str(name)).strip("_.")
            example = plain if plain not in ("", "step") else "value"
            raise DeviError(
                f"metric {metric}: {name!r:.80} cannot name a value or an axis in analysis.h5; expected printable text"
                f" without '/', other than 'step'. For example: '{example}'"
            )


def labels(
    units: str, long_name: str, source: str = "", *, detect: bool = True, material: float | None = None
) -> dict[str, Any]:
    """The attributes that every variable in a result carries.

    detect    False: not searched for transitions
    material  a smaller change is no change of structure, in the variable's unit
    """
    extra = ({} if detect else {"detect": 0}) | ({} if material is None else {"material": material})
    return {"units": units, "long_name": long_name, "source": source} | extra
