"""WriterLock: one writer a run; the lock of one that is certainly gone is taken over, of one that may live not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints.lock import Holder, _file, living_holder
from devi.checkpoints.repair import repair

ME = Holder.me()
RUNS = {"pid": os.getppid(), "started": None}  # a process that certainly runs


def lock_of(path, **changes):
    path.mkdir()
    holder = {"pid": 2**22 + 1, "host": socket.gethostname(), "started": 1, "since": "2026-01-01", **changes}
    (path / "writer.lock").write_text(json.dumps(holder))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="no such process"),
        pytest.param(
            {"pid": os.getpid(), "started": (ME.started or 2) - 1}, id="its pid is reused, here by this process"
        ),
        pytest.param({**RUNS, "machine": ME.machine, "boot": "an earlier one"}, id="the machine was restarted"),
    ],
)
def test_the_lock_of_a_dead_process_is_taken_over_with_a_notice(tmp_path, changes):
    if "boot" in changes and not ME.machine:
        pytest.skip("this machine has no /etc/machine-id: after a restart nobody can tell it from another one")
    if "started" in changes and changes["pid"] == os.getpid() and ME.started is None:
        pytest.skip("this system does not tell when a process began")
    lock_of(tmp_path / "run", **changes)
    with Recorder(tmp_path / "run", state={}, notice=lambda text: None) as record:
        assert "took over the lock of a writer that is gone (process" in record.notices[0]
    assert not (tmp_path / "run" / "writer.lock").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (RUNS, rf"another writer is at work: process {os.getppid()} on .*give another path"),
        ({"host": "elsewhere"}, "process .* on elsewhere.* cannot be seen from here.* rm "),
        ({"machine": "another of this name"}, "cannot be seen from here.* rm "),
        ({"pids": "pid:[1]"}, "cannot be seen from here.* rm "),  # in a container on this machine
        ({"boot": "an earlier one, or another machine", **RUNS}, "another writer is at work"),
    ],
)
def test_a_second_writer_is_refused_and_the_first_one_named(tmp_path, changes, text):
    lock_of(tmp_path / "run", **changes)
    with pytest.raises(DeviError, match=text):
        Recorder(tmp_path / "run")
    assert (tmp_path / "run" / "writer.lock").exists()


@pytest.mark.parametrize("content", [b"", b"\xff{", b"[]", b'{"pid": -1}', b"null"])
def test_a_lock_that_names_nobody_is_taken_over(tmp_path, content):
    """A writer killed between making the lock and naming itself in it leaves an empty one."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "writer.lock").write_bytes(content)
    with Recorder(tmp_path / "run", state={}, notice=lambda text: None) as record:
        assert record.notices == ([] if not content else [f"{tmp_path / 'run'}: took over the lock of a writer that is"
                                                          " gone (an unreadable note)."])  # fmt: skip


def test_the_lock_names_its_holder_and_goes_with_it(tmp_path):
    path = tmp_path / "run"
    with Recorder(path, state={}, notice=lambda text: None) as record:
        assert json.loads((path / "writer.lock").read_text()) == record._lock.holder._asdict()
        assert record._lock.holder._replace(since="", file="") == ME._replace(since="")
        record(0, nn.Linear(1, 1))
        assert open_run(path).is_live
    assert not (path / "writer.lock").exists()
    assert not open_run(path).is_live


def numbered(path):
    """The lock file's own number, where it has one."""
    descriptor = os.open(path / "writer.lock", os.O_RDONLY)
    try:
        return _file(descriptor) or pytest.skip("this file system gives its files no lasting numbers")
    finally:
        os.close(descriptor)


def test_a_copy_of_a_run_that_is_being_written_is_nobodys(tmp_path):
    path, copy, model = tmp_path / "run", tmp_path / "copy", nn.Linear(1, 1)
    with Recorder(path, state={}, notice=lambda text: None) as record:
        record(0, model)
        numbered(path)
        shutil.copytree(path, copy)
        assert open_run(path).is_live
        assert not open_run(copy).is_live
        repair(copy, tmp_path / "repaired")
        with Recorder(copy, state={}, resume=True, notice=lambda text: None) as other:
            other.restore(model)
            other(1, model)
            assert open_run(copy).is_live
        path.rename(tmp_path / "moved")
        assert open_run(tmp_path / "moved").is_live
        (tmp_path / "moved").rename(path)
    assert open_run(copy).steps.tolist() == [0, 1]


@pytest.mark.parametrize(("numbers", "is_held"), [("{}:{}", True), ("1{}:{}", True), ("{}:1{}", False), ("", True)])
def test_a_lock_from_elsewhere_is_a_copy_if_its_file_has_another_number(tmp_path, numbers, is_held):
    """Another host may number its devices otherwise; locks of before say nothing of this."""
    lock_of(tmp_path / "run", host="elsewhere")
    device, number = numbered(tmp_path / "run").split(":")
    holder = json.loads((tmp_path / "run" / "writer.lock").read_text())
    (tmp_path / "run" / "writer.lock").write_text(json.dumps({**holder, "file": numbers.format(device, number)}))
    assert (living_holder(tmp_path / "run") is not None) == is_held


def test_a_forked_child_that_ends_does_not_release_its_parents_lock(tmp_path):
    code = (
        "import os, sys; from devi import Recorder; record = Recorder(sys.argv[1], state={});"
        "child = os.fork();"
        "sys.exit(0) if child == 0 else os.waitpid(child, 0);"
        "sys.exit(not os.path.exists(os.path.join(sys.argv[1], 'writer.lock')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=True, capture_output=True)
    assert not (tmp_path / "run" / "writer.lock").exists()


def test_the_lock_of_a_closed_recorder_whose_run_was_moved_is_nobodys(tmp_path):
    path, moved, model = tmp_path / "run", tmp_path / "moved", nn.Linear(1, 1)
    record = Recorder(path, state={}, notice=lambda text: None)
    record(0, model)
    path.rename(moved)
    with pytest.raises(DeviError, match="already writing this run"):
        Recorder(moved, state={}, resume=True)
    with pytest.raises(DeviError, match="This directory is gone"):
        record.close()
    assert not open_run(moved).is_live
    with Recorder(moved, state={}, resume=True, notice=lambda text: None) as again:
        again(1, model)
        with pytest.raises(DeviError, match="already writing this run"):
            Recorder(moved, state={}, resume=True)
    assert open_run(moved).steps.tolist() == [0, 1]
    assert not (moved / "writer.lock").exists()


def test_a_directory_where_the_lock_would_be_is_named(tmp_path):
    (tmp_path / "run" / "writer.lock").mkdir(parents=True)
    expected = (
        r"cannot write writer.lock: Is a directory. .* Expected a file of that name, or none. Move it away, or give"
    )
    with pytest.raises(DeviError, match=expected):
        Recorder(tmp_path / "run")
