from dataclasses import dataclass
from typing import Annotated

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import Field

from devi.analysis import analyze, intact
from devi.blocks import COPIES
from devi.checkpoints.reader import open_run
from devi.checkpoints.writer import Recorder
from devi.errors import DeviError
from devi.executors import Processes
from devi.metrics.learning_coefficient import LearningCoefficient
from devi.metrics.metric import Metric
from devi.sampling.sample import sample
from devi.task import Batch, Task
from devi.tasks.superposition import Superposition
from devi.training import train


class Small(Superposition):
    def metrics(self):
        return ("losses", "norms")


@dataclass(frozen=True)
class Counted(Metric):
    """The first weight times a factor; counts its calls."""

    factor: Annotated[float, Field(gt=0)] = 1.0
    calls = 0

    def at(self, model, task):
        Counted.calls += 1
        return self.factor * float(model.W[0, 0])


class Product(torch.nn.Module):
    """A diagonal linear network: no weight matrix."""

    def __init__(self):
        super().__init__()
        self.u, self.v = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(0.1 * torch.ones(3))

    def forward(self, x):
        return x @ (self.u * self.v)


class Pair(Product):
    """Gives two tensors, which only the task's own loss can read."""

    def forward(self, x):
        return super().forward(x), self.u


@dataclass(frozen=True)
class Diagonal(Task):
    pair: bool = False
    steps: int = 2
    checkpoints: str = "every:1"

    def model(self):
        return Pair() if self.pair else Product()

    def data(self, split):
        x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        return Batch(x, x.sum(1)) if split == "train" else None

    def loss(self, outputs, targets):
        return ((outputs[0] if self.pair else outputs) - targets).square()


FEW_DRAWS = {"llc": {"step_size": 1e-3, "localization": 1.0, "burn_in": 0, "draws": 2, "chains": 2, "batch_size": 20}}


@pytest.fixture
def run(tmp_path):
    return train(Small(steps=150, checkpoints="every:1"), tmp_path / "run")


def test_every_checkpoint_has_a_value_of_every_metric(run):
    found = analyze(run, metrics=[Counted]).trajectories
    assert found["step"].values.tolist() == list(range(151))
    assert np.array_equal(found["counted"], run.parameters()["W"][:, 0, 0].astype(float))
    assert np.allclose(found["train_loss"], run.scalars["train_loss"], rtol=1e-5)


def test_a_second_analysis_computes_nothing_and_finds_the_same(run, tmp_path):
    first = analyze(run, metrics=[Counted], cache=tmp_path / "cache")
    Counted.calls = 0
    second = analyze(run, metrics=[Counted], cache=tmp_path / "cache")
    assert Counted.calls == 0
    xr.testing.assert_identical(first.trajectories, second.trajectories)


@pytest.fixture
def sampled(monkeypatch):
    """The first steps of the blocks that were sampled."""
    steps, real = [], LearningCoefficient.over

    def counted(self, block, progress=None):
        steps.append(int(block.steps[0]))
        return real(self, block, progress)

    monkeypatch.setattr(LearningCoefficient, "over", counted)
    return steps


def few_checkpoints(tmp_path, **options):
    """An analysis of 12 checkpoints in blocks of 4, with as much calibrated as a short run has time for."""
    run = train(Superposition(features=3, steps=11, checkpoints="every:1"), tmp_path / "run", resume=True)
    quick = {"llc": {"draws": 40, "burn_in": 20}}
    memory = 4 * COPIES * run.parameter_count * 4
    return analyze(run, settings=quick, cache=tmp_path / "cache", memory=memory, **options)


def blocks_of_llc(tmp_path):
    return {path.name for path in (tmp_path / "cache").glob("llc-*.nc")}


def test_calibrated_blocks_are_found_again_and_nothing_is_sampled_twice(tmp_path, sampled):
    first = few_checkpoints(tmp_path)
    names = blocks_of_llc(tmp_path)
    assert sampled == [0, 4, 8]
    assert len(names) == 3
    second = few_checkpoints(tmp_path)
    assert sampled == [0, 4, 8]
    assert blocks_of_llc(tmp_path) == names
    xr.testing.assert_identical(first.trajectories, second.trajectories)
    assert list(first.settings["llc"]["moves"]) == list(second.settings["llc"]["moves"])


