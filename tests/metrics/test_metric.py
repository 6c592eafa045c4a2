import numpy as np
import pytest
import torch
import xarray as xr

from devi.errors import DeviError
from devi.metrics.metric import Metric, labels
from devi.tasks.superposition import Superposition
from devi.training import train


@pytest.fixture
def run(tmp_path):
    return train(Superposition(steps=3, checkpoints="every:1"), tmp_path / "run")


class Norm(Metric):
    units = "1"
    source = "this test"

    def at(self, model, task):
        return float(model.W.norm())


def test_a_number_becomes_a_variable_along_step(run):
    result = Norm().over(run)
    assert result["norm"].dims == ("step",)
    assert np.allclose(result["norm"], np.linalg.norm(run.parameters()["W"].reshape(4, -1), axis=1))
    assert result["norm"].attrs == {"units": "1", "long_name": "norm", "source": "this test"}
    assert result["step"].values.tolist() == [0, 1, 2, 3]


def test_arrays_and_several_values_by_name(run):
    class Several(Metric):
        def at(self, model, task):
            return {"columns": model.W.norm(dim=0).numpy(), "largest": model.W.abs().max()}

    result = Several().over(run)
    assert result["columns"].shape == (4, 6)
    assert result["largest"].shape == (4,)


def test_what_a_metric_declares_is_with_its_values_even_after_they_were_saved(run, tmp_path):
    class Share(Metric):
        dims = ("feature",)
        bounds = (0.0, 1.0)
        material = 0.1
        monotone = "up"

        def at(self, model, task):
            return model.W.norm(dim=0).clamp(0, 1).numpy()

    result = Share().over(run)
    assert result["share"].dims == ("step", "feature")
    result.to_netcdf(tmp_path / "share.nc", engine="h5netcdf")
    known = xr.load_dataset(tmp_path / "share.nc", engine="h5netcdf")["share"].attrs
    assert (known["material"], *known["bounds"], known["monotone"]) == (0.1, 0.0, 1.0, "up")


def test_an_axis_without_a_name_is_told(run):
    class Flat(Metric):
        dims = ("feature",)

        def at(self, model, task):
            return model.W.numpy()

    with pytest.raises(DeviError, match=r"shape \(2, 6\), and dims = \('feature',\)"):
        Flat().over(run)


def test_gradients_are_off_and_can_be_opened(run):
    class Slope(Metric):
        def at(self, model, task):
            assert not torch.is_grad_enabled()
            with torch.enable_grad():
                x, y = task.data("train")
                (gradient,) = torch.autograd.grad(task.loss(model(x), y).mean(), [model.b])
            return float(gradient.norm())

    assert (Slope().over(run)["slope"] > 0).all()


def test_the_label_is_the_class_name_in_snake_case():
    class WeightNormOf2(Metric):
        pass

    assert WeightNormOf2.label() == "weight_norm_of2"


def test_a_metric_without_a_method_says_which_to_write(run):
    class Empty(Metric):
        pass

    with pytest.raises(DeviError, match="metric Empty defines neither at"):
        Empty().over(run)


def test_what_is_not_searched_is_marked():
    assert labels("nats", "loss", detect=False)["detect"] == 0
    assert "detect" not in labels("nats", "loss")
