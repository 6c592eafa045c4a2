"""Resume after the worst: interrupts in mid-record, damaged slots, damaged and lost segments."""

from __future__ import annotations

import os
import random
import shutil
import threading

import numpy as np
import pytest
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints import resume, room, userblock
from devi.checkpoints.repair import repair
from devi.checkpoints.room import Room
from devi.checkpoints.state import encode
from devi.checkpoints.syncer import Syncer
from tests.checkpoints.user_loop import STEPS, Loop, Stop, assert_same_bits


def test_a_flipped_bit_in_a_slot_is_noticed_or_changes_nothing(tmp_path):
    """Exact: 150 seeded flips; HDF5's own bytes, which devi does not read, are the ones that change nothing."""
    path = tmp_path / "run"
    with Recorder(path, state={}, notice=lambda text: None) as record:
        record(0, nn.Linear(2, 2))
    run_id, file = open_run(path).metadata["run_id"], path / "resume-0.h5"
    content = file.read_bytes()
    truth, _ = resume.newest_slot(path, run_id)
    generator, noticed = random.Random(0), 0
    for _ in range(150):
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        file.write_bytes(damaged)
        slot, problems = resume.newest_slot(path, run_id)
        noticed += slot is None
        assert (slot is None) == bool(problems)
        if slot is not None:
            arrays, again = [], []
            assert encode(slot.content, arrays, "") == encode(truth.content, again, "")
            assert [array.tobytes() for array in arrays] == [array.tobytes() for array in again]
    assert noticed > 75


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


def interrupted(real, at, *, whole):
    """Room.put that is interrupted by Ctrl-C at its call number `at`, after all or half of the bytes."""
    calls = iter(range(10**6))

    def put(room, record, offset):
        is_now = next(calls) == at
        real(room, record if whole or not is_now else record[: len(record) // 2], offset)
        if is_now:
            raise KeyboardInterrupt

    return put


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_ctrl_c_in_the_middle_of_a_record_keeps_it_if_it_is_whole(tmp_path, monkeypatch, whole, goes_on):
    path, model = tmp_path / "run", nn.Linear(2, 2)
    monkeypatch.setattr(Room, "put", interrupted(Room.put, 3, whole=whole))
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
    monkeypatch.setattr(room, "STAYS_IN_PLACE", frozenset())  # what is written can be watched, what is stored cannot
    real = {name: getattr(os, name) for name in ("fsync", "replace", "pwrite")}
    begin, events = Syncer.begin, []

    def begin_and_wait(syncer, *what):  # so that no later record is written meanwhile
        begin(syncer, *what)
        syncer.wait()

    monkeypatch.setattr(Syncer, "begin", begin_and_wait)

    def happened(what, name):
        if "devi-ahead" not in threading.current_thread().name:  # which works on a file without records, at any time
            events.append(f"{what} {name}")

    def path_of(descriptor):
        return os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))

    def fsync(descriptor):
        happened("sync", path_of(descriptor))
        real["fsync"](descriptor)

    def pwrite(descriptor, data, offset):
        happened("write", path_of(descriptor))
        return real["pwrite"](descriptor, data, offset)

    def replace(old, new):
        happened("name", new.name)
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
    [told] = [notice for notice in record.notices if "is among what is damaged or lost" in notice]
    assert f"step {min(lost)} is among" in told
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


def test_slots_without_any_segment_are_all_that_is_left_and_are_not_written_over(tmp_path):
    path = tmp_path / "run"
    Loop().run(path, keep_at=(STEPS - 1,))
    for segment in path.glob("segment-*.h5"):
        segment.rename(tmp_path / segment.name)
    before = {entry.name: entry.read_bytes() for entry in path.iterdir()}
    text = rf"lost.* resume-0.h5 .* the last state, of step {STEPS - 1}. To go on from it: put those files back"
    with pytest.raises(DeviError, match=f"{text}.* Nothing was touched.* give another path"):
        Loop().run(path, resume=True)
    with pytest.raises(DeviError, match=text):
        open_run(path)
    assert {entry.name: entry.read_bytes() for entry in path.iterdir()} == before
    for name in {entry.name for entry in tmp_path.glob("segment-*.h5")}:
        (tmp_path / name).rename(path / name)
    Loop().run(path, resume=True)


def test_short_reads_are_read_on(tmp_path, monkeypatch):
    """One call of the system reads 2 GiB at most; here 100 bytes."""
    Loop().run(tmp_path / "run", keep_at=(STEPS - 1,))
    real = os.preadv
    monkeypatch.setattr(userblock.os, "preadv", lambda fd, buffers, at: real(fd, [buffers[0][:100]], at))
    loop = Loop()
    with Recorder(tmp_path / "run", state=loop.state, resume=True, notice=lambda text: None) as record:
        assert record.restore(loop.model) == STEPS - 1
