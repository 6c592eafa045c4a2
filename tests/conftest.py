"""Shared by all tests: one thread, so that runs are reproducible and the small models fast."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
