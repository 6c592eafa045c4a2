"""Any bytes as a file of a run: an error in words, or a read of what was written; no crash, no wrong value."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints.lock import holder_of
from devi.checkpoints.slot_file import SLOTS
from devi.checkpoints.userblock import MAGIC
from devi.checkpoints.verify import verify

RECORDS = 6
SEGMENT = "segment-000000.h5"
junk = st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: MAGIC + b"\1\0\0\0" + tail)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of 6 checkpoints, step t holding weights t, with both resume slots, and its files' bytes."""
    path = tmp_path_factory.mktemp("bytes") / "run"
    model = nn.Linear(2, 2)
    with Recorder(path, state={}, notice=lambda text: None) as record:
        for step in range(RECORDS):
            torch.nn.init.constant_(model.weight, step)
            record(step, model, loss=float(step))
            record.keep(step, model)
    return path, {file.name: file.read_bytes() for file in path.iterdir()}


def checked(place, name, content):
    """Read the run with this content of one file."""
    path, files = place
    (path / name).write_bytes(content)
    try:
        verdict = verify(path)
        assert verdict.damage or content == files[name] or name != SEGMENT
        if not verdict.steps:
            with pytest.raises(DeviError, match="no checkpoint in it is whole"):
                open_run(path)
            return
        run = open_run(path)
        assert run.steps.tolist() == verdict.steps
        np.testing.assert_array_equal(run.parameters()["weight"][:, 1, 1], run.steps)
        np.testing.assert_array_equal(run.scalars.loss, run.steps)
        if name in SLOTS:
            restored(path)
    finally:
        for each in path.iterdir():
            if each.name not in files:
                each.unlink()
        for each, before in files.items():
            (path / each).write_bytes(before)


def restored(path):
    model = nn.Linear(2, 2)
    with Recorder(path, state={}, resume=True, notice=lambda text: None) as record:
        step = record.restore(model)
    assert step in range(RECORDS)
    assert (model.weight == step).all()


@settings(max_examples=150)
@given(content=junk)
@example(content=b"")
def test_any_bytes_as_a_segment(place, content):
    checked(place, SEGMENT, content)


@settings(max_examples=60)
@given(content=junk, slot=st.sampled_from(SLOTS))
def test_any_bytes_as_a_resume_slot(place, content, slot):
    checked(place, slot, content)


@settings(max_examples=200)
@given(data=st.data(), new=st.binary(max_size=64), name=st.sampled_from([SEGMENT, SEGMENT, *SLOTS]))
def test_a_file_with_any_bytes_spliced_in_or_written_over(place, data, new, name):
    content = place[1][name]
    at = data.draw(st.integers(0, len(content)))
    removed = data.draw(st.just(len(new)) | st.integers(0, 2000))
    checked(place, name, content[:at] + new + content[at + removed :])


@settings(max_examples=100)
@given(content=st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_bytes_as_a_lock(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    (folder / "writer.lock").write_bytes(content if isinstance(content, bytes) else content.encode())
    holder = holder_of(folder)
    assert holder is None or holder.pid > 0
