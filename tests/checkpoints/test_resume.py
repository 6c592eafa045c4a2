"""Resume: what goes on is bit for bit what was stopped, whatever state the loop has and whatever the stop left."""

from __future__ import annotations

import copy
import os
import random
import re
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints import keeper, resume, userblock
from devi.checkpoints import store as store_module
from devi.checkpoints.repair import repair
from devi.checkpoints.state import random_states, set_random_states

STEPS = 40


class Stop(Exception):
    pass


class Loop:
    """A user's loop with all kinds of state: dropout, batch norm, a moving average, a loss scaler, four generators."""

    def __init__(self):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - a user's loop may draw from the global generators
        random.seed(0)
        self.model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 1))
        self.model.register_buffer("noise", torch.zeros(3), persistent=False)
        self.average = torch.optim.swa_utils.AveragedModel(self.model, avg_fn=lambda old, new, _: 0.9 * old + 0.1 * new)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, max_lr=0.05, total_steps=STEPS + 1)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=5)
        self.order, self.augment, self.drawn = torch.Generator(), np.random.default_rng(1), random.Random(2)
        self.data = torch.randn(24, 3, generator=torch.Generator().manual_seed(3))

    @property
    def state(self):
        names = ["average", "optimizer", "scheduler", "scaler", "order", "augment", "drawn"]
        return {name: getattr(self, name) for name in names}

    def step(self):
        chosen = torch.randperm(24, generator=self.order)[:8]
        inputs = self.data[chosen] * self.augment.uniform(0.9, 1.1) + self.model.noise
        targets = inputs.sum(1, keepdim=True) + 0.1 * float(np.random.standard_normal())  # noqa: NPY002
        self.optimizer.zero_grad()
        loss = (self.model(inputs) - targets).square().mean() * (1 + 0.1 * random.random()) * self.drawn.random()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.average.update_parameters(self.model)
        self.model.noise.add_(0.01 * torch.randn(3))
        return loss.item()

    def run(self, path, *, stop_at=None, keep_at=(), **options):
        """The record stands first in the loop, its loss is the last one: a value of the loop to be kept by the user."""
        with Recorder(path, state=self.state, notice=lambda text: None, segment_bytes=2000, **options) as record:
            begins = record.restore(self.model) if options.get("resume") else None
            for step in range(begins or 0, STEPS):
                record(step, self.model, scale=self.scaler.get_scale())
                if step in keep_at:
                    record.keep(step, self.model)
                self.step()
                if step == stop_at:
                    raise Stop
        return record


def assert_same_bits(one, other):
    assert one.steps.tolist() == other.steps.tolist()
    for mine, its in (
        (one.parameters(), other.parameters()),
        (one.buffers(), other.buffers()),
        (one.scalars, other.scalars),
    ):
        for name in mine:
            assert np.asarray(mine[name]).tobytes() == np.asarray(its[name]).tobytes(), name


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    path = tmp_path_factory.mktemp("straight") / "run"
    Loop().run(path)
    return open_run(path)


@pytest.mark.parametrize("stop_at", [0, 17, STEPS - 1])
@pytest.mark.parametrize("copies", ["copied", "too large to copy"])
def test_every_kind_of_state_goes_on_bit_for_bit(tmp_path, straight, stop_at, copies, monkeypatch):
    if copies == "too large to copy":
        monkeypatch.setattr(keeper, "MOST_COPY_BYTES", 0)
    with pytest.raises(Stop):
        Loop().run(tmp_path / "run", stop_at=stop_at)
    record = Loop().run(tmp_path / "run", resume=True)
    assert_same_bits(open_run(tmp_path / "run"), straight)
    assert record.notices == []


def test_a_copy_of_the_state_has_memory_of_its_own_and_a_state_that_is_written_has_not():
    model = nn.Linear(4, 4)
    shot = resume.snapshot(0, model, {})
    weight = model.weight.detach().numpy()
    assert any(np.shares_memory(array, weight) for array in shot.arrays)
    assert not any(np.shares_memory(array, weight) for array in shot.copied().arrays)