def test_an_interrupted_analysis_keeps_the_blocks_that_were_sampled(tmp_path, sampled):
    def interrupt(what, share):
        if what == "llc" and share > 0.7:  # in the third block of three
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        few_checkpoints(tmp_path, progress=interrupt)
    names = blocks_of_llc(tmp_path)
    assert sampled == [0, 4, 8]
    few_checkpoints(tmp_path)
    assert sampled == [0, 4, 8, 8]
    assert names < blocks_of_llc(tmp_path)


def test_a_killed_analysis_goes_on_where_it_was(run, tmp_path):
    class Kill(Exception):
        pass

    def kill(what, share):
        if what == "counted" and share >= 1 / 3:
            raise Kill

    with pytest.raises(Kill):
        analyze(run, metrics=[Counted], cache=tmp_path / "cache", progress=kill)
    Counted.calls = 0
    analyze(run, metrics=[Counted], cache=tmp_path / "cache")
    assert Counted.calls == 151 - 64  # the first block of 64 was finished


def test_who_goes_back_to_former_settings_and_metrics_computes_nothing(run, tmp_path):
    def doubled():
        return analyze(run, metrics=[Counted], settings={"counted": {"factor": 2}}, cache=tmp_path / "cache")

    first = doubled()
    analyze(run, cache=tmp_path / "cache")
    Counted.calls = 0
    xr.testing.assert_identical(doubled().trajectories, first.trajectories)
    assert Counted.calls == 0


def test_what_a_killed_analysis_left_is_cleared_by_one_from_the_cache(run, tmp_path):
    analyze(run, cache=tmp_path / "cache")
    leftover = tmp_path / "cache" / f"losses-1.{1 << 80}.tmp"
    leftover.write_bytes(b"cut short")
    analyze(run, cache=tmp_path / "cache")
    assert not leftover.exists()


class Failing(Metric):
    def at(self, model, task):
        return 1 / 0


class Clashing(Metric):
    def at(self, model, task):
        return {"weight_norm": 1.0}


@pytest.mark.parametrize(
    ("own", "told"),
    [(Failing, "metric Failing: .* ZeroDivisionError"), (Clashing, "norms and clashing both give 'weight_norm'")],
)
def test_a_mistake_in_a_metric_is_told_before_anything_is_sampled(tmp_path, sampled, own, told):
    with pytest.raises(DeviError, match=told):
        few_checkpoints(tmp_path, metrics=[own])
    assert not sampled


def test_metrics_are_reported_in_the_order_they_are_planned_in(tmp_path):
    analysis = few_checkpoints(tmp_path, metrics=[Counted])
    planned = [*Superposition().metrics(), "counted"]
    assert list(analysis.settings) == [*planned, "transitions"]
    assert list(analysis.seconds) == [*planned, "transitions"]
    variables = list(analysis.trajectories.data_vars)
    assert variables.index("llc") < variables.index("counted")


def test_a_changed_setting_recomputes_only_that_metric(run, tmp_path):
    analyze(run, metrics=[Counted, "tickets"], cache=tmp_path / "cache")
    Counted.calls = 0
    analyze(run, metrics=[Counted, "tickets"], settings={"tickets": {"kept_fraction": 0.3}}, cache=tmp_path / "cache")
    assert Counted.calls == 0
    doubled = analyze(run, metrics=[Counted], settings={"counted": {"factor": 2}}, cache=tmp_path / "cache")
    assert Counted.calls == 151
    assert np.allclose(doubled.trajectories["counted"], 2 * run.parameters()["W"][:, 0, 0].astype(float))


def test_a_longer_run_of_the_same_checkpoints_reuses_full_blocks(tmp_path):
    task = Small(steps=150, checkpoints="every:1")
    run = train(task, tmp_path / "run")
    analyze(run.select(np.arange(64)), metrics=[Counted], cache=tmp_path / "cache")
    Counted.calls = 0
    analyze(run, metrics=[Counted], cache=tmp_path / "cache")
    assert Counted.calls == 151 - 64


def test_a_checkpoint_with_nan_is_named_and_left_out(tmp_path):
    task = Small()
    model = task.model()
    with Recorder(tmp_path / "run", task) as record:
        for step in range(12):
            record(step, model)
            with torch.no_grad():
                model.W += 0.1
                broken = model.W[0, 0].clone()
                model.W[0, 0] = float("nan") if step == 6 else broken
                if step == 7:
                    model.W[0, 0] = 1.0
    run = open_run(tmp_path / "run", task)
    analysis = analyze(run)
    assert 7 not in analysis.trajectories["step"]
    assert analysis.trajectories.sizes["step"] == 11
    assert analysis.notices == ["step 7 is left out: parameter 'W' has values that are not finite."]


