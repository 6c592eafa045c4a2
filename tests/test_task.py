import dataclasses
import json
import math
from dataclasses import dataclass

import numpy as np
import pydantic
import pytest
import torch

from devi.errors import DeviError
from devi.metrics.metric import Metric
from devi.plan import planned
from devi.task import Batch, Task, setting_names, settings_of, with_settings
from devi.tasks.superposition import Superposition


@dataclass(frozen=True)
class Small(Task):
    width: int = 3
    rates: tuple[float, ...] = (0.1,)
    note: str | None = None

    def model(self):
        return torch.nn.Linear(1, self.width)

    def data(self, split):
        return Batch(torch.zeros(2, 1), torch.zeros(2, 1))

    def loss(self, outputs, targets):
        return (outputs - targets).square().sum(-1)


class Modelled(pydantic.BaseModel, Small.__bases__[0]):
    width: int = 3

    model = Small.model
    data = Small.data
    loss = Small.loss


def test_settings_survive_a_round_trip():
    task = Small(width=5, rates=(0.5, 0.25), note="x")
    assert with_settings(Small, settings_of(task)) == task
    full = Superposition(features=3, importance=(1.0, 2.0, 3.0))
    assert with_settings(Superposition, settings_of(full)) == full


@dataclass(frozen=True)
class Unbounded(Small):
    clip: float = math.inf
    least: float = -math.inf
    target: float = math.nan


def test_infinities_and_nan_survive_being_stored_as_json():
    stored = json.loads(json.dumps(settings_of(Unbounded()), allow_nan=False))
    task = with_settings(Unbounded, stored)
    assert (task.clip, task.least) == (math.inf, -math.inf)
    assert math.isnan(task.target)
    assert with_settings(Unbounded, settings_of(Unbounded(clip=2.0))).clip == 2.0


def test_a_run_that_stored_infinity_as_null_is_read():
    assert with_settings(Unbounded, {"clip": None, "least": None}) == with_settings(Unbounded, {})


def test_text_becomes_the_type_of_the_setting():
    task = with_settings(Small, {"width": "7", "rates": "1,2", "note": "none of your business"})
    assert task == Small(7, (1.0, 2.0), "none of your business")
    assert with_settings(Small, {"note": "null"}).note is None
    assert with_settings(Small, {"rates": "[0.5]"}).rates == (0.5,)
    assert with_settings(Small, {"rates": "0.5"}).rates == (0.5,)


def test_a_setting_may_bear_the_name_of_a_method():
    assert setting_names(Superposition)["data"] == "distribution"
    assert with_settings(Superposition, {"data": "sparse"}).distribution == "sparse"
    assert settings_of(Superposition())["data"] == "one_hot"


def test_a_pydantic_model_is_a_task_too():
    assert with_settings(Modelled, {"width": "4"}).width == 4
    assert settings_of(Modelled()) == {"width": 3}


def test_an_unknown_setting_suggests_the_nearest():
    with pytest.raises(
        DeviError,
        match=r"no setting of task Small is called 'widht'\. Did you mean 'width'\? Known: note, rates, width\.",
    ):
        with_settings(Small, {"widht": 3})


def test_a_value_of_the_wrong_kind_names_setting_and_value():
    with pytest.raises(DeviError, match=r"setting 'width' = 'wide' is not valid: .*integer"):
        with_settings(Small, {"width": "wide"})
    with pytest.raises(DeviError, match=r"setting 'rates' = 'fast' is not valid"):
        with_settings(Small, {"rates": "fast"})
    with pytest.raises(DeviError, match=r"setting 'data' = 'dense' is not valid"):
        with_settings(Superposition, {"data": "dense"})


class Plain(Small.__bases__[0]):
    """As a user writes it who forgets @dataclass."""

    width: int = 4
    steps = 20
    model, data, loss = Small.model, Small.data, Small.loss

    def __init__(self, depth=1):
        if depth < 1:
            raise ValueError("no layer")


class Needy(Plain):
    def __init__(self, depth):
        self.depth = depth


