"""A large run is checked as it is read: nothing damaged is handed out, and nothing is read twice for it."""

from __future__ import annotations

import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints import records as records_module

RECORDS = 20


@pytest.fixture
def model():
    return nn.Linear(40, 40)  # 6.6 KB: records that are looked at one by one


@pytest.fixture
def path(tmp_path, model):
    with Recorder(tmp_path / "run", notice=lambda text: None, segment_bytes=50_000) as record:
        for step in range(RECORDS):
            torch.nn.init.constant_(model.weight, step)
            record(step, model)
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def lazily(monkeypatch):
    monkeypatch.setattr(records_module.Records.open.__func__, "__kwdefaults__", {"at_once": 0})


def damage(path, row):
    """Flip a bit in the middle of a record."""
    records = open_run(path)._records
    segment = records.segments[records.segment[row]]
    size = segment.header.layout.dtype.itemsize
    at = segment.header.data_offset + int(records.place[row]) * size + size // 2
    content = bytearray(segment.path.read_bytes())
    content[at] ^= 4
    segment.path.write_bytes(content)


def test_a_large_run_is_opened_without_hashing_it(path):
    run = open_run(path)
    assert len(run) == RECORDS
    assert not run.is_checked
    run.parameters(slice(3, 6))
    assert run._records.is_checked.sum() == 3
    assert run.check().is_checked
    assert run.problems == []


def test_what_is_read_lazily_is_what_is_read_at_once(path, monkeypatch):
    lazy = open_run(path)
    monkeypatch.setattr(records_module.Records.open.__func__, "__kwdefaults__", {"at_once": 1 << 30})
    eager = open_run(path)
    assert eager.is_checked
    np.testing.assert_array_equal(lazy.steps, eager.steps)
    np.testing.assert_array_equal(lazy.digests, eager.digests)
    np.testing.assert_array_equal(lazy.parameters()["weight"], eager.parameters()["weight"])


def test_a_damaged_record_is_never_handed_out(path):
    damage(path, 7)
    run = open_run(path)
    assert run.parameters(6)["weight"][0, 0] == 6
    for index in (7, slice(5, 9), np.array([7])):
        with pytest.raises(DeviError, match=r"record \d+ \(step 7\) is damaged.* run.check\(\)"):
            run.parameters(index)
    assert run.check().steps.tolist() == [step for step in range(RECORDS) if step != 7]
    np.testing.assert_array_equal(run.parameters()["weight"][:, 0, 0], run.steps)
    assert [finding.step for finding in run.findings] == [7]


def test_asking_what_is_wrong_checks_every_record(path):
    damage(path, 3)
    assert "record 3 (step 3) is damaged and left out: its digest is wrong" in open_run(path).problems[0]


def test_a_record_that_is_hashed_in_pieces_has_the_digest_it_was_written_with(tmp_path):
    model = nn.Linear(700, 700)  # 2 MB
    with Recorder(tmp_path / "run", notice=lambda text: None) as record:
        for step in range(3):
            record(step, model)
    damage(tmp_path / "run", 1)
    assert open_run(tmp_path / "run").check().steps.tolist() == [0, 2]


def test_an_odd_looking_segment_is_hashed_at_once(path):
    records = open_run(path)._records
    segment = records.segments[0]
    content = bytearray(segment.path.read_bytes())
    at = segment.header.data_offset + segment.header.layout.dtype.itemsize
    content[at : at + 8] = (10**6).to_bytes(8, "little")  # the step of record 1
    segment.path.write_bytes(content)
    run = open_run(path)
    assert run.steps.tolist() == [0, *range(2, RECORDS)]


def test_a_stack_within_a_segment_is_a_view_of_the_file(path):
    run = open_run(path).check()
    stack = run.parameters(slice(1, 5))["weight"]
    assert not stack.flags.owndata
    assert not stack.flags.writeable
    assert stack.strides[0] == run.layout.dtype.itemsize
    with pytest.raises(ValueError, match="read-only"):
        stack[0] = 0


