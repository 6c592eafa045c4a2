"""Rebuild: models whose tensors are of a kind that needs care before a checkpoint is put into them."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from devi import DeviError, Metric, Recorder, open_run
from devi.analysis import analyze
from devi.checkpoints.foreign.convert import convert
from devi.plan import planned
from devi.seeds import Wanted, train_seeds
from devi.training import train
from tests.checkpoints.foreign.saved import Net
from tests.test_contract import INPUTS, Right


@dataclass(frozen=True)
class Expanded(Net):
    def model(self):
        model = super().model()
        model.register_buffer("place", torch.zeros(1).expand(4))
        return model


@dataclass(frozen=True)
class Lazy(Net):
    def model(self):
        return nn.Sequential(nn.LazyLinear(self.width), nn.Linear(self.width, self.width))


@dataclass(frozen=True)
class Wrapped(Right):
    """A model() that returns a wrapper, which prefixes the names: 'module.weight', '_orig_mod.weight'."""

    how: str = "DataParallel"

    def model(self):
        model = super().model()
        return nn.DataParallel(model) if self.how == "DataParallel" else torch.compile(model, backend="eager")

    def metrics(self):
        return ("losses", "norms", "llc", Weight)


class Weight(Metric):
    def at(self, model, task):
        return {"weight": model.weight[0, 0].item(), "output": model(INPUTS)[0, 0]}


@pytest.mark.parametrize("how", ["DataParallel", "compile"])
def test_a_run_of_a_wrapped_model_is_analyzed_as_that_of_the_model_itself(tmp_path, how):
    options = {"settings": {"llc": {"chains": 2, "draws": 10, "step_size": 1e-3}}, "metrics": ["llc", Weight]}
    plain = analyze(train(Right(), tmp_path / "plain"), **options).trajectories
    task, plan = planned(Wrapped, {"how": how})
    train(task, tmp_path / "run", plan=plan)
    train_seeds([Wanted(task, plan, tmp_path / name) for name in ("first", "second")], name="wrapped")
    for name in ("run", "second"):
        run = open_run(tmp_path / name, Wrapped)
        assert type(run.model_at(0)) is nn.Linear
        found = analyze(run, **options).trajectories
        assert found.equals(plain)


def test_an_expanded_buffer_gets_the_values_that_were_stored(tmp_path):
    model = Expanded().model()
    model.place = torch.arange(4.0)
    with Recorder(tmp_path / "run", Expanded(), state={}) as record:
        record(0, model)
    assert open_run(tmp_path / "run", Expanded).model_at(0).place.tolist() == [0, 1, 2, 3]


def test_a_lazy_model_is_told_to_find_its_shapes_in_model(tmp_path):
    model = Lazy().model()
    model(torch.zeros(1, 3))
    with Recorder(tmp_path / "run", Lazy(), state={}) as record:
        record(0, model)
    with pytest.raises(DeviError, match=r"task Lazy: '0.weight' of its model has no shape yet .*at the end of model"):
        open_run(tmp_path / "run", Lazy).model_at(0)
    (tmp_path / "files").mkdir()
    torch.save(model.state_dict(), tmp_path / "files" / "step_1.pt")
    with pytest.raises(DeviError, match="'0.weight' of its model has no shape yet"):
        convert(tmp_path / "files", tmp_path / "other", Lazy())
