import numpy as np
import pytest
import torch
import xarray as xr

from devi.analysis import analyze
from devi.errors import DeviError
from devi.metrics.metric import Metric, labels
from devi.tasks.superposition import Superposition
from devi.training import train
from devi.transitions.curves import curves_of

QUICK = {"llc": {"draws": 10, "chains": 2, "burn_in": 5, "step_size": 1e-4, "n_beta": 10.0, "localization": 10.0}}


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


def test_a_value_with_a_gradient_is_taken_for_its_numbers(run):
    class Entries(Metric):
        def at(self, model, task):
            return {"own": model.W, "first": model.W[0, 0], "opened": self.opened(model)}

        @torch.enable_grad()
        def opened(self, model):
            return model.W.square().sum()

    result, weights = Entries().over(run), run.parameters()["W"]
    assert np.array_equal(result["own"], weights)
    assert np.array_equal(result["first"], weights[:, 0, 0])
    assert np.allclose(result["opened"], np.square(weights).sum((1, 2)))


class Share(Metric):
    dims = ("feature",)
    bounds = (0.0, 1.0)
    material = 0.1
    monotone = "up"

    def at(self, model, task):
        return model.W.norm(dim=0).clamp(0, 1).numpy()


def test_what_a_metric_declares_is_with_its_values_however_often_they_are_saved(run, tmp_path):
    result = Share().over(run)
    assert result["share"].dims == ("step", "feature")
    for name in ("once.nc", "twice.nc"):
        result.to_netcdf(tmp_path / name, engine="h5netcdf")
        result = xr.load_dataset(tmp_path / name, engine="h5netcdf")
    known = result["share"].attrs
    assert (known["material"], known["valid_min"], known["valid_max"], known["monotone"]) == (0.1, 0.0, 1.0, "up")
    result["share"].values[:] = np.linspace(0, 1, 4)[:, None]
    steps = np.geomspace(1, 100, 30)
    curves, _ = curves_of(xr.Dataset({"share": ("step", np.linspace(0, 1, 30), known)}, coords={"step": steps}))
    assert (curves[0].bounds, curves[0].material, curves[0].monotone) == ((0.0, 1.0), 0.1, 1)


def test_an_analysis_with_declared_metrics_is_taken_up_from_its_cache(run, tmp_path):
    first, second = (analyze(run, metrics=[Share()], settings=QUICK, cache=tmp_path / "cache") for _ in range(2))
    second.save(tmp_path)
    assert first.trajectories["share"].identical(second.trajectories["share"])


@pytest.mark.parametrize("dims", [("feature",), ("step", "feature"), ("flat", "feature")])
def test_an_axis_without_a_usable_name_is_told(run, dims):
    class Flat(Metric):
        def at(self, model, task):
            return model.W.numpy()

    Flat.dims = dims
    with pytest.raises(DeviError, match=r"metric Flat: at\(\) gave an array of shape \(2, 6\), and dims = "):
        Flat().over(run)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (
            {"bounds": (1, 0)},
            r"bounds = \(1, 0\); expected \(low, high\) that increase, with None where there is none\.",
        ),
        ({"bounds": 1}, r"bounds = 1; expected \(low, high\) that increase"),
        ({"bounds": ("a", 1)}, r"bounds = \('a', 1\); expected \(low, high\)"),
        ({"monotone": "increasing"}, "monotone = 'increasing'; expected 'up' or 'down', or None"),
        ({"material": -1.0}, r"material = -1\.0; expected a size of 0 or more"),
    ],
)
def test_what_cannot_be_meant_is_told_by_itself(run, declared, told):
    wrong = type("Wrong", (Norm,), declared)
    with pytest.raises(DeviError, match=rf"^metric Wrong: {told}"):
        wrong().over(run)


@pytest.mark.parametrize(("bounds", "meant"), [((0, None), (0, np.inf)), ((None, 1), (-np.inf, 1))])
def test_none_is_no_bound(run, bounds, meant):
    known = type("Open", (Norm,), {"bounds": bounds})().over(run)["open"].attrs
    assert (known["valid_min"], known["valid_max"]) == meant


def test_complex_values_are_told_and_not_cut_to_their_real_part(run):
    class Spectrum(Metric):
        def at(self, model, task):
            return torch.fft.fft(model.W.flatten())

    with pytest.raises(DeviError, match=r"gave a Tensor at step 0 .*complex ones are taken by their \.real, \.imag"):
        Spectrum().over(run)


