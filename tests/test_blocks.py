import json
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
import xarray as xr

from devi.blocks import BLOCK, COPIES, _to_begin_with, block_size, over, resolved
from devi.cache import Cache
from devi.errors import DeviError
from devi.executors import Here
from devi.metrics.metric import Metric
from devi.tasks.superposition import Superposition
from devi.training import train


@dataclass(frozen=True)
class Greedy(Metric):
    """The step itself, for blocks of no more than `room` checkpoints."""

    room: int = 64
    asked: ClassVar[list[int]] = []

    def over(self, run):
        self.asked.append(len(run))
        if len(run) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return xr.Dataset({"greedy": ("step", run.steps.astype(float))})


@dataclass(frozen=True)
class Open(Metric):
    """One setting is decided by the run, and names a data set."""

    last: int | None = None
    on: str = "train"
    decided: ClassVar[list[int]] = []

    def resolved(self, run):
        self.decided.append(len(run))
        return replace(self, last=len(run))


class Complex(Metric):
    def over(self, run):
        return xr.Dataset({"amplitude": ("step", run.steps * 1j)})


class Whole(Greedy):
    whole_run = True


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(Superposition(steps=39, checkpoints="every:1"), tmp_path_factory.mktemp("runs") / "run")


def worked(metric, run, **options):
    notices = []
    Greedy.asked.clear()
    found = over(metric, run, options.pop("store", None), Here(), lambda share: None, note=notices.append, **options)
    assert np.array_equal(found["greedy"], run.steps)
    return list(Greedy.asked), notices


def test_a_block_is_a_power_of_two_within_the_memory():
    assert block_size(10, 1 << 40) == BLOCK
    assert block_size(1000, 4 * COPIES * 1000 * 11) == 8
    assert block_size(1000, 1) == 1


def test_memory_decides_how_many_checkpoints_are_worked_on_at_once(run):
    assert worked(Greedy(), run) == ([40], [])
    assert worked(Greedy(), run, memory=4 * COPIES * 18 * 20) == ([16, 16, 8], [])


def test_out_of_memory_halves_the_block_goes_on_and_says_so(run):
    asked, notices = worked(Greedy(room=11), run)
    assert asked == [40, 20, 10, 10, 10, 10]
    (notice,) = notices
    assert notice.startswith("greedy: 40 checkpoints at once were too many for the memory; goes on with 10.")
    assert notice.endswith("goes on with 10.")  # a megabyte holds more of 18 parameters


