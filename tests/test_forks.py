import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from devi import forks
from devi.errors import DeviError
from devi.forks import can_fork, in_forks
from devi.sampling import walk
from devi.sampling.kernels import Kernel
from devi.sampling.langevin import sgld
from devi.sampling.posterior import Posterior
from devi.sampling.record import Plan, Walk
from devi.sampling.samplers import kernel_named
from devi.sampling.walk import Walkers
from tests.sampling.test_chains import superposition_run

pytestmark = pytest.mark.skipif(not can_fork(), reason="forks are for Linux")


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def quiet(number: int, share: float) -> None:
    pass


def test_results_come_in_the_order_of_their_numbers_from_other_processes():
    found = in_forks(5, lambda number, report: (number**2, os.getpid()), processes=2, progress=quiet)
    assert [square for square, _ in found] == [0, 1, 4, 9, 16]
    assert len({process for _, process in found} - {os.getpid()}) == 2


def test_what_is_reported_is_heard():
    heard = []
    in_forks(2, lambda number, report: report(0.5 + number), processes=2, progress=lambda *each: heard.append(each))
    assert sorted(heard) == [(0, 0.5), (1, 1.5)]


def walked(kernel: Kernel, *more: int, threads: int) -> tuple[Walk, int]:
    torch.set_num_threads(threads)
    posterior = Posterior(superposition_run(3))
    posterior.replicas_at_once = lambda batch_size, memory_bytes=None: 3  # the same chunks in one thread and in two
    rows = torch.arange(3).repeat_interleave(4)
    keys = [(step, chain) for step in range(3) for chain in range(4)]
    step, pull = torch.full((12, 1), 1e-3), torch.full((12, 1), 10.0)
    walkers = Walkers(posterior, kernel, rows, keys, Plan(step, 20.0, pull, 5, 50, 0))
    for draws in more:
        found = walkers.advance(draws)
    return found, walkers.gradients


@pytest.mark.parametrize("name", ["sgld", "psgld", "hmc"])
def test_a_walk_gone_on_with_elsewhere_has_the_bits_of_one_walked_here(name, monkeypatch):
    here, gradients = walked(kernel_named(name), 9, 7, threads=1)
    elsewhere, others = walked(kernel_named(name), 9, 7, threads=2)
    assert gradients == others
    for one, other in zip(here, elsewhere, strict=True):
        assert torch.equal(one, other)
    monkeypatch.setattr(walk, "can_fork", lambda: False)
    for one, other in zip(here, walked(kernel_named(name), 9, 7, threads=2)[0], strict=True):
        assert torch.equal(one, other)


def test_gradients_by_autograd_walk_elsewhere_too(monkeypatch):
    monkeypatch.setattr("devi.tasks.superposition.Superposition.replicas", lambda task: None)
    here, _ = walked(sgld, 8, threads=1)
    elsewhere, _ = walked(sgld, 8, threads=2)
    assert torch.equal(here.excess, elsewhere.excess)


@pytest.mark.parametrize(("replicas", "most", "threads"), [(400, 29, 2), (1, 8, 2), (7, 3, 2), (25, 1, 4), (5, 9, 1)])
def test_replicas_are_shared_out_evenly_and_each_thread_has_as_many_pieces(replicas, most, threads):
    pieces = walk._shares(replicas, most, threads)
    sizes = [piece.stop - piece.start for piece in pieces]
    assert np.concatenate([np.arange(replicas)[piece] for piece in pieces]).tolist() == list(range(replicas))
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(pieces) % threads == 0 or len(pieces) == replicas


def test_what_goes_wrong_there_is_raised_here_and_nothing_is_left_running():
    def work(number, report):
        if number == 1:
            raise DeviError("no such thing.")
        time.sleep(60)

    with pytest.raises(DeviError, match=r"^no such thing\.$"):
        in_forks(2, work, processes=2, progress=quiet)
    assert not any(child.is_alive() for child in _ended())


def test_an_error_that_cannot_be_sent_is_told_in_words():
    class OddError(Exception):
        pass

    def work(number, report):
        raise OddError("odd")

    with pytest.raises(RuntimeError, match="OddError: odd"):
        in_forks(1, work, processes=1, progress=quiet)


def test_a_process_killed_by_the_system_is_memory_that_ended_so_that_the_block_is_halved():
    def work(number, report):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(MemoryError, match="killed, as the system does where memory ends"):
        in_forks(2, work, processes=2, progress=quiet)


def test_a_process_that_ends_by_itself_is_told_of():
    with pytest.raises(RuntimeError, match=r"ended before its work was done \(exit code 3\)"):
        in_forks(1, lambda number, report: os._exit(3), processes=1, progress=quiet)


@pytest.mark.usefixtures("_interrupted_by_ctrl_c")
def test_an_interrupt_here_ends_those_elsewhere():
    def interrupt():
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        in_forks(2, lambda number, report: time.sleep(60), processes=2, progress=quiet)
    assert not any(child.is_alive() for child in _ended())


def _ended() -> list:
    """The children, after a moment to die in."""
    for child in multiprocessing.active_children():
        child.join(10)
    return multiprocessing.active_children()


@pytest.mark.parametrize("may", [True, False])
def test_each_piece_of_work_is_done_once_and_the_share_is_told(may, monkeypatch):
    monkeypatch.setattr(forks, "can_fork", lambda: may)
    monkeypatch.setattr(forks, "cores", lambda: 2)
    heard = []
    found = forks.each(4, lambda number: (number, os.getpid()), heard.append)
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert ({process for _, process in found} == {os.getpid()}) is not may
    assert heard == [0.25, 0.5, 0.75, 1.0]
    assert forks.each(0, lambda number: number, heard.append) == []


def test_no_more_processes_than_are_asked_for(monkeypatch):
    given = len(os.sched_getaffinity(0))
    for asked, expected in (("1", 1), ("", given), ("0", given), ("many", given), ("999", given)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert forks.cores() == expected


def test_the_threads_of_this_process_are_as_many_as_before():
    in_forks(2, lambda number, report: torch.get_num_threads(), processes=2, progress=quiet)
    assert torch.get_num_threads() == 2
    assert in_forks(1, lambda number, report: torch.get_num_threads(), processes=1, progress=quiet) == [1]


def test_children_of_a_killed_process_end_in_the_middle_of_long_work():
    script = (
        "import os, time\n"
        "from devi.forks import in_forks\n"
        "def work(number, report):\n"
        "    print(f'{os.getpid()}\\n', end='', flush=True)\n"  # one write, even unbuffered: another one prints too
        "    time.sleep(600)\n"
        "in_forks(2, work, processes=2, progress=lambda number, share: None)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    children = [os.pidfd_open(int(parent.stdout.readline())) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for child in children:  # readable once the process has ended; left alone, it would work for minutes
        assert select.select([child], [], [], 20)[0] == [child]
        os.close(child)
