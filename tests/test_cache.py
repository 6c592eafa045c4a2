from dataclasses import dataclass

import numpy as np
import xarray as xr

from devi.cache import Cache
from devi.metrics.metric import Metric
from devi.tasks.superposition import Superposition
from devi.training import train


@dataclass(frozen=True)
class Mine(Metric):
    factor: float = 1.0


def names(tmp_path, run, metric, start, stop):
    return Cache(tmp_path / "cache").block(metric, run.block(start, stop)).name


def test_a_name_depends_on_settings_checkpoints_and_what_came_before(tmp_path):
    run = train(Superposition(steps=40, checkpoints="every:1"), tmp_path / "a")
    again = train(Superposition(steps=40, checkpoints="every:1"), tmp_path / "b")
    other = train(Superposition(steps=40, checkpoints="every:1", seed=1), tmp_path / "c")
    first = names(tmp_path, run, Mine(), 10, 20)
    assert first == names(tmp_path, run, Mine(), 10, 20)
    different = {
        first,
        names(tmp_path, run, Mine(2.0), 10, 20),
        names(tmp_path, run, Mine(), 10, 21),
        names(tmp_path, run, Mine(), 11, 21),
        names(tmp_path, other, Mine(), 10, 20),
        names(tmp_path, run.select(np.arange(9, 41)), Mine(), 0, 10),  # the same checkpoints 9 to 18, none before
        names(tmp_path, again, Mine(), 12, 20),
    }
    assert len(different) == 7


def test_what_is_saved_is_loaded_and_what_is_unused_is_pruned(tmp_path):
    run = train(Superposition(steps=4, checkpoints="every:1"), tmp_path / "run")
    cache = Cache(tmp_path / "cache")
    result = xr.Dataset({"mine": ("step", np.arange(5.0))}, coords={"step": run.steps})
    path = cache.block(Mine(), run.block(0, 5))
    cache.save(path, result)
    xr.testing.assert_identical(cache.load(path), result)
    fresh = Cache(tmp_path / "cache")
    fresh.prune()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_half_written_file_does_not_count(tmp_path):
    run = train(Superposition(steps=4, checkpoints="every:1"), tmp_path / "run")
    cache = Cache(tmp_path / "cache")
    path = cache.block(Mine(), run.block(0, 5))
    path.with_suffix(".123.tmp").write_bytes(b"cut short")
    assert not path.is_file()
    cache.prune()
    assert list((tmp_path / "cache").iterdir()) == []
