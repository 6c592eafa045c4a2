"""Whereabouts: nothing is called safe that is not there any more."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints.room import Room
from devi.checkpoints.whereabouts import what_is_gone


def quiet(text):
    pass


def change_while_it_is_written(path, change, *, segment_bytes=1 << 20):
    """The message of a Recorder whose run is changed after ten of its checkpoints."""
    record = Recorder(path, notice=quiet, segment_bytes=segment_bytes)
    for step in range(10):
        record(step, nn.Linear(2, 2))
    change(path)
    with pytest.raises(DeviError) as error:
        record.close()
    assert "is safe" not in str(error.value)
    return str(error.value)


def test_nothing_is_missing_of_a_run_that_was_left_alone(tmp_path):
    with Recorder(tmp_path / "run", notice=quiet, segment_bytes=100) as record:
        for step in range(5):
            record(step, nn.Linear(2, 2))
            assert what_is_gone(tmp_path / "run", step) is None
    assert what_is_gone(tmp_path / "run", 4) is None


def test_a_directory_that_was_moved_or_deleted_is_gone(tmp_path):
    words = "This directory is gone, and the checkpoints up to step 9 with it: it was deleted or moved meanwhile."
    assert words in change_while_it_is_written(tmp_path / "moved", lambda path: path.rename(tmp_path / "there"))
    assert open_run(tmp_path / "there").steps.tolist() == list(range(10))
    text = change_while_it_is_written(tmp_path / "deleted", shutil.rmtree)
    assert text.startswith(f"{tmp_path / 'deleted'}: cannot write here. {words} Put that right, then go on with")


def test_a_relative_path_is_told_with_the_directory_it_was_looked_for_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = what_is_gone(Path("run"), 9)
    assert f"This directory is gone (seen from {tmp_path}), and" in text


def test_a_file_that_was_deleted_is_named(tmp_path):
    text = change_while_it_is_written(tmp_path / "run", lambda path: (path / "segment-000000.h5").unlink())
    assert "segment-000000.h5 of the checkpoints up to step 9 is gone: deleted meanwhile" in text


def test_a_directory_that_another_one_replaced_holds_nothing_of_it(tmp_path):
    def replace(path):
        path.rename(tmp_path / "moved")
        path.mkdir()

    text = change_while_it_is_written(tmp_path / "run", replace)
    assert "segment-000000.h5 of the checkpoints up to step 9 is gone" in text


@pytest.mark.parametrize("segment_bytes", [1 << 20, 100])
def test_a_run_that_was_moved_away_writes_nothing_over_another_that_took_its_name(tmp_path, segment_bytes):
    path, model = tmp_path / "run", nn.Linear(2, 2)
    moved = Recorder(path, state={}, notice=quiet, segment_bytes=segment_bytes)
    for step in range(3):
        moved(step, model)
    moved.keep(2, model)
    path.rename(tmp_path / "there")
    with Recorder(path, state={}, notice=quiet, segment_bytes=segment_bytes) as other:
        for step in range(9):
            other(step, model)
    before = {each.name: each.read_bytes() for each in path.iterdir()}
    with pytest.raises(DeviError, match=r"run: another run stands here now; .* Nothing of the other was touched\."):
        moved.keep(3, model)
    with contextlib.suppress(DeviError):  # where the next record begins a segment; else it goes to the file that moved
        moved(3, model)
    with pytest.raises(DeviError, match=r"another file stands there"):
        moved.close()
    assert {each.name: each.read_bytes() for each in path.iterdir()} == before
    with Recorder(tmp_path / "there", state={}, resume=True, notice=quiet) as moved:
        assert moved.restore(model) == 2


def test_files_that_end_before_the_last_checkpoint_are_told(tmp_path, monkeypatch):
    record = Recorder(tmp_path / "run", notice=quiet)
    record(0, nn.Linear(2, 2))
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    record(1, nn.Linear(2, 2))
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "copy").rename(tmp_path / "run")

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Room, "put", full)
        with pytest.raises(DeviError, match=r"disk is full. Not all of the checkpoints up to step 1 are there: the"
                           r" files end at step 0\."):  # fmt: skip
            record(2, nn.Linear(2, 2))
    with pytest.raises(DeviError, match="stays as it is: another file stands there"):
        record.close()
    assert open_run(tmp_path / "run").steps.tolist() == [0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read_are_not_called_safe(tmp_path):
    with Recorder(tmp_path / "run", notice=quiet) as record:
        record(0, nn.Linear(2, 2))
    (tmp_path / "run" / "segment-000000.h5").chmod(0)
    assert what_is_gone(tmp_path / "run", 0) == (
        "Whether the checkpoints up to step 0 are safe cannot be seen: Permission denied."
    )


def test_a_file_that_is_no_segment_any_more_is_not_called_safe(tmp_path):
    with Recorder(tmp_path / "run", notice=quiet) as record:
        record(0, nn.Linear(2, 2))
    (tmp_path / "run" / "segment-000000.h5").write_bytes(b"")
    assert "Whether the checkpoints up to step 0 are safe cannot be seen" in what_is_gone(tmp_path / "run", 0)
