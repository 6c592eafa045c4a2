"""--json with a user's own code that prints: the document alone on stdout."""

import json

import pytest

from devi.cli.main import run

TALKATIVE = """
print("imported")
from examples.line import Line as Quiet

class Line(Quiet):
    def data(self, split):
        print("data")
        return super().data(split)
"""


@pytest.fixture
def talkative(tmp_path, monkeypatch):
    (tmp_path / "talkative.py").write_text(TALKATIVE)
    monkeypatch.chdir(tmp_path)
    return "talkative.py:Line"


def test_what_a_task_prints_is_not_among_the_answers(talkative, capsys):
    assert run(["train", talkative, "--steps", "5", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["steps"] == 5
    assert "data\n" in err
    assert run(["tasks", talkative, "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_without_json_it_is_printed_where_it_prints(talkative, capsys):
    assert run(["train", talkative, "--steps", "5"]) == 0
    assert "data\n" in capsys.readouterr().out


def test_help_is_an_answer(capsys):
    assert run(["show", "--json", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: devi show")


def test_after_an_error_answers_go_to_stdout_again(capsys):
    assert run(["show", "nowhere", "--json"]) == 1
    assert capsys.readouterr().out == ""
    assert run(["tasks"]) == 0
    assert "superposition" in capsys.readouterr().out
