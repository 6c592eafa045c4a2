import os
import subprocess
import sys

import pytest

ASK = """
import os
from devi.cli.main import main
try:
    main(["tasks"])
finally:
    print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("chosen", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_that_wait_go_to_sleep_soon_unless_the_user_has_decided_how_they_wait(chosen, spins):
    unset = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env={**unset, **chosen}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == spins


def test_how_threads_wait_is_decided_before_torch_is_loaded():
    code = (
        "import sys, devi.cli.main as cli\n"
        "def sleep_soon(): print('torch' in sys.modules)\n"
        "cli.sleep_soon = sleep_soon\n"
        "cli.main(['tasks'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "False"
