"""Verify names all damage; repair keeps all that is whole; both only read the run."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints import resume
from devi.checkpoints.header import read_header
from devi.checkpoints.mapped import Segment
from devi.checkpoints.repair import repair
from devi.checkpoints.userblock import open_regular
from devi.checkpoints.verify import verify
from devi.cli.main import run as command
from tests.checkpoints.harm import damage_record, flip

RECORDS = 12


def written(path, *, segment_bytes=300, kept=None):
    """A run of 12 checkpoints, step t holding weights t; three records a segment. Its optimizer state is kept."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    state = {"optimizer": optimizer}
    with Recorder(path, state=state, notice=lambda text: None, segment_bytes=segment_bytes) as record:
        for step in range(RECORDS):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(step)
            record(step, model, loss=float(step))
            if step == kept:
                record.keep(step, model)
    return path


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_a_run_that_nobody_touched_is_clean(tmp_path, capsys):
    path = written(tmp_path / "run")
    assert command(["verify", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "12 checkpoints are whole, steps 0 to 11" in printed
    assert "nothing is damaged" in printed


def test_a_damaged_record_is_named_by_file_record_step_and_reason(tmp_path, capsys):
    path = written(tmp_path / "run")
    damage_record(path / "segment-000001.h5", 1)
    segments = sorted(path.glob("segment-*.h5"))
    step = len(open_run(path).steps[open_run(path)._records.segment == 0]) + 1
    assert len(segments) > 2
    assert command(["verify", str(path)]) == 4
    printed = capsys.readouterr().out
    assert f"damage: segment-000001.h5: record 1 (step {step}) is damaged and left out: its digest is wrong" in printed
    assert f"devi repair {path} --out {path}-repaired" in printed
    assert command(["verify", str(path), "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert document["is_damaged"]
    assert document["steps"]["count"] == RECORDS - 1
    [finding] = document["damage"]
    assert (finding["file"], finding["record"], finding["step"]) == ("segment-000001.h5", 1, step)


@pytest.mark.parametrize("seed", range(4))
def test_no_flipped_bit_of_a_segment_goes_unnoticed(tmp_path, seed):
    """Exact: 15 seeded flips anywhere in any segment."""
    path, generator = written(tmp_path / "run"), random.Random(seed)
    for _ in range(15):
        file = generator.choice(sorted(path.glob("segment-*.h5")))
        at = generator.randrange(file.stat().st_size)
        flip(file, at)
        assert verify(path).damage, f"byte {at} of {file.name}"
        flip(file, at)
    assert not verify(path).damage


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: (path / "segment-000001.h5").unlink(), "the file is missing"),
        (lambda path: flip(path / "segment-000000.h5", 60), "the copy at its end was used"),
        (lambda path: flip(path / "segment-000000.h5", -20), "the copy of the user block at its end is missing"),
        (lambda path: (path / "segment-000001.h5").write_bytes(b"x" * 900), "none of its checkpoints can be read"),
        (lambda path: flip(path / "resume-0.h5", 100), "resume-0.h5: the SHA-256 of the JSON is wrong"),
        (lambda path: os.truncate(path / "resume-0.h5", 9000), "resume-0.h5: "),
        (lambda path: (path / "resume-0.h5").write_bytes(b""), "resume-0.h5: the file is too short"),
    ],
)
def test_damage_of_a_file_is_named(tmp_path, harm, words):
    path = written(tmp_path / "run", kept=3)
    harm(path)
    verdict = verify(path)
    assert any(words in str(finding) for finding in verdict.damage), verdict.damage
    assert verdict.steps


def test_a_cut_file_is_told_with_its_size_and_the_one_it_had(tmp_path):
    path = written(tmp_path / "run") / "segment-000001.h5"
    descriptor = open_regular(path)
    header, _ = read_header(descriptor, path.name)
    os.close(descriptor)
    size = header.data_offset + 20  # amid its first record, wherever the header's length has put that
    os.truncate(path, size)
    [reason] = [finding.reason for finding in verify(path.parent).damage if finding.kind == "file"]
    assert reason == f"it was cut to {size} bytes, of {header.end}: records from 0 on, if there were any, are lost"


def test_every_array_of_a_resume_slot_is_checked(tmp_path):
    path = written(tmp_path / "run", kept=3)
    slot = max(path.glob("resume-*.h5"), key=lambda file: file.stat().st_size)
    place = slot.read_bytes().index(torch.get_rng_state().numpy().tobytes()[:64])
    flip(slot, place + 40)
    assert [finding.file for finding in verify(path).damage] == [slot.name]
    assert "the SHA-256 of the array at byte" in verify(path).damage[0].reason


def test_the_last_record_of_a_killed_run_may_be_torn_and_is_no_damage(tmp_path, capsys):
    path, model = tmp_path / "run", nn.Linear(2, 2)
    record = Recorder(path, state={}, notice=lambda text: None)
    for step in range(3):
        record(step, model)
    header = open_run(path)._records.segments[0].header
    with open(path / "segment-000000.h5", "r+b") as file:
        file.seek(header.data_offset + 3 * header.layout.dtype.itemsize)
        file.write(b"\7" * 20)
    verdict = verify(path)  # of a live run
    assert (verdict.steps, verdict.damage, len(verdict.torn)) == ([0, 1, 2], [], 1)
    assert verdict.writer.pid == os.getpid()
    record._lock.release()  # as if it had died
    assert command(["verify", str(path)]) == 0
    assert "no damage: segment-000000.h5: record 3" in capsys.readouterr().out
    repair(path, tmp_path / "new")
    assert verify(tmp_path / "new").steps == [0, 1, 2]


def test_a_run_of_which_no_segment_can_be_read_says_why(tmp_path, capsys):
    path = written(tmp_path / "run")
    for file in path.glob("segment-*.h5"):
        file.write_bytes(bytes(100))
    assert command(["verify", str(path)]) == 4
    assert "segment-000000.h5: its user block is damaged (the magic bytes are wrong)" in capsys.readouterr().out
    assert command(["repair", str(path), "--out", str(tmp_path / "new")]) == 1
    assert "no checkpoint in it is whole, so there is nothing to copy" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_segment_that_may_not_be_read_is_an_error_and_not_damage(tmp_path, capsys, monkeypatch):
    path = written(tmp_path / "run")
    sealed = min(path.glob("segment-*.h5"))

    def refusing(file, *args):  # whoever runs the tests may be root, who may read everything
        if file == sealed:
            raise PermissionError(13, "Permission denied", str(file))
        return Segment(file, *args)

    monkeypatch.setattr("devi.checkpoints.records.Segment", refusing)
    assert command(["verify", str(path)]) == 1
    said = capsys.readouterr().err
    assert "segment-000000.h5: may not be read by this user" in said
    assert f"chmod a+r {sealed}" in said


def test_a_folder_without_a_run_is_an_error_and_not_damage(tmp_path, capsys):
    assert command(["verify", str(tmp_path)]) == 1
    assert "holds no checkpoints" in capsys.readouterr().err


def test_a_run_of_which_only_the_resume_slots_are_left_is_damaged(tmp_path, capsys):
    path = written(tmp_path / "run", kept=3)
    for file in path.glob("segment-*.h5"):
        file.unlink()
    assert command(["verify", str(path)]) == 4
    assert "damage: segment-000000.h5: the file is missing, with its checkpoints" in capsys.readouterr().out


def test_checkpoints_lost_from_the_end_are_told_by_the_resume_slot(tmp_path):
    path = written(tmp_path / "run", kept=RECORDS - 1)
    max(path.glob("segment-*.h5")).unlink()
    assert any("the checkpoints after step" in str(finding) for finding in verify(path).damage)


def test_a_state_that_is_kept_between_two_checkpoints_is_no_damage(tmp_path):
    path, model = tmp_path / "run", nn.Linear(2, 2)
    with Recorder(path, state={}, notice=lambda text: None) as record:
        for step in (0, 10):
            record(step, model)
        record.keep(13, model)
    assert verify(path).damage == []
    assert repair(path, tmp_path / "new")["lost"] == []
    with Recorder(path, state={}, resume=True, notice=lambda text: None) as record:
        assert record.restore(model) == 13
        record(13, model)
    assert verify(path).steps == [0, 10, 13]


@pytest.mark.parametrize("is_old", [False, True])
def test_a_slot_tells_of_lost_checkpoints_wherever_its_state_was_kept(tmp_path, monkeypatch, is_old):
    """A slot of an older devi does not say on which checkpoint it builds: it counts as taken at one."""
    path, model, real = tmp_path / "run", nn.Linear(2, 2), resume.packed
    if is_old:
        monkeypatch.setattr(resume, "packed", lambda about: real({k: about[k] for k in about if k != "recorded"}))
    with Recorder(path, state={}, notice=lambda text: None, segment_bytes=300) as record:
        for step in range(RECORDS):
            record(step, model)
        record.keep(RECORDS - 1 if is_old else 100, model)
    assert verify(path).damage == []
    max(path.glob("segment-*.h5")).unlink()
    last = verify(path).steps[-1]
    words = f"it builds on step {RECORDS - 1}; the checkpoints after step {last} are lost"
    assert words in [finding.reason for finding in verify(path).damage]


@pytest.mark.parametrize("names", [[1, 0, 2, 3], [1, 2, 0, 3], [3, 2, 1, 0], [4, 1, 2, 3]])
def test_segments_that_only_changed_their_names_are_given_them_back_before_a_repair(tmp_path, names):
    path = written(tmp_path / "run")
    before = contents(path)
    for number, file in enumerate(sorted(path.glob("segment-*.h5"))):
        file.rename(path / f"segment-{names[number]:06d}.h5.aside")
    for file in path.glob("*.aside"):
        file.rename(file.with_suffix(""))
    wrong = {finding.reason for finding in verify(path).damage}
    assert "inside it is segment 0. Give it its own name back: segment-000000.h5" in wrong
    with pytest.raises(DeviError, match="would be lost, for nothing but a name.* first: mv -n ") as error:
        repair(path, tmp_path / "new")
    subprocess.run(str(error.value).rpartition("first: ")[2], shell=True, check=True)
    assert contents(path) == before
    assert verify(path).damage == []


def test_a_segment_that_is_there_twice_is_left_out_once(tmp_path):
    path = written(tmp_path / "run")
    shutil.copy(path / "segment-000001.h5", path / "segment-000003.h5")
    assert "for which there is a file; it was left out" in str(verify(path).damage[0])
    assert repair(path, tmp_path / "new")["kept"]["count"] == RECORDS


def test_repair_keeps_every_whole_record_bit_for_bit_and_touches_nothing(tmp_path, capsys):
    path, new = written(tmp_path / "run"), tmp_path / "new"
    damage_record(path / "segment-000002.h5", 0)
    (path / "segment-000000.h5").unlink()
    before, old = contents(path), open_run(path)
    assert command(["repair", str(path), "--out", str(new)]) == 0
    assert contents(path) == before
    run = open_run(new)
    assert verify(new).damage == verify(new).torn == []
    np.testing.assert_array_equal(run.steps, old.steps)
    for name, values in old.parameters().items():
        assert run.parameters()[name].tobytes() == values.tobytes()
    np.testing.assert_array_equal(run.scalars.loss, run.steps)
    assert run.metadata == old.metadata
    note = json.loads((new / "repair.json").read_text())
    assert [(lost["file"], lost["record"]) for lost in note["lost"]] == [
        ("segment-000000.h5", None),
        ("segment-000002.h5", 0),
    ]
    assert note["kept"]["count"] == len(run)
    assert "what was whole of a damaged run" in run.problems[0]
    told = (
        f"lost: 1 of the 7 checkpoints that the files left of it say they hold; 2 findings named in {new}/repair.json"
    )
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("training", [None, {"steps": 12}])
def test_repair_of_a_cut_run_says_how_many_checkpoints_are_gone_and_how_the_rest_is_resumed(tmp_path, capsys, training):
    path, new = tmp_path / "run", tmp_path / "new"
    about = {} if training is None else {"training": training, "task": "my zoo.py:LM"}
    with Recorder(path, state={}, metadata=about, notice=lambda text: None) as record:
        for step in range(RECORDS):
            record(step, nn.Linear(20, 20))
    os.truncate(path / "segment-000000.h5", (path / "segment-000000.h5").stat().st_size // 2)
    assert command(["repair", str(path), "--out", str(new)]) == 0
    printed = capsys.readouterr().out
    kept = len(open_run(new))
    assert 0 < kept < RECORDS
    assert f"{RECORDS - kept} of the {RECORDS} checkpoints that the files left of it say they hold" in printed
    own = " --task 'my zoo.py:LM'" if training else ""
    by_hand = f"in the loop that recorded it, Recorder('{new}', ..., resume=True)"
    how = f"devi train 'my zoo.py:LM' --out {new} --resume" if training else by_hand
    assert f"it can be resumed: {how}\n" in printed
    assert f"next: devi analyze {new}{own}\n" in printed


def test_a_repaired_run_is_resumed_from_its_slot(tmp_path):
    path, new = written(tmp_path / "run", kept=9), tmp_path / "new"
    for file in sorted(path.glob("segment-*.h5"))[1:3]:
        damage_record(file, 0)
    damage_record(max(path.glob("segment-*.h5")), 0)
    repair(path, new)
    model = nn.Linear(2, 2)
    state = {"optimizer": torch.optim.SGD(model.parameters(), 0.1)}
    with Recorder(new, state=state, resume=True, notice=lambda text: None) as record:
        start = record.restore(model)
        for step in range(start, RECORDS + 3):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(step)
            record(step, model, loss=float(step))
    assert open_run(new).steps[-1] == RECORDS + 2
    assert not verify(new).damage


def test_a_damaged_slot_is_left_behind(tmp_path):
    path, new = written(tmp_path / "run", kept=3), tmp_path / "new"
    for file in path.glob("resume-*.h5"):
        flip(file, 60)
    note = repair(path, new)
    assert note["resume_slots"] == []
    assert {lost["file"] for lost in note["lost"]} == {"resume-0.h5", "resume-1.h5"} & set(contents(path))


@pytest.mark.parametrize("place", ["run/new", "run", "used", "used/file", "link"])
def test_repair_writes_only_where_nothing_is(tmp_path, place):
    path = written(tmp_path / "run")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = contents(path)
    with pytest.raises(DeviError, match="not free|lies in the run"):
        repair(path, tmp_path / place)
    assert contents(path) == before
    assert (tmp_path / "used" / "file").read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "run", "used"]


def test_an_interrupted_repair_leaves_nothing(tmp_path):
    path = written(tmp_path / "run")

    def interrupt(done, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair(path, tmp_path / "new", interrupt)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_run_that_is_being_written_is_not_repaired(tmp_path):
    path = written(tmp_path / "run")
    holder = {"pid": os.getppid(), "host": socket.gethostname(), "started": None, "since": "today"}
    (path / "writer.lock").write_text(json.dumps(holder))
    with pytest.raises(DeviError, match=r"is being written by process \d+ on"):
        repair(path, tmp_path / "new")
    (path / "writer.lock").write_text(json.dumps({**holder, "host": "elsewhere"}))
    with pytest.raises(DeviError, match=r"cannot be seen from here .* If it is certainly gone: rm .*writer.lock"):
        repair(path, tmp_path / "new")
    shutil.rmtree(path)
