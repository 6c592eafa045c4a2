"""repair.json: the repair of a repaired run forgets nothing, whatever stands in the old note."""

import json
import os

import pytest
from torch import nn

from devi import Recorder
from devi.checkpoints.repair import repair
from tests.checkpoints.harm import damage_record

RECORDS = 6


@pytest.fixture
def run(tmp_path):
    with Recorder(tmp_path / "run", state={}, notice=lambda text: None) as record:
        for step in range(RECORDS):
            record(step, nn.Linear(2, 2))
    return tmp_path / "run"


def repaired(run, out, record):
    damage_record(run / "segment-000000.h5", record)
    return repair(run, out)


def test_each_repair_names_what_those_before_it_lost_and_where(run, tmp_path):
    first = repaired(run, tmp_path / "one", 1)
    assert first["kept"]["stated"] == RECORDS
    repaired(tmp_path / "one", tmp_path / "two", 2)
    note = repaired(tmp_path / "two", tmp_path / "three", 0)
    assert [(lost["source"], lost["record"], lost["step"]) for lost in note["lost"]] == [
        (str(run), 1, 1),
        (str(tmp_path / "one"), 2, 3),
        (str(tmp_path / "two"), 0, None),
    ]
    assert note["kept"] == {"first": 2, "last": 5, "count": RECORDS - 3, "stated": RECORDS}
    assert note == json.loads((tmp_path / "three" / "repair.json").read_text())


def test_a_note_of_an_older_devi_without_sources_is_of_the_run_that_it_names(run, tmp_path):
    repaired(run, tmp_path / "one", 1)
    place = tmp_path / "one" / "repair.json"
    note = json.loads(place.read_text())
    for lost in note["lost"]:
        del lost["source"]
    place.write_text(json.dumps(note))
    assert repair(tmp_path / "one", tmp_path / "two")["lost"][0]["source"] == str(run)


def test_a_checkpoint_that_was_recorded_again_after_the_first_repair_is_stated_once(run, tmp_path):
    repaired(run, tmp_path / "one", RECORDS - 1)
    with Recorder(tmp_path / "one", state={}, resume=True, notice=lambda text: None) as record:
        record.restore(model := nn.Linear(2, 2))
        for step in (RECORDS - 1, RECORDS):
            record(step, model)
    assert repaired(tmp_path / "one", tmp_path / "two", 1)["kept"]["stated"] == RECORDS + 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not say what"),
        (b"[" * 100_000, "does not say what"),
        (b'{"run_id": "another"}', "of another run"),
        (b'{"run_id": RUN, "source": "x", "kept": {"stated": 9}, "lost": [{"kind": 1}]}', "does not say what"),
        (b'{"run_id": RUN, "source": "x", "kept": {"stated": "9"}, "lost": []}', "does not say what"),
        (None, "it is not a regular file"),
    ],
    ids=range(6),
)
def test_a_note_that_cannot_be_read_is_named_among_what_is_lost(run, tmp_path, content, why):
    run_id = repaired(run, tmp_path / "one", 1)["run_id"]
    place = tmp_path / "one" / "repair.json"
    place.unlink()
    if content is None:
        os.mkfifo(place)
    else:
        place.write_bytes(content.replace(b"RUN", json.dumps(run_id).encode()))
    [lost] = repair(tmp_path / "one", tmp_path / "two")["lost"]
    assert lost["file"] == "repair.json"
    assert why in lost["reason"]
    assert "what an earlier repair lost is not known" in lost["reason"]
