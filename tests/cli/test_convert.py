"""devi convert and devi analyze FOLDER as a user meets them."""

import json

import pytest
import torch

from devi import open_run
from devi.checkpoints.foreign.cache import source_id
from devi.cli.main import run

QUICK = ["--draws", "40", "--burn-in", "20"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def save(folder, features=5, suffix="pt", **names):
    folder.mkdir()
    for step in (9, 10, 100):
        content = {"W": torch.full((2, features), step / 100), "b": torch.full((features,), step / 100)}
        torch.save(
            {names.get(name, name): tensor for name, tensor in content.items()}, folder / f"step_{step}.{suffix}"
        )


def test_the_example_of_the_help_works(here, capsys):
    save(here / "my_checkpoints")
    run(["convert", "--help"])
    example = capsys.readouterr().out.split("Example: devi ")[1].split("Options")[0].replace("│", " ").split()
    example = example[: example.index("features=5") + 1]
    assert run(example) == 0
    printed = capsys.readouterr()
    assert "checkpoints/mine: 3 checkpoints, from files, steps 9 to 100" in printed.out
    assert "next: devi analyze checkpoints/mine --task superposition" in printed.out
    assert printed.err == ""
    assert run(["show", "checkpoints/mine"]) == 0
    assert open_run("checkpoints/mine").steps.tolist() == [9, 10, 100]


def test_json_prints_one_document(here, capsys):
    save(here / "a", features=6)
    assert run(["convert", "a", "--out", "b", "--task", "superposition", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "run": "b",
        "kind": "files",
        "checkpoints": 3,
        "already": 0,
        "first": 9,
        "last": 100,
        "notices": [],
    }


def test_the_rename_that_an_error_suggests_works(here, capsys):
    save(here / "a", features=6, W="dictionary", b="offset")
    command = ["convert", "a", "--out", "b", "--task", "superposition"]
    assert run(command) == 1
    message = capsys.readouterr().err
    assert "dictionary (2, 6)" in message
    suggested = message.split("If those are the same: ")[1].split("\n")[0].split()
    assert run([*command, *suggested]) == 0
    assert open_run("b").parameters(0)["b"].shape == (6,)


def test_a_task_must_be_named(here, capsys):
    save(here / "a")
    assert run(["convert", "a", "--out", "b"]) == 2
    assert "--task" in capsys.readouterr().err
    assert run(["analyze", "a"]) == 1
    assert "which do not say what model they are of. Say it: devi analyze a --task" in capsys.readouterr().err


def test_an_interrupt_keeps_what_is_done(here, capsys, monkeypatch):
    save(here / "a", features=6)
    from devi.checkpoints.writer import Recorder

    record, calls = Recorder.__call__, []

    def interrupted(self, step, model):
        calls.append(step)
        if step == 100:
            raise KeyboardInterrupt
        record(self, step, model)

    monkeypatch.setattr(Recorder, "__call__", interrupted)
    assert run(["convert", "a", "--out", "b", "--task", "superposition"]) == 130
    assert "everything finished so far is kept" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert run(["convert", "a", "--out", "b", "--task", "superposition"]) == 0
    assert "3 checkpoints, 2 of them from before" in capsys.readouterr().out


@pytest.mark.slow
def test_a_folder_of_checkpoints_is_analyzed_through_a_cache_and_its_names_reach_no_page_as_html(here, capsys):
    folder = here / "<img src=x onerror=alert(1)>"
    save(folder, features=6)
    command = ["analyze", str(folder), "--task", "superposition", "--out", "report", *QUICK]
    command += ["--step-size", "1e-4", "--localization", "1"]  # given, so that nothing is calibrated
    assert run(command) == 0
    assert "3 checkpoints, kept in" in capsys.readouterr().err.replace("\n", " ")
    page = (here / "report" / "report.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert (here / "report" / ".devi-report").read_text().strip() == source_id(folder)  # stays when the folder grows


def test_a_folder_that_does_not_fit_says_that_convert_has_the_options(here, capsys):
    save(here / "a")
    assert run(["analyze", "a", "--task", "superposition", *QUICK]) == 1
    message = capsys.readouterr().err
    assert "Try: --set features=5" in message
    assert "are those of: devi convert a --out checkpoints/a --task superposition" in message
