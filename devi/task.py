"""Task: a model, its data and its per-example loss; everything else in devi works from these three."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, cast, get_type_hints

import pydantic
import pydantic_core

from devi.errors import DeviError, shown, unknown_name

if TYPE_CHECKING:  # a run is opened and shown without waiting for torch
    import torch
    from torch import Tensor, nn

Split = Literal["train", "test"]
Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Seed = Annotated[int, pydantic.Field(ge=0, lt=2**63)]  # what generators of torch take
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
T = TypeVar("T")

SETTINGS = "settings are the annotated fields of a class under @dataclass(frozen=True)"
PLAIN = "Expected numbers of Python, text, lists and dicts: float(x), or a name as in device: str = 'cpu'."


class Batch(NamedTuple):
    """Examples: inputs (example, ...) and targets (example, ...)."""

    inputs: Tensor
    targets: Tensor

    def to(self, device: torch.device | str) -> Batch:
        return Batch(self.inputs.to(device), self.targets.to(device))


class Replicas(ABC):
    """The losses of many models of a task and their gradients in one go, written out instead of derived: subclass it.

    For sampling on a processor, where it saves most of the passes over memory that autograd makes. An object belongs
    to one thread and may use its memory again at the next call. Has it a true attribute `outruns_compiled`, it is used
    with `--compile` too: benchmarks/compile_gain.py.
    """

    @abstractmethod
    def __call__(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, *, gradients: bool
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of each example (replica, example), and the gradient of their sum, name -> (replica, *shape).

        parameters  name -> (replica, *shape);  inputs, targets (example, ...): shared by all replicas
        gradients   without, the second is empty; with them only the mean of the losses is used, and (replica, 1),
                    that mean, will do
        """

    def cost(self, inputs: Tensor, targets: Tensor) -> int:
        """What a gradient over these takes, as a number of examples gone through one by one; all of them, by default.

        From it follows whether a gradient over the whole data set is worth more than one over a part of it.
        """
        return len(targets)


class Task(ABC):
    """What is trained and measured. Subclass it as a frozen dataclass (or pydantic model): its fields are its settings.

    Three methods are needed: `model`, `data`, `loss`. The rest have defaults.

    Fields with these names are understood by the trainer (defaults in `devi.plan.TrainingPlan`): optimizer,
    learning_rate, weight_decay, betas, momentum, batch_size, steps, scheduler, checkpoints, seed.
    `optimizer` may instead be a method `optimizer(parameters) -> torch.optim.Optimizer`.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    loss_units: ClassVar[str] = "nats"  # unit of `loss`, for labels; materiality thresholds apply to nats only

    @abstractmethod
    def model(self) -> nn.Module:
        """A freshly initialized model. Called with the global torch RNG seeded; the caller restores it.

        Of inputs (example, ...) it returns one Tensor (example, ...), the outputs that `loss` takes.
        """

    @abstractmethod
    def data(self, split: Split) -> Batch | None:
        """The fixed examples of a split, or None if the task has no such split. `len(train)` is the LLC's n."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each example, (example,), by itself, in the task's unit (nats for cross-entropy)."""

    def batch(self, step: int, generator: torch.Generator) -> Batch | None:
        """Examples for optimizer step `step`; None (the default) means `batch_size` examples of data("train").

        Override it for fresh data at every step. All randomness must come from `generator`: its state is what a
        resumed run restores.
        """
        return None

    def replicas(self) -> Replicas | None:
        """`loss` of `model` for many parameters at once, see `Replicas`; None (the default): by vmap and autograd."""
        return None

    def accuracy(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Whether each example is right, (example,) of 0 and 1; None if the task has no notion of it."""
        return None

    def metrics(self) -> Sequence[Any]:
        """The metrics that make sense for this task: names, or Metric objects."""
        return ("losses", "norms", "tickets", "llc")


def setting_names(cls: type) -> dict[str, str]:
    """The settings of a task or metric class: name on the command line -> field of the dataclass or pydantic model.

    They differ only where a field says so with `field(metadata={"setting": name})`, because a method has the name.
    Raises DeviError for a class that writes a value of its own for one, where Python goes by that of the class before.
    """
    if issubclass(cls, pydantic.BaseModel):
        return {name: name for name in cls.model_fields}
    if dataclasses.is_dataclass(cls):
        _check_heeded(cls)
        return {
            field.metadata.get("setting", field.name): field.name for field in dataclasses.fields(cls) if field.init
        }
    return {}


def _check_heeded(cls: type) -> None:
    """A dataclass's __init__ knows the fields that were annotated when it was decorated, and sets all of them."""
    fields = {field.name for field in dataclasses.fields(cast(Any, cls)) if field.init}
    for each in cls.__mro__:
        own, annotated = vars(each), vars(each).get("__annotations__", {})
        is_decorated = "__dataclass_fields__" in own
        if _is_ours(each) or (not is_decorated and "__init__" in own):
            continue
        for name in fields & own.keys():
            value = own[name]
            if (is_decorated and name in annotated) or callable(value) or hasattr(value, "__get__"):
                continue
            decorate = "" if is_decorated else f"put @dataclass(frozen=True) above {each.__name__} and "
            raise DeviError(
                f"class {each.__name__}: its {name} = {shown(repr(value))} has no effect, for a dataclass goes by the"
                f" fields that it was decorated with, here those of a class above it. To set it, {decorate}write"
                f" {name}: {type(value).__name__} = {shown(repr(value))}"
            )


