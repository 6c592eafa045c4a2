import gc
import os
import signal
import subprocess
import sys
import threading

import pytest

from devi.checkpoints.syncer import Syncer
from devi.checkpoints.worker import Worker
from tests.checkpoints.interrupted import interrupted


@pytest.fixture
def in_time():
    """A test that waits forever fails instead."""

    def fail(number, frame):
        raise TimeoutError("waited for 10 s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def alive(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_jobs_are_done_in_their_order_and_each_once():
    worker, done = Worker("devi-test"), []
    jobs = [worker.job(lambda number=number: done.append(number) or 10 * number) for number in range(5)]
    for job in [*jobs, *jobs]:
        job.begin()
    assert [job.result() for job in jobs] == [0, 10, 20, 30, 40]
    assert done == list(range(5))
    worker.close()


def test_what_goes_wrong_is_handed_back_and_the_next_job_is_done():
    worker = Worker("devi-test")
    job = worker.job(lambda: 1 // 0)
    job.begin()
    with pytest.raises(ZeroDivisionError):
        job.result()
    assert worker.job(lambda: 5).result() == 5
    worker.close()


def test_the_thread_ends_with_a_close_that_waits_for_the_last_job_and_with_its_worker():
    worker, go, done = Worker("devi-closed"), threading.Event(), []
    worker.job(lambda: done.append(go.wait(10))).begin()
    threading.Timer(0.05, go.set).start()
    worker.close()
    worker.close()
    assert done == [True]
    forgotten = Worker("devi-forgotten")
    threads = [*alive("devi-closed"), *alive("devi-forgotten")]
    assert forgotten.job(lambda: 1).result() == 1
    del forgotten
    gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("method", ["begin", "wait", "result"])
def test_a_ctrl_c_at_no_moment_leaves_a_job_undone_for_who_waits_for_it(method):
    worker, moment, is_within = Worker("devi-test"), 0, True
    while is_within:
        moment, done = moment + 1, []
        job = worker.job(lambda done=done: done.append("once"))
        is_within = interrupted(getattr(job, method), moment)
        job.wait()
        job.wait()
        assert done == ["once"]
    assert moment > 1
    worker.close()


@pytest.mark.usefixtures("in_time")
def test_a_ctrl_c_at_no_moment_keeps_a_file_from_being_synced_ever_after(tmp_path):
    file, moment, is_within = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT), 0, True
    while is_within:
        one, done, moment = Syncer(), [], moment + 1
        is_within = interrupted(lambda one=one: one.begin(file), moment)
        one.begin(file, lambda done=done: done.append("synced"))
        one.wait()
        assert done == ["synced"]
        one.close()
    os.close(file)
    assert moment > 8


def test_a_process_that_closes_nothing_ends_and_so_does_a_forked_one():
    code = (
        "import os, sys; from devi.checkpoints.worker import Worker; worker = Worker('devi-test');"
        "worker.job(lambda: (__import__('time').sleep(0.1), print('done', flush=True))).begin();"
        "child = os.fork();"
        "sys.exit(0 if child == 0 else os.waitpid(child, 0)[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "done\n"