@pytest.mark.parametrize(
    ("name", "instead"),
    [("attn/entropy", "attn_entropy"), ("step", "value"), ("", "value"), ("..", "value"), ("a\nb", "a_b"), (3, "3")],
)
def test_a_name_that_the_file_cannot_take_is_told_after_the_first_checkpoint(run, name, instead):
    class Named(Metric):
        calls = 0

        def at(self, model, task):
            Named.calls += 1
            return {name: 1.0}

    with pytest.raises(DeviError, match=rf"metric named: .* cannot name a value or an axis.*For example: '{instead}'"):
        Named().over(run)
    assert Named.calls == 1


@pytest.mark.parametrize("declared", [{"name": "attn/entropy"}, {"dims": ("head/row",)}])
def test_a_label_or_an_axis_that_the_file_cannot_take_is_told_before_any_work(run, declared):
    with pytest.raises(DeviError, match=r"metric Declared: '(attn/entropy|head/row)' cannot name"):
        analyze(run, metrics=[type("Declared", (Norm,), declared)], settings=QUICK)


def test_names_of_whole_blocks_are_checked_too(run):
    class Block(Metric):
        def over(self, run):
            return xr.Dataset({"a/b": ("step", np.zeros(len(run)))}, coords={"step": run.steps})

    with pytest.raises(DeviError, match=r"metric block: 'a/b' cannot name a value or an axis.*For example: 'a_b'"):
        analyze(run, metrics=[Block], settings=QUICK)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["high"], r"gave a str at step 0 that is not made of numbers"),
        ([None], r"metric given: at\(\) gave None at step 0; expected a number, .* Does it end without a `return`\?"),
        ([1.0, None], r"gave None at step 1; expected a number"),
        (
            [{"a": 1.0, "b": None}],
            r"gave a dict at step 0 that is not made of numbers \(None is among them; .*give nan",
        ),
        ([[1.0, None]], r"gave a list at step 0 that is not made of numbers \(None is among them"),
        ([{"a": 1.0}, {"b": 1.0}], r"shapes \{'b': \(\)\} at step \d+; expected \{'a': \(\)\}, those of the first"),
        ([np.ones(2), np.ones(3)], r"shapes \{'given': \(3,\)\} at step \d+; expected \{'given': \(2,\)\}"),
    ],
)
def test_values_that_make_no_result_are_told_at_their_checkpoint(run, values, message):
    class Given(Metric):
        def at(self, model, task):
            return left.pop(0)

    left = list(values)
    with pytest.raises(DeviError, match=message):
        Given().over(run)
    assert left == []


def test_two_axes_of_one_name_and_two_lengths_are_told(run):
    class Rows(Metric):
        dims = ("feature",)

        def at(self, model, task):
            return model.W.norm(dim=1).numpy()

    with pytest.raises(DeviError, match="one name cannot have two lengths"):
        analyze(run, metrics=[Share(), Rows()], settings=QUICK)


def test_gradients_are_off_and_can_be_opened(run):
    class Slope(Metric):
        def at(self, model, task):
            assert not torch.is_grad_enabled()
            with torch.enable_grad():
                x, y = task.data("train")
                (gradient,) = torch.autograd.grad(task.loss(model(x), y).mean(), [model.b])
            return float(gradient.norm())

    assert (Slope().over(run)["slope"] > 0).all()


def test_a_tensor_of_any_precision_is_a_number(run):
    class Coarse(Metric):
        def at(self, model, task):
            return {str(dtype): model.W.sum().to(dtype) for dtype in (torch.bfloat16, torch.float16, torch.float64)}

    result = Coarse().over(run)
    assert np.allclose(result["torch.bfloat16"], result["torch.float64"], rtol=0.01)
    assert np.allclose(result["torch.float16"], result["torch.float64"], rtol=0.001, atol=1e-7)


def test_what_a_metric_draws_is_the_same_in_every_analysis_and_block_and_for_nobody_else(run):
    class Drawn(Metric):
        def at(self, model, task):
            return float(torch.randn(())) + np.random.normal()  # noqa: NPY002

    state = torch.get_rng_state()
    whole = Drawn().over(run)["drawn"].values
    assert torch.equal(torch.get_rng_state(), state)
    assert len(set(whole.tolist())) == 4
    assert np.array_equal(np.concatenate([Drawn().over(run.block(k, k + 2))["drawn"] for k in (0, 2)]), whole)


def test_what_a_metric_keeps_of_one_run_is_not_there_in_the_next(run):
    class Calls(Metric):
        count = 0

        def at(self, model, task):
            self.count += 1
            return self.count

    metric = Calls()
    for _ in range(2):
        assert analyze(run, metrics=[metric], settings=QUICK).trajectories["calls"].values.tolist() == [1, 2, 3, 4]


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