def test_the_memory_that_is_named_makes_blocks_of_what_went_well():
    for parameters, checkpoints, workers in ((300_000, 8, 1), (3_000_000, 1, 2), (50_000, 32, 3)):
        sentence = _to_begin_with(checkpoints, parameters, workers)
        memory = int(sentence.removeprefix(" To begin with so many: --memory ").removesuffix("M")) << 20
        assert block_size(parameters, memory // workers) == checkpoints


def test_a_later_block_begins_with_what_went_well(run):
    asked, notices = worked(Greedy(room=5), run, memory=4 * COPIES * 18 * 20)
    assert asked == [16, 8, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]
    assert len(notices) == 1


class Costly(Greedy):
    def outlook(self, run):
        return f"it takes {len(run)} s"


def test_only_the_cost_of_what_is_not_in_the_cache_is_told(run, tmp_path):
    store = Cache(tmp_path / "cache")
    blocks_of_16 = {"memory": 4 * COPIES * 18 * 16, "store": store}
    assert worked(Costly(), run, **blocks_of_16) == ([16, 16, 8], ["costly: it takes 40 s"])
    assert worked(Costly(), run, **blocks_of_16) == ([], [])
    for start, stop in ((0, 16), (32, 40)):
        store.block(Costly(), run.block(start, stop)).unlink()
    left = "costly: it takes 24 s for the 24 of 40 checkpoints that are left"
    assert worked(Costly(), run, **blocks_of_16) == ([16, 8], [left])


def test_a_halved_block_is_cached_like_any_other(run, tmp_path):
    worked(Greedy(room=11), run, store=Cache(tmp_path))
    assert worked(Greedy(room=11), run, store=Cache(tmp_path)) == ([], [])


def test_one_checkpoint_that_does_not_fit_is_an_error_that_says_what_to_do(run):
    with pytest.raises(DeviError, match=r"metric greedy: one checkpoint does not fit into memory \(CUDA out of memory"):
        worked(Greedy(room=0), run)


def test_a_metric_of_the_whole_run_is_not_cut(run):
    with pytest.raises(DeviError, match="a run of 40 checkpoints does not fit into memory"):
        worked(Whole(room=11), run)


def test_other_errors_are_not_taken_for_it(run, monkeypatch):
    monkeypatch.setattr(Greedy, "over", lambda self, run: torch.ones(2, 3) @ torch.ones(2, 3))
    with pytest.raises(DeviError, match="shapes cannot be multiplied"):
        worked(Greedy(), run)


@dataclass(frozen=True)
class Loose(Metric):
    """Decides settings of other types, and in another order, than they are read back in."""

    share: float | None = None
    by_step: dict[str, float] = field(default_factory=dict, hash=False)
    sides: tuple[int, ...] = ()

    def resolved(self, run):
        return replace(self, share=1, by_step={"8": 1, "10": 2}, sides=[1, 2])


def test_what_was_decided_just_now_is_what_is_read_back(tmp_path, run):
    ready = [resolved(Loose(), run, Cache(tmp_path / "cache"), lambda share: None) for _ in range(2)]
    assert repr(ready[0]) == repr(ready[1])
    first, second = (Cache(tmp_path / "cache").block(each, run.block(0, 8)) for each in ready)
    assert first == second


@dataclass(frozen=True)
class Prepared(Metric):
    share: float | None = None
    progresses = True

    def preparation(self, run):
        return f"deciding takes {len(run)} s"

    def resolved(self, run, progress=None):
        progress(0.5)
        return replace(self, share=0.1)


def test_what_deciding_costs_is_told_before_it_is_done_and_not_where_it_was_done(tmp_path, run):
    for store in (None, Cache(tmp_path / "cache")):
        told = []
        resolved(Prepared(), run, store, told.append, told.append)
        assert told == [0.0, "prepared: deciding takes 40 s", 0.5]
    told.clear()
    resolved(Prepared(), run, store, told.append, told.append)
    assert told == []


def test_a_metric_that_decides_nothing_stays_the_same_object(tmp_path, run):
    metric = Greedy()
    for _ in range(2):
        assert resolved(metric, run, Cache(tmp_path / "cache"), lambda share: None) is metric


@pytest.mark.parametrize(
    ("forged", "last"),
    [
        ({"last": 7, "on": "train"}, 7),
        ({"last": 7, "on": "evil.py:data"}, 40),
        ({"last": 7}, 40),
        ([], 40),
        ("{", 40),
    ],
)
def test_a_decision_is_taken_from_the_cache_but_no_name_from_a_strangers_report(tmp_path, run, forged, last):
    Open.decided.clear()
    store = Cache(tmp_path / "cache")
    assert resolved(Open(), run, store, lambda share: None) == Open(40)
    path = store.resolution(Open(), run)
    path.write_text(forged if isinstance(forged, str) else json.dumps(forged))
    assert resolved(Open(), run, store, lambda share: None) == Open(last)
    assert len(Open.decided) == 1 + (last == 40)


def test_an_error_in_a_users_metric_is_told_with_its_line_and_is_no_bug_of_ours(run):
    class Broken(Metric):
        def at(self, model, task):
            return {"value": model.absent}

    line = Broken.at.__code__.co_firstlineno + 1
    told = rf"metric Broken: at\(\) at step 0 failed with AttributeError: .*absent.* \(test_blocks.py, line {line}\)"
    with pytest.raises(DeviError, match=told):
        over(Broken(), run, None, Here(), lambda share: None)


def test_a_metric_of_gradients_is_told_how_to_have_them(run):
    class GradientNorm(Metric):
        def at(self, model, task):
            model.W.square().sum().backward()
            return model.W.grad.norm()

    with pytest.raises(DeviError, match=r"does not require grad.*off here: .* within `with torch\.enable_grad\(\):`$"):
        over(GradientNorm(), run, None, Here(), lambda share: None)


class Travelled(Metric):
    """Distance from the checkpoint before: what `at` keeps of it is in no other block."""

    before = None

    def at(self, model, task):
        now = model.W.flatten().clone()
        moved = np.nan if self.before is None else float((now - self.before).norm())
        self.before = now
        return moved


def test_what_a_metric_keeps_of_the_checkpoint_before_is_not_lost_silently_between_blocks(run):
    class InOnePiece(Travelled):
        name = "travelled"
        whole_run = True

    smaller = {"memory": 4 * COPIES * 18 * 16}
    moved = np.linalg.norm(np.diff(run.parameters()["W"].reshape(40, -1), axis=0), axis=1)
    for metric, options in ((Travelled, {}), (InOnePiece, {}), (InOnePiece, smaller)):
        found = over(metric(), run, None, Here(), lambda share: None, **options)["travelled"]
        assert np.allclose(found, [np.nan, *moved], equal_nan=True)
    with pytest.raises(DeviError, match=r"metric Travelled: at\(\) changes self\.before .* say whole_run = True"):
        over(Travelled(), run, None, Here(), lambda share: None, **smaller)


def test_what_a_metric_computes_once_and_uses_again_is_no_state(run):
    class Cached(Metric):
        inputs = None

        def at(self, model, task):
            if self.inputs is None:
                self.inputs = task.data("test").inputs
            return float(model(self.inputs).mean())

    whole, parts = (
        over(Cached(), run, None, Here(), lambda share: None, memory=memory)["cached"]
        for memory in (None, 4 * COPIES * 18 * 16)
    )
    assert np.array_equal(whole, parts)


class Two(Here):
    workers = 2


def test_complex_numbers_of_a_metric_over_all_checkpoints_are_refused(run):
    with pytest.raises(DeviError, match=r"metric complex: 'amplitude' has complex numbers; expected real ones"):
        over(Complex(), run, None, Here(), lambda share: None)


@pytest.mark.parametrize(
    ("given", "told"), [(None, "None; .*Does it end without a `return`"), (1.5, "1.5; expected an xarray")]
)
def test_a_metric_over_all_checkpoints_that_gives_no_dataset_is_told(run, given, told):
    class Given(Metric):
        def over(self, run):
            return given

    with pytest.raises(DeviError, match=rf"metric given: over\(run\) gave {told}"):
        over(Given(), run, None, Here(), lambda share: None)


def test_each_worker_has_a_block(run):
    Greedy.asked.clear()
    over(Greedy(), run, None, Two(), lambda share: None)
    assert Greedy.asked == [32, 8]


def test_a_block_that_is_done_before_those_in_front_of_it_is_kept_at_once(run, tmp_path):
    class Stopped(Here):
        workers = 2

        def done(self, function, items):
            yield 1, function(items[1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        over(Greedy(), run, Cache(tmp_path), Stopped(), lambda share: None)
    Greedy.asked.clear()
    found = over(Greedy(), run, Cache(tmp_path), Two(), lambda share: None)
    assert Greedy.asked == [32]
    assert np.array_equal(found["greedy"], run.steps)


def test_a_damaged_result_in_the_cache_is_computed_anew(run, tmp_path):
    store = Cache(tmp_path)
    worked(Greedy(), run, store=store)
    (path,) = tmp_path.glob("greedy-*.nc")
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no HDF5" * 100):
        path.write_bytes(damaged)
        assert worked(Greedy(), run, store=store) == ([40], [])
    assert worked(Greedy(), run, store=store) == ([], [])


class Rising(Greedy):
    """What `over` gives carries what the class declares, unless it says it itself."""

    monotone = "up"
    bounds = (0, None)
    material = 0.5

    def over(self, run):
        values = run.steps.astype(float)
        return xr.Dataset({"rising": ("step", values, {"material": 2.0}), "other": ("step", values)})


class Sideways(Rising):
    monotone = "sideways"


def test_what_a_metric_declares_holds_for_its_own_over_too(run):
    found = over(Rising(), run, None, Here(), lambda share: None)
    assert found["rising"].attrs == {"monotone": "up", "valid_min": 0.0, "valid_max": np.inf, "material": 2.0}
    assert found["other"].attrs == {}
    with pytest.raises(DeviError, match="metric Sideways: monotone = 'sideways'; expected 'up' or 'down', or None"):
        over(Sideways(), run, None, Here(), lambda share: None)


class Hungry(Greedy):
    progresses = True

    def resolved(self, run, progress=None):
        raise MemoryError("no room")


def test_settings_that_do_not_fit_into_memory_are_an_error_that_says_what_to_do(run):
    with pytest.raises(DeviError, match=r"metric hungry: choosing its settings does not fit into memory \(no room\)"):
        resolved(Hungry(), run, None, lambda share: None)