@dataclass(frozen=True)
class Required(Small):
    bias: bool = True
    depth: int = dataclasses.field(kw_only=True)


@dataclass(frozen=True)
class Picky(Small):
    def __post_init__(self):
        raise TypeError("no such width")


@pytest.mark.parametrize(
    ("cls", "given", "message"),
    [
        (Plain, {"width": 8}, r"task Plain: 'width' of the class Plain is no .*Expected in one: width: int = 4$"),
        (Needy, {"depth": 8}, r"'depth' of the class Needy is no setting; settings are the annotated fields"),
        (Needy, {"dept": 8}, r"no setting of task Needy is called 'dept'\. Known: batch_size"),
        (Plain, {"model": 8}, r"no setting of task Plain is called 'model'\. Known: batch_size"),
        (Superposition, {"presets": 8}, r"no setting of task superposition is called 'presets'\."),
        (Needy, {}, r"task Needy: Needy\(\) failed with TypeError: .*'depth'\. Make it a dataclass, or give its arg"),
        (Picky, {}, r"task Picky: Picky\(\) failed with TypeError: no such width\.$"),
        (Required, {}, r"task Required: setting 'depth' has no default; type --set depth=…, or give"),
    ],
)
def test_a_class_that_cannot_be_made_as_it_is_written_says_what_it_lacks(cls, given, message):
    called = "superposition" if cls is Superposition else cls.__name__
    with pytest.raises(DeviError, match=message):
        planned(cls, given, called=called)


def test_a_setting_that_a_metric_must_be_given_is_typed_with_its_name():
    @dataclass(frozen=True)
    class OfLayer(Metric):
        layer: int

    with pytest.raises(DeviError, match=r"metric own.py:OfLayer: setting 'layer' has .* type --set of_layer\.layer=…"):
        with_settings(OfLayer, {}, kind="metric", called="own.py:OfLayer")


def test_a_setting_that_no_run_can_store_is_named_before_training():
    with pytest.raises(DeviError, match=r"Small: setting 'width' = np.float32\(0.5\) is a numpy.float32, which cannot"):
        settings_of(Small(width=np.float32(0.5)))

    @dataclass(frozen=True)
    class Placed(Small):
        place: torch.device = torch.device("cpu")  # noqa: RUF009 - what users write

    with pytest.raises(
        DeviError, match=r"Placed: setting 'place' = device.* is a torch.device, .* a name as in device: str"
    ):
        settings_of(Placed())
    with pytest.raises(DeviError, match=r"task Placed: setting 'place' is of a type that cannot be read from text"):
        with_settings(Placed, {})

    @dataclass(frozen=True)
    class Narrow(Small):
        rate: float = np.float32(0.5)

    with pytest.raises(DeviError, match="setting 'rate' = .*float"):
        planned(Narrow, {})


def test_nan_is_refused_where_the_task_has_a_number():
    with pytest.raises(DeviError, match="setting 'clip' = 'nan' is not a number"):
        with_settings(Unbounded, {"clip": "nan"})


class Annotated(Superposition):
    features: int = 4


class Plain(Superposition):
    features = 4


@dataclass(frozen=True)
class Unannotated(Superposition):
    features = 4


class OfItsOwn(Superposition):
    limit: int = 4  # no field: nothing is lost

    def accuracy(self, outputs, targets):
        return None


@dataclass(frozen=True)
class Heeded(Superposition):
    features: int = 4


@pytest.mark.parametrize("cls", [Annotated, Plain, Unannotated])
def test_a_value_that_a_dataclass_would_not_heed_is_refused(cls):
    message = rf"class {cls.__name__}: its features = 4 has no effect, .* write features: int = 4"
    for use in (lambda: with_settings(cls, {}), lambda: settings_of(cls())):
        with pytest.raises(DeviError, match=message):
            use()


def test_a_subclass_that_is_heeded_or_changes_no_field_is_taken():
    assert with_settings(OfItsOwn, {}).features == 6
    assert settings_of(with_settings(Heeded, {}))["features"] == 4