def test_a_worker_process_opens_the_same_file_or_none(path):
    text = pickle.dumps(open_run(path).block(2, 6))
    assert pickle.loads(text).parameters()["weight"][0, 0, 0] == 2
    (path / "segment-000000.h5").write_bytes((path / "segment-000001.h5").read_bytes())
    with pytest.raises(DeviError, match="no longer the file that was opened"):
        pickle.loads(text)


def test_a_file_that_is_cut_while_it_is_mapped_is_an_error_and_no_crash(path):
    run = open_run(path).check()
    run.parameters(0)
    file = path / "segment-000000.h5"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(DeviError, match="was cut while it was open"):
        run.parameters(slice(0, 7))
    assert run.parameters(0)["weight"][0, 0] == 0


def test_a_reader_follows_a_writer_through_segments_and_its_end(tmp_path, model):
    path = tmp_path / "run"
    with Recorder(path, notice=lambda text: None, segment_bytes=50_000) as record:
        record(0, model)
        run = open_run(path)
        assert run.is_live
        assert (len(run), run.refresh()) == (1, 0)
        for step in range(1, RECORDS):
            torch.nn.init.constant_(model.weight, step)
            record(step, model)
            if step % 3 == 0:
                run.refresh()
                assert run.steps.tolist() == list(range(step + 1))
                assert run.parameters(-1)["weight"][0, 0] == step
    run.refresh()
    assert not run.is_live
    assert run.steps.tolist() == list(range(RECORDS))
    np.testing.assert_array_equal(run.parameters(slice(1, None))["weight"][:, 0, 0], run.steps[1:])
    assert run.problems == []


def test_a_selection_stays_as_it_is_while_its_run_follows_the_writer(tmp_path, model):
    with Recorder(tmp_path / "run", notice=lambda text: None) as record:
        for step in range(4):
            record(step, model)
        run = open_run(tmp_path / "run")
        chosen, block = run.select([0, 1, 3]), run.block(1, 3)
        record(4, model)
        assert (chosen.refresh(), block.refresh(), run.refresh()) == (0, 0, 1)
    assert (chosen.steps.tolist(), block.steps.tolist(), len(run)) == ([0, 1, 3], [1, 2], 5)


def test_a_damaged_run_that_was_checked_follows_its_writer(path, model):
    damage(path, 1)
    with Recorder(path, resume=True, notice=lambda text: None) as record:
        run = open_run(path).check()
        record(RECORDS, model)
        assert run.refresh() == 1
    assert run.steps.tolist() == [0, *range(2, RECORDS + 1)]


def test_a_run_that_is_replaced_by_another_is_told(path, model):
    run = open_run(path)
    for file in path.iterdir():
        file.unlink()
    with pytest.raises(DeviError, match=r"no longer what was opened.*open_run\('"):
        run.refresh()
    with Recorder(path, notice=lambda text: None, segment_bytes=50_000) as record:
        for step in range(RECORDS):
            record(step, model)
    with pytest.raises(DeviError, match="another run has taken its place"):
        run.refresh()


def test_a_run_that_is_deleted_is_told(path):
    run = open_run(path)
    shutil.rmtree(path)
    with pytest.raises(DeviError, match=r"can no longer be read: No such file .* Was it moved or deleted"):
        run.refresh()
    assert run.parameters(0)["weight"][0, 0] == 0  # what was open stays


def test_a_run_opened_by_a_relative_path_is_found_from_another_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = nn.Linear(2, 2)
    with Recorder("run", state={}, notice=lambda text: None) as record:
        record(0, model)
        run = open_run("run")
        monkeypatch.chdir("/")
        record(1, model)
        assert run.is_live
        assert run.refresh() == 1
    assert run.refresh() == 0  # of the file that took the place of the first when the run was closed
    assert pickle.loads(pickle.dumps(run)).parameters(1)["weight"].shape == (2, 2)
