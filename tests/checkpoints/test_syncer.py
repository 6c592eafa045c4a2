import errno
import os
import threading

import pytest
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints import syncer
from devi.checkpoints.syncer import Syncer


def quiet(text):
    pass


@pytest.fixture
def file(tmp_path):
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def refuse(descriptor):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_file_is_synced_though_it_is_closed_meanwhile(tmp_path, monkeypatch):
    synced, go = [], threading.Event()

    def slow(descriptor):
        go.wait(10)
        synced.append(os.path.samestat(os.fstat(descriptor), os.stat(tmp_path / "file")))

    monkeypatch.setattr(syncer.os, "fsync", slow)
    one, descriptor = Syncer(), os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    one.begin(descriptor)
    os.close(descriptor)
    assert one.is_busy
    go.set()
    one.wait()
    assert synced == [True]
    assert not one.is_busy


def test_an_error_is_raised_by_the_next_call_and_once(file, monkeypatch):
    monkeypatch.setattr(syncer.os, "fsync", refuse)
    one = Syncer()
    one.begin(file)
    with pytest.raises(OSError, match="Input/output error"):
        one.wait()
    one.wait()
    one.begin(file)
    with pytest.raises(OSError, match="Input/output error"):
        one.begin(file)


def test_training_goes_on_while_a_full_segment_is_synced(tmp_path, monkeypatch):
    model, go, real = nn.Linear(2, 2), threading.Event(), os.fsync

    def slow(descriptor):
        if threading.current_thread().name.startswith("devi-sync"):
            go.wait(10)
        real(descriptor)

    monkeypatch.setattr(syncer.os, "fsync", slow)
    with Recorder(tmp_path / "run", notice=quiet, segment_bytes=100) as record:  # two records of 48 bytes
        for step in range(3):
            record(step, model)  # the last one while the first two wait for the disk
        assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2]
        go.set()
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2]


def test_a_disk_that_refuses_to_sync_is_told_at_the_next_segment(tmp_path, monkeypatch):
    model, real = nn.Linear(2, 2), os.fsync

    def broken(descriptor):
        (refuse if threading.current_thread().name.startswith("devi-sync") else real)(descriptor)

    monkeypatch.setattr(syncer.os, "fsync", broken)
    record = Recorder(tmp_path / "run", notice=quiet, segment_bytes=1)
    record(0, model)
    with pytest.raises(DeviError, match="cannot write here: Input/output error"):
        record(1, model)
    record._lock.release()
