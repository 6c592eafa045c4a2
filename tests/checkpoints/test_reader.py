"""Damage: whatever happens to a file, every whole record is read and everything else is named."""

from __future__ import annotations

import hashlib
import os
import random
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints.room import Room

RECORDS = 12


def written(folder, **options):
    """A closed run of 12 checkpoints, step t holding weights t, and its one file's bytes."""
    model = nn.Linear(2, 2)
    with Recorder(folder / "run", notice=lambda text: None, **options) as record:
        for step in range(RECORDS):
            torch.nn.init.constant_(model.weight, step)
            torch.nn.init.constant_(model.bias, step)
            record(step, model, loss=float(step))
    return (folder / "run" / "segment-000000.h5").read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    content = written(folder)
    header = open_run(folder / "run")._records.segments[0].header
    return folder / "run", content, header


def read(place, content):
    """What is read of the file when its bytes are `content`; values are checked against what was written."""
    (place[0] / "segment-000000.h5").write_bytes(content)
    run = open_run(place[0])
    np.testing.assert_array_equal(run.parameters()["weight"][:, 0, 0], run.steps)
    np.testing.assert_array_equal(run.scalars.loss, run.steps)
    return run


def test_an_untouched_file_has_no_problem(place):
    run = read(place, place[1])
    assert (len(run), run.problems) == (RECORDS, [])


@pytest.mark.parametrize("seed", range(8))
def test_every_flipped_bit_is_noticed_and_costs_at_most_one_record(place, seed):
    """Exact: 25 seeded flips anywhere in the file, each must be named."""
    _, content, header = place
    generator = random.Random(seed)
    for _ in range(25):
        at, bit = generator.randrange(len(content)), generator.randrange(8)
        damaged = bytearray(content)
        damaged[at] ^= 1 << bit
        run = read(place, damaged)
        is_record = header.data_offset <= at < header.end
        assert len(run) == RECORDS - is_record, at
        assert run.problems, f"flip of bit {bit} of byte {at} went unnoticed"
        assert any(finding.kind == "damaged" for finding in run.findings) == is_record


@settings(max_examples=40)
@given(data=st.data())
def test_a_file_cut_anywhere_gives_every_whole_record_before_the_cut(place, data):
    _, content, header = place
    cut = data.draw(st.integers(0, len(content) - 1))
    whole = max(0, min(RECORDS, (cut - header.data_offset) // header.layout.dtype.itemsize))
    if whole == 0:
        with pytest.raises(DeviError, match="no checkpoint in it is whole"):
            read(place, content[:cut])
    else:
        run = read(place, content[:cut])
        assert run.steps.tolist() == list(range(whole))
        assert run.problems


def test_the_trailer_stands_in_for_a_front_block_of_garbage(place):
    _, content, header = place
    run = read(place, os.urandom(header.user_block) + content[header.user_block :])
    assert len(run) == RECORDS
    assert "the copy at its end was used" in run.problems[0]


def test_rewritten_metadata_with_a_new_hash_differs_from_the_trailer(place):
    _, content, _ = place
    length = struct.unpack("<I", content[12:16])[0]
    text = content[48 : 48 + length].replace(b'"settings":{}', b'"settings":{"width":9}')
    front = content[:12] + struct.pack("<I", len(text)) + hashlib.sha256(text).digest() + text
    run = read(place, front + content[len(front) :])
    assert "differs from the block at the front" in run.problems[0]


def test_records_that_change_places_are_damaged(place):
    _, content, header = place
    size, start = header.layout.dtype.itemsize, header.data_offset
    rows = [content[start + i * size : start + (i + 1) * size] for i in range(RECORDS)]
    rows[2], rows[3] = rows[3], rows[2]
    run = read(place, content[:start] + b"".join(rows) + content[header.end :])
    assert [finding.record for finding in run.findings] == [2, 3]
    assert "record 2 (step 3) is damaged and left out: its digest is wrong" in run.problems[0]


def test_a_half_written_last_record_is_torn_and_resumed_over(tmp_path):
    path = tmp_path / "run"
    record = Recorder(path, state={}, notice=lambda text: None)
    for step in range(3):
        record(step, nn.Linear(2, 2))
    header = open_run(path)._records.segments[0].header
    record._lock.release()  # as if the process had died
    with open(path / "segment-000000.h5", "r+b") as file:
        file.seek(header.data_offset + 3 * header.layout.dtype.itemsize)
        file.write(b"\7" * 20)
    run = open_run(path)
    assert run.refresh() == 0
    assert [finding.kind for finding in run.findings] == ["torn"]
    assert run.steps.tolist() == [0, 1, 2]
    with Recorder(path, resume=True, notice=lambda text: None) as again:
        again(3, nn.Linear(2, 2))
    assert run.refresh() == 1
    for each in (run, open_run(path)):
        assert (each.steps.tolist(), each.problems) == ([0, 1, 2, 3], [])


def test_a_lost_segment_is_named(tmp_path):
    written(tmp_path, segment_bytes=300)
    (tmp_path / "run" / "segment-000001.h5").unlink()
    run = open_run(tmp_path / "run")
    assert "segment-000001.h5: the file is missing, with its checkpoints" in run.problems
    assert 0 < len(run) < RECORDS


def test_a_record_of_nan_is_a_record(tmp_path):
    model = nn.Linear(2, 2)
    torch.nn.init.constant_(model.weight, float("nan"))
    with Recorder(tmp_path / "run", notice=lambda text: None) as record:
        record(0, model, loss=float("nan"))
    run = open_run(tmp_path / "run")
    assert (len(run), run.problems) == (1, [])
    assert np.isnan(run.parameters(0)["weight"]).all()


def test_a_damaged_resume_slot_gives_way_to_the_other(tmp_path):
    path, model = tmp_path / "run", nn.Linear(2, 2)
    with Recorder(path, state={}, notice=lambda text: None) as record:
        for step in range(2):
            record(step, model)
            record.keep(step, model)
    newest = max(path.glob("resume-*.h5"), key=lambda file: file.stat().st_mtime_ns)
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    with Recorder(path, state={}, resume=True, notice=lambda text: None) as record:
        assert record.restore(nn.Linear(2, 2)) in (0, 1)
        assert any("is damaged and was not used" in notice for notice in record.notices)


def test_opening_and_showing_a_run_imports_neither_torch_nor_xarray(place):
    (place[0] / "segment-000000.h5").write_bytes(place[1])
    code = (
        "import sys; from devi.cli.main import run; code = run(['show', sys.argv[1]]);"
        "heavy = [m for m in ('torch', 'xarray', 'h5py', 'matplotlib') if m in sys.modules];"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(place[0])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{RECORDS} checkpoints, steps 0 to {RECORDS - 1}" in done.stdout
    assert "  weight  2×2  float32  4" in done.stdout


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_run_that_was_killed_before_its_first_checkpoint_is_begun_again_with_resume(tmp_path, monkeypatch, share):
    path, real = tmp_path / "run", Room.put

    def put(room, record, at):
        if share:
            real(room, record[: int(share * len(record))], at)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Room, "put", put)
        record = Recorder(path, state={}, notice=lambda text: None)
        with pytest.raises(SystemExit):
            record(0, nn.Linear(2, 2))
        record._lock.release()
    with pytest.raises(DeviError, match=rf"no checkpoint in it is whole: .* Recorder\('{path}', ..., resume=True\)"):
        open_run(path)
    with Recorder(path, state={}, resume=True, notice=lambda text: None) as record:
        assert record.restore(nn.Linear(2, 2)) is None
        record(0, nn.Linear(2, 2))
    assert open_run(path).steps.tolist() == [0]
