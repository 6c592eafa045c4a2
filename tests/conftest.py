"""Shared by all tests: one thread, so that runs are reproducible and the small models fast."""

import signal

import pytest
import torch
from hypothesis import settings

settings.register_profile("devi", deadline=None)  # timings never decide a test
settings.load_profile("devi")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def _interrupted_by_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    yield
    signal.signal(signal.SIGINT, before)
