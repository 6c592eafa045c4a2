"""WriterLock: one writer a run, held by a file that says who holds it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from devi.checkpoints.room import file_system
from devi.checkpoints.userblock import BlockError, open_regular
from devi.errors import DeviError, quoted, shown

NAME = "writer.lock"
_ZOMBIE = -1
# Where a file has one number for as long as it is there, whoever asks; sshfs, say, makes them up anew each time.
_NUMBERED = frozenset({"ext2", "ext3", "ext4", "xfs", "zfs", "tmpfs", "overlay", "nfs", "nfs4", "lustre", "gpfs"})


# Of this process, whose Recorders are closed and whose files could not be removed: the run was moved meanwhile.
_LEFT: set[Holder] = set()


class Holder(NamedTuple):
    """Who writes. A pid is reused by later processes, after a restart, and in another container: the rest tells."""

    pid: int
    host: str
    started: int | None  # when the process began, in clock ticks since the boot
    since: str
    machine: str = ""  # hosts may share a name
    boot: str = ""
    pids: str = ""  # the namespace that the pid belongs to
    file: str = ""  # 'device:number' of the lock file: a copy of the run has another

    @classmethod
    def me(cls, file: str = "") -> Holder:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        place = _text("/etc/machine-id"), _text("/proc/sys/kernel/random/boot_id"), _link("/proc/self/ns/pid")
        return cls(os.getpid(), socket.gethostname(), _process_start(os.getpid()), now, *place, file)

    @property
    def is_here(self) -> bool:
        """Whether it can be seen from this process."""
        me = Holder.me()
        is_machine = self.host == me.host and self.machine in ("", me.machine)
        return is_machine and (self.pids in ("", me.pids) or self.is_before_boot)

    @property
    def is_before_boot(self) -> bool:
        """Whether the machine was restarted since; without its id it may be another one of the same name."""
        return bool(self.machine and self.boot) and self.boot != Holder.me().boot

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs; taken for granted where nobody here can tell: on another host, say."""
        if not self.is_here:
            return True
        if self in _LEFT:
            return False
        if self.is_before_boot:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        now = _process_start(self.pid)
        if now == _ZOMBIE:
            return False
        return self.started is None or now is None or now == self.started

    def is_of(self, file: str) -> bool:
        """Whether it holds this file, 'device:number', and not the one that this is a copy of."""
        if not (self.file and file):
            return True
        if self.is_here and not self.is_before_boot:
            return self.file == file
        return self.file.partition(":")[2] == file.partition(":")[2]  # other hosts number their devices by themselves

    def __str__(self) -> str:
        return f"process {self.pid} on {shown(self.host)}, since {shown(self.since)}"


def holder_of(folder: Path) -> Holder | None:
    """Who holds the run's lock, dead or alive; None if nobody does, if the file came along with a copy of the run, or
    makes no sense."""
    try:
        descriptor = open_regular(folder / NAME)
        try:
            holder = _parsed(os.pread(descriptor, 4096, 0))
            return holder if holder is not None and holder.is_of(_file(descriptor)) else None
        finally:
            os.close(descriptor)
    except (BlockError, OSError):
        return None


def living_holder(folder: Path) -> Holder | None:
    """Who writes the run now; None if nobody does."""
    holder = holder_of(folder)
    return holder if holder is not None and holder.is_alive else None


class WriterLock:
    """Held from construction until `release`, the object's end, or the process's end.

    Raises DeviError if another living process, or one on another host, holds it.
    """

    def __init__(self, folder: Path, notice: Callable[[str], None]) -> None:
        path = folder / NAME
        with _exclusive(path) as descriptor:
            content = os.pread(descriptor, 4096, 0)
            previous, file = _parsed(content), _file(descriptor)
            is_copy = previous is not None and not previous.is_of(file)
            if previous is not None and previous.is_alive and not is_copy:
                raise DeviError(_refusal(folder, previous))
            if content and not is_copy:
                who = "an unreadable note" if previous is None else str(previous)
                notice(f"{folder}: took over the lock of a writer that is gone ({who}).")
            self.holder = Holder.me(file)
            _LEFT.discard(self.holder)  # made in the same second, with the number of a file that was deleted
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(self.holder._asdict(), sort_keys=True).encode() + b"\n", 0)
            os.fsync(descriptor)
        # Also runs when the recorder is forgotten in a notebook cell that failed, and when the interpreter ends.
        self.release = weakref.finalize(self, _release, path.absolute(), self.holder)


def _refusal(folder: Path, holder: Holder) -> str:
    if holder.pid == os.getpid() and holder.is_here:
        return (
            f"{folder}: this process is already writing this run (since {holder.since}). Close the other Recorder:"
            " use `with Recorder(...) as record:`, or call its close()."
        )
    if holder.is_here:
        return (
            f"{folder}: another writer is at work: {holder}. A run has one writer."
            f" Wait for it, stop it (kill {holder.pid}), or give another path."
        )
    return unseen(folder, holder)


def unseen(folder: Path, holder: Holder) -> str:
    """What to say of a holder that is not here."""
    return (
        f"{folder}: {holder} holds this run; whether it still runs cannot be seen from here ({_here()})."
        f" If it is certainly gone: rm {quoted(folder / NAME)}"
    )


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[int]:
    """The file open, and nobody else between reading and writing it. (flock for moments only: forked workers would
    inherit a longer one and keep it after their parent died.)"""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                is_current = os.path.samestat(os.stat(path), os.fstat(descriptor))
            except FileNotFoundError:
                is_current = False
            if is_current:  # else it was released, and so removed, while we waited
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _release(path: Path, holder: Holder) -> None:
    if os.getpid() != holder.pid:  # a forked child that ends is not the writer
        return
    _LEFT.add(holder)
    with contextlib.suppress(OSError), _exclusive(path) as descriptor:
        found = _parsed(os.pread(descriptor, 4096, 0))
        if found in (holder, None):
            path.unlink()
        if found == holder:
            _LEFT.discard(holder)


def _parsed(content: bytes) -> Holder | None:
    try:
        fields: dict[str, Any] = json.loads(content)
        pid, started = fields["pid"], fields["started"]
        if type(pid) is not int or not 0 < pid < 2**31 or not (started is None or type(started) is int):
            return None
        place = (str(fields.get(name, ""))[:64] for name in ("machine", "boot", "pids", "file"))
        return Holder(pid, str(fields["host"])[:255], started, str(fields["since"])[:64], *place)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _file(descriptor: int) -> str:
    """What tells an open file from its copies; nothing where that cannot be told."""
    stat = os.fstat(descriptor)
    return f"{stat.st_dev}:{stat.st_ino}" if file_system(descriptor) in _NUMBERED else ""


def _here() -> str:
    return f"{socket.gethostname()}, pids of {_link('/proc/self/ns/pid') or 'this system'}"


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)[:64]
    except OSError:
        return ""


def _process_start(pid: int) -> int | None:
    """Start of a process in clock ticks since boot, where the system tells (Linux); _ZOMBIE if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return _ZOMBIE if fields[0] == b"Z" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
