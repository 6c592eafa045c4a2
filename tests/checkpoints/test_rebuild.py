"""Rebuild: models whose tensors are of a kind that needs care before a checkpoint is put into them."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints.foreign.convert import convert
from tests.checkpoints.foreign.saved import Net


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
