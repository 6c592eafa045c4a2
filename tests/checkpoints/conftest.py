"""Shared by the tests of resuming."""

import pytest

from devi import open_run
from tests.checkpoints.user_loop import Loop


@pytest.fixture(scope="session")
def straight(tmp_path_factory):
    """The run of a user's loop that nothing stopped."""
    path = tmp_path_factory.mktemp("straight") / "run"
    Loop().run(path)
    return open_run(path)
