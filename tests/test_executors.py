import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time

import pytest

from devi.errors import DeviError
from devi.executors import Here, Processes, executor_for, in_order


def where(item: int) -> tuple[int, int]:
    return item * item, os.getpid()


def test_here_is_map_in_this_process():
    assert list(Here().done(where, [1, 2, 3])) == [(0, (1, os.getpid())), (1, (4, os.getpid())), (2, (9, os.getpid()))]


@pytest.mark.slow  # exact, no false alarms: it starts processes
def test_processes_keep_the_order_and_are_others_than_this_one():
    results = list(in_order(Processes(2).done(where, range(8))))
    assert [square for square, _ in results] == [item * item for item in range(8)]
    assert os.getpid() not in {process for _, process in results}


def slowly(item: int) -> int:
    time.sleep(item)
    return item


@pytest.mark.slow  # exact, no false alarms: it starts processes
def test_nobody_waits_for_what_processes_are_at_when_no_more_is_wanted():
    results = Processes(2).done(slowly, [60, 0, 60])  # the second one is handed out before the first is done
    assert next(results) == (1, 0)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 30
    assert not multiprocessing.active_children()


WORKING = r"""
import os, time
from devi.executors import Processes

def work(item):
    print(f"{os.getpid()}\n", end="", flush=True)  # one write, even unbuffered: another one prints too
    time.sleep(600)

if __name__ == "__main__":
    list(Processes(2).done(work, range(4)))
"""


@pytest.mark.slow  # exact, no false alarms: it starts processes
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="processes that are not its own are watched on Linux only")
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_in_the_middle_of_their_work_when_their_parent_is_killed(tmp_path, kind):
    (tmp_path / "working.py").write_text(WORKING)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "working.py")], stdout=subprocess.PIPE, text=True)
    workers = [os.pidfd_open(int(parent.stdout.readline())) for _ in range(2)]
    parent.send_signal(kind)
    parent.wait()
    parent.stdout.close()
    for worker in workers:  # readable once the process has ended; left alone, it would wait for ever
        assert select.select([worker], [], [], 60)[0] == [worker]
        os.close(worker)


def test_in_order_hands_out_what_is_done_once_all_before_it_is():
    results = iter([(1, "b"), (0, "a"), (3, "d"), (2, "c")])
    ordered = in_order(results)
    assert [next(ordered), next(ordered)] == ["a", "b"]
    assert next(results) == (3, "d")  # not asked for before it is wanted
    assert list(in_order(iter([(1, "b"), (0, "a"), (3, "d"), (2, "c")]))) == ["a", "b", "c", "d"]


def test_one_worker_is_here_and_none_is_refused():
    assert isinstance(executor_for(1), Here)
    with pytest.raises(DeviError, match=r"workers must be 1 or more, got 0\. Try: --workers"):
        executor_for(0)


def killed(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.slow  # exact, no false alarms: it starts processes
def test_a_worker_that_the_system_kills_is_an_error_that_says_what_to_do():
    with pytest.raises(DeviError, match="one of 2 worker processes was killed, as the system does where memory ends"):
        list(Processes(2).done(killed, range(4)))


NOTEBOOK = r"""
import sys
from pathlib import Path
from devi.errors import DeviError
from devi.executors import Processes
from devi.plugins import import_files

if __name__ == "__main__":
    class Mine: pass  # as a cell defines it: a worker that imports this file does not

    def work(item): pass

    own = Path("own.py")
    own.write_text("class Own: pass")
    import_files(["own.py"])
    own_class = next(module.Own for name, module in sys.modules.items() if hasattr(module, "Own"))
    print(list(Processes(1).done(id, [own_class()])) and "reached")
    own.unlink()
    print(list(Processes(1).done(abs, [-1])))  # needs nothing of the file that is gone
    for function, item in ((abs, Mine()), (work, 1), (abs, own_class()), (abs, lambda: 0), (abs, open("x", "w"))):
        try:
            list(Processes(1).done(function, [item]))
        except DeviError as error:
            print(error)
"""


@pytest.mark.slow  # exact, no false alarms: it starts processes
def test_what_no_worker_can_be_given_is_told_as_that_and_not_as_the_end_of_memory(tmp_path):
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    command = [sys.executable, "-W", "ignore::ResourceWarning", "notebook.py"]
    reached, others, *errors = subprocess.check_output(command, cwd=tmp_path, text=True).splitlines()
    assert (reached, others) == ("reached", "[(0, 1)]")
    assert len(errors) == 5
    for error in errors[:3]:
        assert error.startswith("a worker process lacks what this one has:")
    for error in errors[3:]:
        assert error.startswith("this cannot be handed to a worker process:")
    assert all(error.endswith("define it in a .py file, or work with one worker.") for error in errors)
