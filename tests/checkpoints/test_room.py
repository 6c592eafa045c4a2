import errno
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints import room as room_module
from devi.checkpoints.room import MOST_AHEAD, Room, file_system

SIZES = [104, 5_000, 40_000, 200_000]


@pytest.fixture
def file(tmp_path):
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def filled(descriptor, size, count, *, start=1000):
    """A room with `count` records in it, of a file with 77 in every byte that is not theirs; and what was put there."""
    os.pwrite(descriptor, bytes([77]) * (start + (count + 1) * size), 0)
    records = np.random.default_rng(size).integers(1, 255, (count, size), np.uint8)
    room = Room(descriptor, start, start + count * size, size)
    for number, record in enumerate(records):
        room.put(record.data, start + number * size)
        # readable at once, as by another process, whatever happens to this one
        assert os.pread(descriptor, size, start + number * size) == record.tobytes()
    room.close()
    return records.tobytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kinds", [room_module.STAYS_IN_PLACE, frozenset()])
def test_records_stand_where_they_were_put_and_nothing_else_is_touched(file, monkeypatch, size, kinds):
    monkeypatch.setattr(room_module, "STAYS_IN_PLACE", kinds)
    assert filled(file, size, 150) == os.pread(file, 150 * size, 1000)
    assert os.pread(file, 1000, 0) == bytes([77]) * 1000
    assert os.pread(file, size, 1000 + 150 * size) == bytes([77]) * size


def test_a_record_in_an_unknown_file_system_is_written(file, monkeypatch):
    monkeypatch.setattr(room_module, "file_system", lambda descriptor: None)
    assert Room(file, 0, 1 << 20, 104)._map is None


def test_a_file_system_has_the_name_that_the_system_gives_it(file):
    told = subprocess.run(
        ["stat", "-f", "-c", "%T", f"/proc/{os.getpid()}/fd/{file}"], capture_output=True, check=False, text=True
    ).stdout.strip()
    assert file_system(file) in (told, "ext4" if told == "ext2/ext3" else "overlay")


@pytest.mark.parametrize("size", SIZES)
def test_zeros_are_written_ahead_of_records_within_bounds(file, size):
    count = 20 * MOST_AHEAD // size
    os.ftruncate(file, count * size)
    room = Room(file, 0, count * size, size)
    if room._map is None:
        pytest.skip("this file system is not one that records are stored in")
    room.put(memoryview(bytes(size)), 0)
    if room._making is not None:
        room._making.result()
    assert size <= room._made <= 2 * max(room_module.LEAST_AHEAD, room_module.AHEAD_RECORDS * size)
    room.close()


@pytest.mark.parametrize("size", SIZES)
def test_no_room_is_an_error_of_the_record_that_has_none_and_the_next_call_tries_again(file, monkeypatch, size):
    os.ftruncate(file, 1000 * size)
    real, most, start = room_module.write_all, 130 * size, 0

    def full(descriptor, data, offset):
        if offset + len(data) > most:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor, data, offset)

    monkeypatch.setattr(room_module, "write_all", full)
    room, record = Room(file, 0, 1000 * size, size), memoryview(bytes([1]) * size)
    for start in range(0, 1000 * size, size):
        try:
            room.put(record, start)
        except OSError:
            break
    assert most - room_module.PIECE_BYTES - size <= start <= most
    monkeypatch.setattr(room_module, "write_all", real)
    for at in range(start, 1000 * size, size):
        room.put(record, at)
    room.close()
    assert os.pread(file, 1000 * size, 0) == bytes([1]) * (1000 * size)


