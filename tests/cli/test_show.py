"""devi show: fits a screen, whatever is in the run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch
from torch import nn

from devi import Recorder, open_run
from devi.checkpoints.records import Records
from devi.cli.main import run as command
from devi.cli.show import WIDTH, _size


def recorded(path, model, **options):
    with Recorder(path, notice=lambda text: None, **options) as record:
        for step in (0, 10, 2500):
            record(step, model, train_loss=0.5)
    return str(path)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_small_run_is_told_in_full(here, capsys):
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3))
    about = {"settings": {"width": 3}, "note": ["a", "b"], "task": "mine"}
    assert command(["show", recorded(here / "run", model, metadata=about)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("run: 3 checkpoints, steps 0 to 2,500")
    text = "\n".join(line.strip() for line in lines)
    for part in (
        "task              mine",
        "settings          width 3",
        "scalars           train_loss",
        "being written     no",
        "damage            none",
        "note              a, b",
        "0.weight               3×2         float32  6",
        "1.num_batches_tracked  one number  int64    1  buffer",
        "12 parameters in 3 tensors",
    ):
        assert part in text, part


def test_a_thousand_tensors_do_not_flood_the_screen(here, capsys):
    model = nn.ParameterDict({f"p{number}": torch.zeros(2) for number in range(900)})
    recorded(here / "run", model, metadata={"long": "word " * 300})
    assert command(["show", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 80
    assert max(map(len, lines)) <= WIDTH
    assert "  and 880 more. All of them: devi show run --all" in lines
    assert command(["show", "run", "--all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 900


def test_json_has_every_parameter_and_no_text(here, capsys):
    recorded(here / "run", nn.Linear(2, 3))
    assert command(["show", "run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["parameters"]["weight"] == {"shape": [3, 2], "dtype": "float32", "count": 6}
    assert (shown["damage"], shown["torn"], shown["is_live"], shown["writer"]) == ([], [], False, None)
    assert shown["bytes"] == sum(file.stat().st_size for file in (here / "run").iterdir())


def test_who_is_writing_is_said(here, capsys):
    with Recorder(here / "run", notice=lambda text: None) as record:
        record(0, nn.Linear(2, 2))
        assert command(["show", "run"]) == 0
    assert "being written     yes, by process" in capsys.readouterr().out


def test_a_live_run_without_a_checkpoint_is_shown(here, capsys):
    with Recorder(here / "run", notice=lambda text: None) as record:
        record(0, nn.Linear(2, 2))
        header = open_run("run")._records.segments[0].header
        with open(here / "run" / "segment-000000.h5", "r+b") as file:  # as it was before the first one
            file.seek(header.data_offset)
            file.write(bytes(header.layout.dtype.itemsize))
        assert command(["show", "run"]) == 0
        assert "run: 0 checkpoints" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (5 << 30, "5.0 GiB")]
)
def test_sizes_are_for_people(count, text):
    assert _size(count) == text


def test_a_large_run_says_that_its_damage_was_not_looked_for(here, capsys, monkeypatch):
    recorded(here / "run", nn.Linear(50, 50))
    monkeypatch.setattr(Records.open.__func__, "__kwdefaults__", {"at_once": 0})
    assert command(["show", "run"]) == 0
    assert "not looked for: there is much to read. devi verify run" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["my runs/a b", "."])
def test_commands_that_are_printed_work_as_they_stand(tmp_path, monkeypatch, capsys, place):
    """Spaces in a path, and a run that is the working directory."""
    home = tmp_path / "my home" / "r"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    model = nn.Linear(2, 2)
    with Recorder(place, state={}) as record:
        for step in range(3):
            record(step, model)
    records = Records.open(Path(place), is_live=False)
    header, path = records.layout_header, Path(place) / "segment-000000.h5"
    content = bytearray(path.read_bytes())
    content[header.data_offset + header.layout.dtype.itemsize + 20] ^= 1
    path.write_bytes(content)
    assert command(["verify", place]) == 4
    words = shlex.split(capsys.readouterr().out.splitlines()[-1].partition(": ")[2])
    assert words[0] == "devi"
    assert command(words[1:]) == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[:3] == ["next:", "devi", "analyze"]
    assert Path(words[3]).is_dir()


def test_a_name_longer_than_any_file_has_is_the_users_to_change(here, capsys):
    assert command(["show", "x" * 300]) == 1
    assert "No file can have so long a name" in capsys.readouterr().err