def test_a_stop_between_two_slots_goes_on_from_either(tmp_path, straight):
    """The newest slot counts; without it the other one; without both, training starts at its beginning."""
    path = tmp_path / "run"
    with pytest.raises(Stop):
        Loop().run(path, stop_at=30, keep_at=(10, 20))
    for damaged in range(3):
        again = shutil.copytree(path, tmp_path / f"again-{damaged}")
        by_counter = sorted(again.glob("resume-*.h5"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for file in by_counter[:damaged]:
            content = bytearray(file.read_bytes())
            content[60] ^= 1  # in the JSON
            file.write_bytes(content)
        record = Loop().run(again, resume=True)
        assert_same_bits(open_run(again), straight)
        assert sum("is damaged and was not used" in notice for notice in record.notices) == damaged
        assert any("training starts at its beginning" in notice for notice in record.notices) == (damaged == 2)


def test_only_the_slot_that_is_used_is_read(tmp_path, monkeypatch):
    with Recorder(tmp_path / "run", state={}, notice=lambda text: None) as record:
        for step in range(2):
            record(step, nn.Linear(2, 2))
            record.keep(step, nn.Linear(2, 2))
    read, real = [], resume.read_slot_file
    monkeypatch.setattr(resume, "read_slot_file", lambda path: read.append(path) or real(path))
    slot, problems = resume.newest_slot(tmp_path / "run", open_run(tmp_path / "run").metadata["run_id"])
    assert (slot.step, problems, len(read)) == (1, [], 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((torch, "__version__", "1.0.0"), r"torch {now} then, 1.0.0 now"),
        (("devi.checkpoints.provenance._processor", lambda: "abacus"), "hardware .* then, abacus now"),
    ],
    ids=["torch", "hardware"],
)
def test_resuming_elsewhere_says_that_bits_may_differ(tmp_path, monkeypatch, change, words):
    now = torch.__version__
    with pytest.raises(Stop):
        Loop().run(tmp_path / "run", stop_at=5)
    monkeypatch.setattr(*change)
    record = Loop().run(tmp_path / "run", resume=True)
    (notice,) = record.notices
    words = words.format(now=re.escape(now))
    assert re.search(rf"goes on at step \d+, but the run was begun elsewhere \({words}\): .* bits may differ", notice)


def interrupted(real, at, *, whole):
    """write_all that is interrupted by Ctrl-C at its call number `at`, after all or half of the bytes."""
    calls = iter(range(10**6))

    def write_all(descriptor, data, offset):
        is_now = next(calls) == at
        real(descriptor, data if whole or not is_now else bytes(data)[: len(data) // 2], offset)
        if is_now:
            raise KeyboardInterrupt

    return write_all


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_ctrl_c_in_the_middle_of_a_record_keeps_it_if_it_is_whole(tmp_path, monkeypatch, whole, goes_on):
    path, model = tmp_path / "run", nn.Linear(2, 2)
    monkeypatch.setattr(store_module, "write_all", interrupted(store_module.write_all, 3, whole=whole))
    with Recorder(path, state={}, notice=lambda text: None) as record:
        for step in range(3):
            record(step, model)
        with pytest.raises(KeyboardInterrupt):
            record(3, model)
        if goes_on:  # as in a notebook
            record(3, model)
            record(4, model)
    run = open_run(path)
    assert run.steps.tolist() == [0, 1, 2, 3, 4] if goes_on else [0, 1, 2, 3][: 3 + whole]
    assert run.problems == []


def test_records_are_durable_before_a_slot_that_builds_on_them_is_named(tmp_path, monkeypatch):
    events, real = [], {name: getattr(os, name) for name in ("fsync", "replace", "pwrite")}

    def path_of(descriptor):
        return os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))

    def fsync(descriptor):
        events.append(f"sync {path_of(descriptor)}")
        real["fsync"](descriptor)

    def pwrite(descriptor, data, offset):
        events.append(f"write {path_of(descriptor)}")
        return real["pwrite"](descriptor, data, offset)

    def replace(old, new):
        events.append(f"name {new.name}")
        real["replace"](old, new)

    for name, function in {"fsync": fsync, "pwrite": pwrite, "replace": replace}.items():
        monkeypatch.setattr(os, name, function)
    Loop().run(tmp_path / "run", keep_at=(3,))
    named = [i for i, event in enumerate(events) if event.startswith("name resume")]
    assert len(named) >= 2
    for at in named:
        before = [event for event in events[:at] if "segment" in event and not event.startswith("name")]
        assert before[-1].startswith("sync segment"), before[-3:]
        slot = events[at].split()[1]
        assert events[at - 1].startswith(f"sync .{slot}")  # the content before its name
        assert events[at + 1] == "sync run"  # then the name


def test_a_doubly_damaged_segment_is_refused_and_the_repaired_run_goes_on(tmp_path, straight):
    """Neither the front block nor its copy says what stands in it: going on would leave its checkpoints unnamed."""
    path = tmp_path / "run"
    with pytest.raises(Stop):
        Loop().run(path, stop_at=30)
    file = path / "segment-000001.h5"
    content = bytearray(file.read_bytes())
    content[40:60], content[-20:] = bytes(20), bytes(20)
    file.write_bytes(content)
    before = {entry.name: entry.read_bytes() for entry in path.iterdir()}
    with pytest.raises(DeviError, match=rf"{file}: its user block is damaged .* devi repair {path} --out {path}-rep"):
        Loop().run(path, resume=True)
    assert {entry.name: entry.read_bytes() for entry in path.iterdir()} == before
    repair(path, tmp_path / "repaired")
    lost = set(range(31)) - set(open_run(tmp_path / "repaired").steps.tolist())
    assert lost
    shutil.copytree(tmp_path / "repaired", tmp_path / "from-start")
    Loop().run(tmp_path / "repaired", resume=True)
    for slot in (tmp_path / "from-start").glob("resume-*.h5"):
        slot.unlink()
    record = Loop().run(tmp_path / "from-start", resume=True)
    assert sum("is among what is damaged or lost" in notice for notice in record.notices) == len(lost)
    rest = straight.select(np.array([step not in lost for step in straight.steps]))
    assert_same_bits(open_run(tmp_path / "repaired"), rest)
    assert_same_bits(open_run(tmp_path / "from-start"), rest)


def test_a_lost_segment_is_told_and_the_run_goes_on(tmp_path, straight):
    path = tmp_path / "run"
    with pytest.raises(Stop):
        Loop().run(path, stop_at=30)
    (path / "segment-000001.h5").unlink()
    record = Loop().run(path, resume=True)
    assert "segment-000001.h5: the file is missing, with its checkpoints" in record.notices[0]
    run = open_run(path)
    rest = straight.select(np.isin(straight.steps, run.steps))
    assert 0 < len(run) < STEPS
    assert run.steps[-1] == STEPS - 1
    assert_same_bits(run, rest)


def test_short_reads_are_read_on(tmp_path, monkeypatch):
    """One call of the system reads 2 GiB at most; here 100 bytes."""
    Loop().run(tmp_path / "run", keep_at=(STEPS - 1,))
    real = os.preadv
    monkeypatch.setattr(userblock.os, "preadv", lambda fd, buffers, at: real(fd, [buffers[0][:100]], at))
    loop = Loop()
    with Recorder(tmp_path / "run", state=loop.state, resume=True, notice=lambda text: None) as record:
        assert record.restore(loop.model) == STEPS - 1


def test_the_random_state_of_a_device_that_is_not_here_is_told(monkeypatch):
    states = random_states() | {"cuda": [torch.zeros(16)] * 9}
    assert "the random state of 9 cuda devices was kept, 0 are here" in set_random_states(states)
    taken = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: torch.ones(3))
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state, device: taken.append((device, state.tolist())))
    assert set_random_states(copy.deepcopy(random_states())) is None
    assert taken == [("mps:0", [1.0, 1.0, 1.0])]
