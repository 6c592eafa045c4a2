import contextlib
import errno
import os
import threading

import pytest
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints import store as store_module
from devi.checkpoints.ahead import Ahead
from devi.checkpoints.layout import Layout
from devi.checkpoints.records import Records
from devi.checkpoints.segment import write_segment
from devi.checkpoints.verify import verify
from tests.checkpoints.interrupted import interrupted

RECORD = 56  # bytes: step 8, 8 float32, digest 16
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def quiet(text):
    pass


def make(path):
    return write_segment(path, 1, 4, Layout(("loss",), ()), {})


def recorded(folder, steps, **options):
    with Recorder(folder, state={}, notice=quiet, segment_bytes=4 * RECORD, **options) as record:
        for step in range(steps):
            record(step, nn.Linear(4, 2, bias=False))
            yield record


def names(folder):
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix != ".lock" and "resume" not in entry.name)


def test_what_is_taken_stands_at_its_place_and_takes_records(tmp_path):
    ahead = Ahead()
    ahead.begin(tmp_path / ".hidden", make)
    segment = ahead.take(tmp_path / "segment")
    assert segment.path == tmp_path / "segment"
    assert names(tmp_path) == ["segment"]
    segment.room.put(memoryview(bytes(segment.header.layout.dtype.itemsize)), segment.header.data_offset)
    ahead.let_go(segment)
    ahead.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(segment.descriptor)


def test_what_is_not_taken_is_thrown_away(tmp_path):
    ahead = Ahead()
    ahead.begin(tmp_path / ".hidden", make)
    ahead.close()
    assert names(tmp_path) == []


def test_nothing_is_taken_that_could_not_be_made(tmp_path):
    def full(path):
        make(path)
        raise FULL

    ahead = Ahead()
    ahead.begin(tmp_path / ".hidden", full)
    assert ahead.take(tmp_path / "segment") is None
    assert ahead.take(tmp_path / "segment") is None
    assert names(tmp_path) == []
    ahead.close()


def test_a_segment_without_a_place_is_thrown_away(tmp_path):
    ahead = Ahead()
    ahead.begin(tmp_path / ".hidden", make)
    with pytest.raises(FileNotFoundError):
        ahead.take(tmp_path / "missing" / "segment")
    assert names(tmp_path) == []
    ahead.close()


def test_recording_makes_each_segment_but_the_first_while_the_one_before_fills(tmp_path, monkeypatch):
    real, made = store_module.write_segment, []

    def noted(path, number, *rest, **options):
        made.append((number, threading.current_thread() is threading.main_thread()))
        return real(path, number, *rest, **options)

    monkeypatch.setattr(store_module, "write_segment", noted)
    list(recorded(tmp_path / "run", 10))
    assert made == [
        (0, True),
        (1, False),
        (2, False),
        (3, False),
        (2, True),
    ]  # at last, the exact size; 3 is not needed
    assert names(tmp_path / "run") == [f"segment-00000{number}.h5" for number in range(3)]
    assert open_run(tmp_path / "run").steps.tolist() == list(range(10))


def test_no_segment_is_made_for_more_than_is_expected(tmp_path, monkeypatch):
    real, made = store_module.write_segment, []

    def noted(path, number, records, *rest, **options):
        made.append((number, records))
        return real(path, number, records, *rest, **options)

    monkeypatch.setattr(store_module, "write_segment", noted)
    list(recorded(tmp_path / "run", 10, expected=10))
    assert made == [(0, 4), (1, 4), (2, 2), (2, 2)]


@pytest.mark.parametrize(("expected", "sizes"), [(0, [4, 4, 2]), (3, [3, 4, 3]), (6, [4, 2, 4])])
def test_more_checkpoints_than_expected_fill_segments_of_the_ordinary_size(tmp_path, expected, sizes):
    list(recorded(tmp_path / "run", 10, expected=expected))
    segments = Records.open(tmp_path / "run", is_live=False).segments
    assert [segment.header.records for segment in segments] == sizes
    assert open_run(tmp_path / "run").steps.tolist() == list(range(10))


def test_a_segment_that_is_being_made_is_no_part_of_the_run(tmp_path):
    for _ in recorded(tmp_path / "run", 3):
        run = open_run(tmp_path / "run")
        assert run.steps.tolist() == list(range(len(run.steps)))
        assert len(run.findings) == 0


def test_a_disk_that_was_full_for_a_while_is_no_matter(tmp_path, monkeypatch):
    real = store_module.write_segment

    def full_elsewhere(*arguments, **options):
        if threading.current_thread() is not threading.main_thread():
            raise FULL
        return real(*arguments, **options)

    monkeypatch.setattr(store_module, "write_segment", full_elsewhere)
    list(recorded(tmp_path / "run", 10))
    assert open_run(tmp_path / "run").steps.tolist() == list(range(10))


def test_what_a_killed_process_made_ahead_is_cleared_away_when_the_run_goes_on(tmp_path):
    list(recorded(tmp_path / "run", 3))
    (tmp_path / "run" / ".segment-000001.h5.123.next.tmp").write_bytes(b"cut short")
    with Recorder(tmp_path / "run", state={}, resume=True, notice=quiet):
        pass
    assert names(tmp_path / "run") == ["segment-000000.h5"]


@pytest.mark.parametrize("moment", range(1, 13))
def test_a_ctrl_c_while_the_next_segment_is_taken_leaves_no_hole_in_the_run(tmp_path, monkeypatch, moment):
    real = store_module.Store._open_next.__code__
    with Recorder(tmp_path / "run", notice=quiet, segment_bytes=4 * RECORD) as record:
        model = nn.Linear(4, 2, bias=False)
        for step in range(12):
            if step in (4, 8):
                is_within = interrupted(lambda step=step: record(step, model), moment, within=real)
                assert is_within or moment > 6
            with contextlib.suppress(DeviError):  # it may be recorded
                record(step, model)
    assert verify(tmp_path / "run").damage == []
    assert open_run(tmp_path / "run").steps.tolist() == list(range(12))


def test_a_turn_that_an_interrupt_skipped_is_taken_at_the_next_record(tmp_path, monkeypatch):
    synced = []
    real = store_module.Store.look_after

    def interrupted(store):
        if store.used == 2 and store._number == 0 and not synced:
            synced.append("skipped")
            raise KeyboardInterrupt
        return real(store)

    monkeypatch.setattr(store_module.Store, "look_after", interrupted)
    with Recorder(tmp_path / "run", state={}, notice=quiet, segment_bytes=4 * RECORD) as record:
        model = nn.Linear(4, 2, bias=False)
        for step in range(6):
            with contextlib.suppress(KeyboardInterrupt):
                record(step, model)
            if step == 2:
                assert record._store._ahead._next is not None  # begun, though late
    assert synced == ["skipped"]
    assert open_run(tmp_path / "run").steps.tolist() == list(range(6))
