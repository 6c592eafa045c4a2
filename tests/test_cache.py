import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
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


@dataclass(frozen=True)
class Several(Metric):
    by_step: dict[str, float]


def test_a_name_depends_on_no_order_of_keys(tmp_path):
    run = train(Superposition(steps=4, checkpoints="every:1"), tmp_path / "run")
    one, other = Several({"8": 0.1, "10": 0.2}), Several({"10": 0.2, "8": 0.1})
    assert names(tmp_path, run, one, 0, 5) == names(tmp_path, run, other, 0, 5)


class Scaled(Metric):
    """Not a dataclass, so without settings: what it was made with is in its attributes."""

    def __init__(self, factor=1.0, kept=None):
        self.factor, self.kept = factor, kept

    def at(self, model, task):
        return self.factor


def test_a_name_depends_on_what_an_object_without_settings_was_made_with(tmp_path):
    run = train(Superposition(steps=4, checkpoints="every:1"), tmp_path / "run")
    assert names(tmp_path, run, Scaled(2.0), 0, 5) == names(tmp_path, run, Scaled(2.0), 0, 5)
    assert names(tmp_path, run, Scaled(2.0), 0, 5) != names(tmp_path, run, Scaled(3.0), 0, 5)
    ours = [names(tmp_path, run, Scaled(kept=torch.full((2,), value)), 0, 5) for value in (1.0, 1.0, 2.0)]
    assert (ours[0] == ours[1], ours[0] == ours[2]) == (True, False)
    assert names(tmp_path, run, Scaled(kept=lambda: 1), 0, 5) == names(tmp_path, run, Scaled(kept=lambda: 2), 0, 5)


def test_what_was_typed_into_a_notebook_is_computed_anew_since_nobody_sees_whether_it_was_edited(tmp_path):
    run = train(Superposition(steps=4, checkpoints="every:1"), tmp_path / "run")
    typed = {"Metric": Metric, "__name__": "a_notebook"}
    exec("class Typed(Metric):\n    def at(self, model, task):\n        return 1.0", typed)
    assert names(tmp_path, run, typed["Typed"](), 0, 5) != names(tmp_path, run, typed["Typed"](), 0, 5)


def saved(cache, run, factor=1.0):
    """The file of a block of 5 values."""
    path = cache.block(Mine(factor), run.block(0, 5))
    cache.save(path, xr.Dataset({"mine": ("step", factor * np.arange(5.0))}, coords={"step": run.steps}))
    return path


def test_what_is_saved_is_loaded_and_stays_when_other_settings_are_used(tmp_path):
    run = train(Superposition(steps=4, checkpoints="every:1"), tmp_path / "run")
    path = saved(Cache(tmp_path / "cache"), run)
    other = Cache(tmp_path / "cache")
    saved(other, run, 2.0)
    other.prune()
    assert np.array_equal(other.load(path)["mine"], np.arange(5.0))


def test_a_result_of_which_one_byte_is_another_is_not_used(tmp_path):
    cache, result = Cache(tmp_path), xr.Dataset({"mine": ("step", np.arange(40.0))}, coords={"step": np.arange(40)})
    path = tmp_path / "mine.nc"
    cache.save(path, result)
    assert cache.load(path).identical(result)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert cache.load(path) is None
    for end in (0, 1, 15, 16, 17, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert cache.load(path) is None


def test_beyond_its_size_what_was_not_used_for_longest_goes_first(tmp_path, monkeypatch):
    run = train(Superposition(steps=4, checkpoints="every:1"), tmp_path / "run")
    paths = [saved(Cache(tmp_path / "cache"), run, factor) for factor in (1.0, 2.0, 3.0, 4.0)]
    for age, path in enumerate(paths):
        os.utime(path, (1e9 - age, 1e9 - age))
    last = Cache(tmp_path / "cache")
    for factor in (3.0, 4.0):  # of which the first is found again
        last.block(Mine(factor), run.block(0, 5))
    last.used.clear()
    last.block(Mine(4.0), run.block(0, 5))
    monkeypatch.setattr("devi.cache.MOST_UNUSED", 2 * paths[0].stat().st_size)
    last.prune()
    assert {path for path in paths if path.exists()} == {paths[0], paths[2], paths[3]}
    monkeypatch.setattr("devi.cache.MOST_UNUSED", 0)
    last.prune()
    assert [path for path in paths if path.exists()] == [paths[3]]


def test_what_a_killed_analysis_was_writing_does_not_count_and_is_cleared_but_not_what_another_writes_now(tmp_path):
    run = train(Superposition(steps=4, checkpoints="every:1"), tmp_path / "run")
    cache = Cache(tmp_path / "cache")
    cache.clear()  # there is no folder yet
    path = cache.block(Mine(), run.block(0, 5))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    alive, *dead = (
        path.with_name(f".{path.name}.{number}.tmp") for number in (os.getppid(), ended.pid, "no-number", 1 << 80)
    )
    for leftover in (alive, *dead):
        leftover.write_bytes(b"cut short")
    assert not path.is_file()
    cache.clear()
    cache.prune()
    assert list((tmp_path / "cache").iterdir()) == [alive]


def test_an_interrupt_while_a_result_is_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(self, path, engine):
        path.write_bytes(b"cut short")
        raise KeyboardInterrupt

    run = train(Superposition(steps=4, checkpoints="every:1"), tmp_path / "run")
    monkeypatch.setattr(xr.Dataset, "to_netcdf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        saved(Cache(tmp_path / "cache"), run)
    assert list((tmp_path / "cache").iterdir()) == []


def plugged(tmp_path, text, helper="SCALE = 1\n"):
    """The name of a task's block when its file, the helper it imports and the data it reads are as given."""
    (tmp_path / "helper_of_cached.py").write_text(helper)
    (tmp_path / "cached.py").write_text(text)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import numpy as np\nfrom pathlib import Path\nfrom devi.cache import Cache\nfrom devi.plugins import load\n"
        "from devi.metrics.norms import Norms\n"
        "class Block:\n    start, digests = 0, np.zeros((2, 16), np.uint8)\n"
        f"Block.task = load('task', {str(tmp_path / 'cached.py')!r} + ':Cached')()\n"
        f"print(Cache(Path({str(tmp_path / 'cache')!r})).block(Norms(), Block).name)"
    )
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.slow  # exact, no false alarms: it starts processes
def test_an_edited_file_helper_or_data_file_gives_another_name(tmp_path):
    text = (
        "import torch\nfrom helper_of_cached import SCALE\nfrom devi import Batch\n"
        "from devi.tasks.superposition import Superposition\n"
        "class Cached(Superposition):\n    def data(self, split):\n"
        f"        x = torch.full((3, 6), float(open({str(tmp_path / 'data')!r}).read()))\n        return Batch(x, x)\n"
    )
    (tmp_path / "data").write_text("1")
    first = plugged(tmp_path, text)
    assert plugged(tmp_path, text) == first
    assert plugged(tmp_path, text + "# edited\n") != first
    assert plugged(tmp_path, text, helper="SCALE = 7\n") != first
    (tmp_path / "data").write_text("2")
    assert plugged(tmp_path, text) != first