def test_complex_parameters_that_are_not_finite_are_left_out_too(tmp_path):
    class Turned(Small):
        def model(self):
            model = super().model()
            model.phase = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
            return model

    task = Turned()
    model = task.model()
    with Recorder(tmp_path / "run", task, state={}) as record:
        for step in (0, 1):
            record(step, model)
            model.phase.data[0] = complex(0, float("nan"))
    whole, notices = intact(open_run(tmp_path / "run", Turned))
    assert whole.steps.tolist() == [0]
    assert notices == ["step 1 is left out: parameter 'phase' has values that are not finite."]


def test_a_run_of_nothing_but_nan_is_an_error(tmp_path):
    task = Small()
    model = task.model()
    with torch.no_grad():
        model.W.fill_(torch.inf)
    with Recorder(tmp_path / "run", task) as record:
        record(0, model)
    with pytest.raises(DeviError, match="of its 1 checkpoint none has parameters that are all finite"):
        intact(open_run(tmp_path / "run", task))


def test_one_single_checkpoint_still_has_its_metrics(tmp_path):
    task = Superposition()
    with Recorder(tmp_path / "run", task) as record:
        record(40, task.model())
    analysis = analyze(open_run(tmp_path / "run", task))
    assert analysis.transitions == []
    for name in ("train_loss", "weight_norm", "feature_norm", "llc", "llc_se"):
        assert np.isfinite(analysis.trajectories[name]).all(), name


def test_processes_give_the_same_numbers_as_here(run):
    here = analyze(run, metrics=["tickets"]).trajectories
    there = analyze(run, metrics=["tickets"], executor=Processes(2)).trajectories
    xr.testing.assert_identical(here, there)


def test_what_is_saved_opens_with_xarray(run, tmp_path):
    analysis = analyze(run)
    path = analysis.save(tmp_path / "out")
    with xr.open_dataset(path, engine="h5netcdf") as stored:
        xr.testing.assert_equal(stored.load().drop_attrs(), analysis.trajectories.drop_attrs())
        assert stored["train_loss"].attrs["units"] == "squared error"


def test_an_analysis_is_saved_beside_another_that_is_being_saved(run, tmp_path):
    analysis, out = analyze(run), tmp_path / "out"
    out.mkdir()
    with h5py.File(out / "analysis.tmp", "w"):  # what both used to be written to
        path = analysis.save(out)
    assert sorted(each.name for each in out.iterdir()) == ["analysis.h5", "analysis.tmp"]
    with xr.open_dataset(path, engine="h5netcdf") as stored:
        assert stored.sizes["step"] == len(run)


def test_a_name_that_the_task_itself_gives_is_told_as_its_own(run, monkeypatch):
    monkeypatch.setattr(type(run.task), "metrics", lambda self: ["losses", "tikets"])
    words = r"\.metrics\(\) returned 'tikets': no metric is called 'tikets'\. Did you mean 'tickets'"
    with pytest.raises(DeviError, match=type(run.task).__name__ + words):
        analyze(run)


def test_unknown_metrics_and_settings_suggest_the_nearest(run):
    with pytest.raises(DeviError, match="no metric is called 'tikets'. Did you mean 'tickets'"):
        analyze(run, metrics=["tikets"])
    with pytest.raises(DeviError, match=r"called 'kept'\. Did you mean 'kept_fraction'"):
        analyze(run, metrics=["tickets"], settings={"tickets": {"kept": 0.3}})
    with pytest.raises(DeviError, match="settings are given for metric 'fourier', which is not among those run here"):
        analyze(run, settings={"fourier": {"per_checkpoint": True}})
    with pytest.raises(DeviError, match="no metric is called 'ticket'. Did you mean 'tickets'"):
        analyze(run, settings={"ticket": {"kept_fraction": 0.3}})


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"metrics": "losses"}, r"a list of metrics: metrics=\['losses'\]"),
        ({"metrics": Counted}, r"the class Counted; expected a list of metrics: metrics=\[Counted\]"),
        ({"metrics": None}, "metrics is None"),
        ({"metrics": [3]}, "a metric is 3, of class int; expected a name, or a subclass of devi.Metric"),
        ({"settings": "llc"}, "settings is 'llc', of class str; expected those of each metric"),
        ({"settings": {"llc.chains": 3}}, r"expected .* settings=\{'llc': \{'chains': 3\}\}"),
        ({"settings": {"llc": 3}}, r"settings\['llc'\] is 3, of class int; expected names and values"),
    ],
)
def test_metrics_and_settings_of_another_kind_are_told_with_what_to_type(run, given, text):
    with pytest.raises(DeviError, match=text):
        analyze(run, **given)