# JSON has no word for inf and nan; as text they are read back as the numbers they were.
_JSON = pydantic.TypeAdapter(Any, config=pydantic.ConfigDict(ser_json_inf_nan="strings"))


def settings_of(thing: object) -> dict[str, Any]:
    """The settings of a task or metric as plain JSON values. Raises DeviError for one that is none and becomes none."""
    names, settings = setting_names(type(thing)), {}
    for name, field in names.items():
        try:
            settings[name] = json.loads(_JSON.dump_json(getattr(thing, field)))
        except pydantic_core.PydanticSerializationError:
            value = getattr(thing, field)
            raise DeviError(
                f"{type(thing).__name__}: setting '{name}' = {value!r:.80} is a {type(value).__module__}."
                f"{type(value).__qualname__}, which cannot be stored with a run. {PLAIN}"
            ) from None
    return settings


def with_settings(cls: type[T], settings: Mapping[str, Any], *, kind: str = "task", called: str | None = None) -> T:
    """`cls` built from settings given as values or as text (`--set key=value`), checked one by one.

    called   what the user calls it: `devi tasks NAME` must understand it, the messages say it
    Raises DeviError for an unknown key (with the nearest known one) or a value of the wrong type or range.
    """
    called = called or cls.__name__
    known, types = setting_names(cls), _types(cls)
    for key in settings:
        if key not in known:
            raise unknown_setting(cls, key, known, kind=kind, called=called)
    values = {known[key]: _parsed(value, types.get(known[key])) for key, value in settings.items()}
    more = f" Its settings and defaults: devi {kind}s {called}"
    for key in settings:
        field = known[key]
        default = getattr(cls, field, None)
        if isinstance(default, float) and not math.isfinite(default):
            if values[field] is None and not _accepts(types.get(field, Any), None):
                values[field] = default  # null is what inf and nan once became in a run
            if math.isnan(default):
                continue
        if _has_nan(values[field]):
            raise DeviError(f"{kind} {called}: setting '{key}' = {settings[key]!r} is not a number.{more}")
    try:
        if issubclass(cls, pydantic.BaseModel):
            return cls(**values)
        if dataclasses.is_dataclass(cls):
            return pydantic.TypeAdapter(cls).validate_python(values)
        return cls()
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        setting_of = {field: setting for setting, field in known.items()}
        key = ".".join(setting_of.get(str(part), str(part)) for part in first["loc"]) or called
        if first["type"] == "missing" and len(first["loc"]) == 1:
            word = f"{cast(Any, cls).label()}.{key}" if kind == "metric" else key
            raise DeviError(
                f"{kind} {called}: setting '{key}' has no default; type --set {word}=…, or give it one in the class."
            ) from None
        raise DeviError(
            f"{kind} {called}: setting '{key}' = {first['input']!r} is not valid: {first['msg']}.{more}"
        ) from None
    except pydantic.errors.PydanticSchemaGenerationError:
        key = next((key for key, field in known.items() if not _is_plain(types.get(field, Any))), called)
        raise DeviError(
            f"{kind} {called}: setting '{key}' is of a type that cannot be read from text. {PLAIN}"
        ) from None
    except Exception as error:  # of the user's __init__ or __post_init__, whatever they do
        if isinstance(error, DeviError) or _is_ours(cls):
            raise
        hint = "" if known else f" Make it a dataclass, or give its arguments defaults: {SETTINGS}."
        raise DeviError(
            f"{kind} {called}: {cls.__name__}() failed with {type(error).__name__}: {error}.{hint}"
        ) from error


def unknown_setting(cls: type, key: str, known: Iterable[str], *, kind: str, called: str) -> DeviError:
    """The error for a key that is no setting, with the nearest one suggested; what an attribute lacks to be one."""
    own = [each for each in cls.__mro__ if not _is_ours(each) and each is not object]
    has = any(key in vars(each) or key in vars(each).get("__annotations__", {}) for each in own)
    value = getattr(cls, key, None)
    if callable(value) or not (has or (own and key in inspect.signature(cls).parameters)):
        return unknown_name(f"setting of {kind} {called}", key, known)
    example = f"{key}: {type(value).__name__} = {value!r}" if type(value) in (bool, int, float, str) else f"{key}: int"
    return DeviError(
        f"{kind} {called}: '{key}' of the class {cls.__name__} is no setting; {SETTINGS}. Expected in one: {example}"
    )


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in ("devi", "abc")


def _types(cls: type) -> dict[str, Any]:
    """The annotations of a class, resolved; none where they name what only a function knows."""
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError:
        return {}


def _parsed(value: Any, kind: Any) -> Any:
    """Text as the setting's type reads it: itself where it will do, else null, JSON, or a list 'a,b,c', also of one."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in ("null", "None"):
        return None
    if kind is not None and _accepts(kind, text):
        return text
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return value
    if "," in text:
        return [part.strip() for part in text.split(",") if part.strip()]
    return [text] if kind is not None and _accepts(kind, [text]) else value


def _accepts(kind: Any, value: str | list[str] | None) -> bool:
    try:
        pydantic.TypeAdapter(kind).validate_python(value)
    except (pydantic.ValidationError, pydantic.errors.PydanticSchemaGenerationError):
        return False
    return True


def _is_plain(kind: Any) -> bool:
    try:
        pydantic.TypeAdapter(kind)
    except pydantic.errors.PydanticSchemaGenerationError:
        return False
    return True


def _has_nan(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_nan(part) for part in value)
    try:
        return math.isnan(float(value))
    except (TypeError, ValueError, OverflowError):
        return False
