"""Segment: plain HDF5 for any number of tensors, and after close exactly as long as its records need."""

from __future__ import annotations

import errno
import os

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints import store as store_module
from devi.checkpoints.ahead import Ahead
from devi.checkpoints.verify import verify


def quiet(text):
    pass


def many(count, length):
    names = (f"{number:0{length}d}" for number in range(count))
    return nn.ParameterDict({name: nn.Parameter(torch.full((2,), float(i))) for i, name in enumerate(names)})


@pytest.mark.parametrize(("count", "length"), [(1, 1), (40, 10), (100, 4), (400, 40), (1000, 4)])
def test_h5py_opens_a_segment_of_any_number_of_tensors_while_it_is_written_and_after(tmp_path, count, length):
    """HDF5 keeps metadata that it did not foresee behind the records, where the trailer would overwrite them."""
    path, file = tmp_path / "run", tmp_path / "run" / "segment-000000.h5"
    with Recorder(path, notice=quiet, expected=3) as record:
        for step in range(3):
            record(step, many(count, length))
        live = file.read_bytes()
    for content in (live, file.read_bytes()):
        (tmp_path / "copy.h5").write_bytes(content)
        with h5py.File(tmp_path / "copy.h5") as handle:
            rows = handle["checkpoints"][:]
        assert len(rows.dtype.names) == count + 2
        np.testing.assert_array_equal(rows["step"], range(3))
        for i in (0, count // 2, count - 1):
            np.testing.assert_array_equal(rows[f"{i:0{length}d}"], np.full((3, 2), float(i)))
    assert open_run(path).findings == []


@pytest.mark.parametrize(("count", "length"), [(1500, 4), (800, 40), (300, 200)])
def test_more_tensors_than_one_compound_type_holds_are_refused_and_nothing_is_left(tmp_path, count, length):
    path = tmp_path / "run"
    text = rf"has {count} parameters and buffers, recorded with 0 scalars, with names of {length} .* Record a part"
    with Recorder(path, notice=quiet) as record:
        with pytest.raises(DeviError, match=text):
            record(0, many(count, length))
        assert [entry.name for entry in path.iterdir()] == ["writer.lock"]
    with Recorder(path, notice=quiet) as record:
        record(0, many(10, 4))
    assert open_run(path).steps.tolist() == [0]


@pytest.mark.parametrize("count", [1, 5, 8, 11])
def test_a_clean_close_leaves_room_for_no_further_record(tmp_path, count):
    """8 float32 and the step, 8 bytes, and the digest, 16: 56 bytes a record; segments of 4."""
    with Recorder(tmp_path / "run", notice=quiet, segment_bytes=4 * 56) as record:
        for step in range(count):
            record(step, nn.Linear(4, 2, bias=False))
    sizes = []
    for file in sorted((tmp_path / "run").glob("segment-*.h5")):
        with h5py.File(file) as handle:
            dataset = handle["checkpoints"]
            sizes.append(len(dataset))
            start, end = dataset.id.get_offset(), dataset.id.get_offset() + len(dataset) * 56
            block = handle.userblock_size
        content = file.read_bytes()
        assert end + block + 16 == len(content)  # the trailer: a copy of the user block, its length, the magic
        assert content[end : end + block] == content[:block]
        assert len(content) - len(dataset) * 56 == start + block + 16 < 64 * 1024
    assert sizes == [4] * (count // 4) + [count % 4] * (count % 4 > 0)


def test_a_close_that_fails_leaves_the_segment_as_it_was(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    record = Recorder(tmp_path / "run", state={}, notice=quiet)
    for step in range(3):
        record(step, nn.Linear(2, 2))
    before = (tmp_path / "run" / "segment-000000.h5").read_bytes()
    monkeypatch.setattr(store_module, "write_segment", full)
    with pytest.raises(DeviError, match=r"the disk is full. Every checkpoint up to step 2 is safe.*resume=True"):
        record.close()
    assert (tmp_path / "run" / "segment-000000.h5").read_bytes() == before
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == [
        *("resume-0.h5", "resume-1.h5"), "segment-000000.h5",
    ]  # fmt: skip
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2]


def test_a_ctrl_c_right_after_a_full_segment_was_let_go_leaves_it_whole(tmp_path, monkeypatch):
    """Its descriptor's number may be another file's by then, and the close would have copied that one."""
    real, others = Ahead.let_go, []

    def interrupted(ahead, segment):
        segment.close()
        others.append(os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT))
        assert others == [segment.descriptor]
        monkeypatch.setattr(Ahead, "let_go", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(Ahead, "let_go", interrupted)
    with Recorder(tmp_path / "run", notice=quiet, segment_bytes=4 * 56) as record:
        for step in range(4):
            record(step, nn.Linear(4, 2, bias=False))
        with pytest.raises(KeyboardInterrupt):
            record(4, nn.Linear(4, 2, bias=False))
    os.close(others[0])
    assert verify(tmp_path / "run").damage == []
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("harm", ["cut", "replaced"])
def test_a_file_that_is_not_what_was_recorded_is_left_as_it_is_by_a_close(tmp_path, harm):
    record = Recorder(tmp_path / "run", notice=quiet)
    for step in range(3):
        record(step, nn.Linear(2, 2))
    path = tmp_path / "run" / "segment-000000.h5"
    if harm == "cut":
        os.truncate(path, record._store.segment.header.data_offset + 100)
    else:
        path.rename(tmp_path / "elsewhere")
        path.write_bytes(b"another file")
    before = path.read_bytes()
    why = "it was cut" if harm == "cut" else "another file stands there"
    with pytest.raises(DeviError, match=f"stays as it is: {why}.*devi verify"):
        record.close()
    assert path.read_bytes() == before