@pytest.mark.parametrize("call", [analyze, sample])
def test_a_path_instead_of_a_run_is_told_to_be_opened(call):
    with pytest.raises(DeviError, match=r"the run is 'runs/a', of class str; .* devi\.open_run\('runs/a'\)"):
        call("runs/a")


@pytest.mark.parametrize(
    ("pair", "left_out", "reason"),
    [
        (False, {"tickets"}, "no parameter of two or more dimensions to mask; it has u (3,), v (3,)."),
        (True, {"tickets", "losses"}, "model.forward(inputs) returned a tuple; expected one Tensor (example, ...)."),
    ],
)
def test_a_default_metric_that_does_not_suit_the_model_is_left_out_with_a_notice(tmp_path, pair, left_out, reason):
    run = train(Diagonal(pair), tmp_path / "run")
    found = analyze(run, settings=FEW_DRAWS)
    assert {"weight_norm", "llc", "train_loss"} <= set(found.trajectories)
    assert not [name for name in found.trajectories if str(name).startswith("ticket")]
    assert {notice.split()[1] for notice in found.notices} == left_out
    assert any(reason in notice for notice in found.notices)
    assert set(found.settings) == {"losses", "norms", "tickets", "llc", "transitions"} - left_out


@pytest.mark.parametrize("asked", [{"metrics": ["tickets"]}, {"settings": {"tickets": {"keep_masks": True}}}])
def test_a_metric_that_was_asked_for_and_does_not_suit_the_model_says_where_to_leave_it_out(tmp_path, asked):
    with pytest.raises(DeviError, match=r"u \(3,\), v \(3,\)\. Leave 'tickets' out of Diagonal\.metrics\(\), --metric"):
        analyze(train(Diagonal(), tmp_path / "run"), **asked)
    if "settings" in asked:
        with pytest.raises(DeviError, match=r"settings: --keep-masks or --set tickets\.keep_masks\.$"):
            analyze(train(Diagonal(), tmp_path / "other"), **asked)


def test_a_metric_that_the_task_names_and_does_not_suit_the_model_says_where_to_leave_it_out(tmp_path):
    class Named(Diagonal):
        def metrics(self):
            return ("tickets",)

    with pytest.raises(DeviError, match=r"Leave 'tickets' out of Named\.metrics\(\), --metric and the settings\."):
        analyze(train(Named(), tmp_path / "run"))


def test_a_declaration_that_the_values_contradict_is_told(run):
    class Beyond(Metric):
        bounds = (0.0, 1.0)

        def at(self, model, task):
            return 3.0

    (notice,) = analyze(run, metrics=[Beyond]).notices
    assert notice.startswith("beyond is declared to stay within 0 and 1, and is 3 at step 0")


def test_a_value_that_is_nan_at_every_checkpoint_is_told_in_a_notice(run):
    class Hollow(Metric):
        def at(self, model, task):
            seen = float("nan") if model.W[0, 0] == first else 1.0
            return {"never": float("nan"), "row": np.full(2, np.nan), "never_se": np.nan, "mostly": seen}

    first = torch.tensor(run.parameters(0)["W"][0, 0])
    assert analyze(run, metrics=[Hollow]).notices == [
        f"metric hollow: '{name}' is nan at every checkpoint, so that there is nothing to follow."
        for name in ("never", "row")
    ]


def test_data_that_are_drawn_anew_each_time_are_told_to_be_seeded(tmp_path):
    class Drawn(Small):
        def data(self, split):
            return Batch(*(torch.rand_like(part) for part in super().data(split)))

    (notice,) = analyze(train(Drawn(steps=2), tmp_path / "run")).notices
    assert "(their hash differs)" in notice
    assert notice.endswith(
        "Seed a generator there, so that each call gives the same: torch.Generator().manual_seed(self.seed)."
    )


def test_two_metrics_of_one_variable_are_refused(run):
    class TrainLoss(Metric):
        name = "mine"

        def at(self, model, task):
            return {"train_loss": 0.0}

    with pytest.raises(DeviError, match="metrics losses and mine both give 'train_loss'; rename one of them"):
        analyze(run, metrics=[TrainLoss])