FILL = """
import os, sys
from torch import nn
from devi import DeviError, Recorder
place, model = sys.argv[1], nn.Linear(100, int(sys.argv[2]))
record = Recorder(place + "/run", notice=lambda text: None)
record(0, model)
status = os.statvfs(place)
with open(place + "/ballast", "wb") as file:
    os.posix_fallocate(file.fileno(), 0, max(status.f_bavail * status.f_frsize - 300_000, 1))
try:
    for step in range(1, 100_000):
        record(step, model)
except DeviError as error:
    print(error, flush=True)
    os._exit(3)
"""


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [1, 100])
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_file_system_that_is_really_full_is_told_and_kills_nobody(tmp_path, kind, outputs):
    """With stores into a map the alternative is SIGBUS. Needs the right to mount."""
    place, image = tmp_path / "place", tmp_path / "image"
    place.mkdir()
    source = ["-t", "tmpfs", "-o", "size=32m", "devi-test"]
    if kind == "ext4":
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("no mkfs.ext4")
        image.write_bytes(b"")
        os.truncate(image, 32 << 20)
        subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
        source = ["-o", "loop", str(image)]
    if subprocess.run(["mount", *source, place], check=False, capture_output=True).returncode != 0:
        pytest.skip(f"this user may not mount {kind} here")
    try:
        command = [sys.executable, "-c", textwrap.dedent(FILL), str(place), str(outputs)]
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
        assert done.returncode == 3, done
        assert "the disk is full. Every checkpoint up to step" in done.stdout
        safe = int(done.stdout.split("up to step ")[1].split()[0])
        run = open_run(place / "run")
        assert run.steps.tolist() == list(range(safe + 1))
        assert not run.problems
        (place / "ballast").unlink()
        model = nn.Linear(100, outputs)
        model.load_state_dict({name: _tensor(values) for name, values in run.parameters(-1).items()})
        with Recorder(place / "run", resume=True, notice=lambda text: None) as record:
            record(safe + 1, model)
        assert len(open_run(place / "run")) == safe + 2
    finally:
        subprocess.run(["umount", "-l", place], check=True)  # the run above may still be mapped


def _tensor(values):
    import torch

    return torch.from_numpy(values.copy())


def test_a_recorder_says_that_the_disk_is_full_when_no_room_can_be_made(tmp_path, monkeypatch):
    real = room_module.write_all
    record, model = Recorder(tmp_path / "run", notice=lambda text: None), nn.Linear(300, 30)

    def full(descriptor, data, offset):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    record(0, model)
    monkeypatch.setattr(room_module, "write_all", full)

    def fill():
        for step in range(1, 1000):
            record(step, model)

    with pytest.raises(DeviError, match=r"the disk is full. Every checkpoint up to step \d+ is safe"):
        fill()
    safe = record._store.last_step
    monkeypatch.setattr(room_module, "write_all", real)
    record.close()
    assert open_run(tmp_path / "run").steps.tolist() == list(range(safe + 1))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("left", [0, 1000, 1000 + 104 * 3 + 50])
def test_a_file_that_is_cut_meanwhile_kills_nobody(file, size, left):
    filled(file, size, 50)
    room = Room(file, 1000, 1000 + 50 * size, size)
    record = memoryview(bytes([5]) * size)
    for number in range(20):
        if number in (3, 9):
            room.rest()
            os.truncate(file, left)
        room.put(record, 1000 + number * size)
        assert os.pread(file, size, 1000 + number * size) == record
    room.close()


def test_a_recorder_goes_on_though_its_segment_is_cut_and_what_is_gone_is_told(tmp_path):
    with Recorder(tmp_path / "run", state={}, notice=lambda text: None) as record:
        for step in range(10):
            record(step, nn.Linear(2, 2))
        segment = tmp_path / "run" / "segment-000000.h5"
        os.truncate(segment, 4096)
        for step in range(10, 13):
            record(step, nn.Linear(2, 2))
        run = open_run(tmp_path / "run")
        assert run.steps[-3:].tolist() == [10, 11, 12]
        assert len(run.findings) > 0


@pytest.mark.parametrize("has_slot", [False, True])
def test_a_run_whose_last_segment_was_cut_is_resumed_with_what_is_left(tmp_path, has_slot):
    script = f"""
        import os
        from pathlib import Path
        from torch import nn
        from devi import Recorder
        run = Path({str(tmp_path / "run")!r})
        record = Recorder(run, state={{}}, notice=lambda text: None)
        for step in range(10):
            record(step, model := nn.Linear(2, 2))
        record.keep(9, model)  # waits for the slot that the thread may be writing
        for slot in run.glob("resume-*") if not {has_slot} else ():
            slot.unlink()
        os._exit(0)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    os.truncate(tmp_path / "run" / "segment-000000.h5", 4096)
    notices = []
    model = nn.Linear(2, 2)
    with Recorder(tmp_path / "run", state={}, resume=True, notice=notices.append) as record:
        assert record.restore(model) == (9 if has_slot else None)
        record(20, model)
    assert any("segment-000000.h5" in notice for notice in notices)
    assert open_run(tmp_path / "run").steps.tolist()[-1] == 20
