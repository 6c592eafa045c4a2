"""Every file a stranger could send ends in a clear error or a harmless read, quickly and in little memory."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ATTACKS = sorted(
    path
    for path in HERE.glob("*.py")
    if path.stem not in ("__init__", "arena", "forge", "stranger", "test_all", "test_report")
)
SECONDS, MEBIBYTES = 1.0, 100.0  # beyond what importing devi takes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured with /proc")


@pytest.fixture(scope="session")
def arena():
    command = [sys.executable, "-W", "error", HERE / "arena.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parents[1]) as it:
        yield it
        it.stdin.close()


@pytest.mark.parametrize("script", ATTACKS, ids=lambda path: path.stem)
def test_an_attack_ends_in_a_clear_error_or_a_harmless_read(script, arena, tmp_path):
    arena.stdin.write(json.dumps({"script": str(script), "folder": str(tmp_path)}) + "\n")
    arena.stdin.flush()
    answer = json.loads(arena.stdout.readline())
    assert answer["outcome"] in ("read", "refused"), answer["text"]
    assert answer["seconds"] < SECONDS
    assert answer["mib"] < MEBIBYTES
    expected = constants(script).get("REFUSED")
    if expected is not None:
        assert answer["outcome"] == "refused"
        assert expected in answer["text"]
    assert "\x1b" not in answer["text"]  # a name in a file must not write to the terminal
    assert len(answer["text"]) < 4000
    assert not (tmp_path / "harmed").exists()  # what an attack that gets its code run leaves behind


@pytest.mark.parametrize("script", ATTACKS, ids=lambda path: path.stem)
def test_an_attack_says_what_it_tries(script):
    assert len(ast.get_docstring(ast.parse(script.read_text())) or "") > 30


def constants(script):
    """The plain constants of a script: REFUSED = "words that the error must contain"."""
    found = {}
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            found[node.targets[0].id] = node.value.value
    return found
