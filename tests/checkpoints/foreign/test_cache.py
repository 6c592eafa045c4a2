"""The cache of conversions: used again while nothing changed, made anew and cleared when something did."""

import os

import pytest
import torch

from devi import open_run
from devi.checkpoints.foreign.cache import cache_folder, converted, source_id
from tests.checkpoints.foreign.saved import Net, state
from tests.checkpoints.harm import damage_record


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "mine"
    folder.mkdir()
    for step in (1, 2):
        torch.save(state(step), folder / f"step_{step}.pt")
    return folder


def test_the_second_time_nothing_is_written_and_the_place_is_said(source):
    told = []
    place = converted(source, Net(), notice=told.append)
    assert place.is_relative_to(cache_folder())
    assert place.name == "mine"
    before = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    assert converted(source, Net(), notice=told.append) == place
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == before
    assert told == [
        f"{source} is converted: 2 checkpoints, kept in {place}",
        f"{source} was converted before: 2 checkpoints, kept in {place}",
    ]


def test_a_changed_file_is_converted_again_and_the_old_conversion_is_deleted(source):
    old = converted(source, Net())
    torch.save(state(50), source / "step_2.pt")
    os.utime(source / "step_2.pt", ns=(1, 1))
    new = converted(source, Net())
    assert new != old
    assert not old.exists()
    assert open_run(new, Net).parameters(1)["0.weight"][0, 0] == 50


def test_a_damaged_conversion_is_made_anew(source):
    place = converted(source, Net())
    [segment] = place.glob("segment-*.h5")
    whole = open_run(place, Net).parameters(1)["0.weight"].copy()
    damage_record(segment, 1)
    told = []
    assert converted(source, Net(), notice=told.append) == place
    assert "is damaged (segment-000000.h5: record 1 (step 2)" in told[0]
    assert not open_run(place, Net).findings
    assert (open_run(place, Net).parameters(1)["0.weight"] == whole).all()


def test_other_settings_are_another_conversion_beside_it(source):
    one = converted(source, Net())
    other = converted(source, Net(norm=False, tied=False, width=3))
    assert one == other
    for step in (1, 2):
        torch.save({**state(step), "1.weight": state(step)["0.weight"]}, source / f"step_{step}.pt")
    tied = converted(source, Net(tied=True))
    untied = converted(source, Net())
    assert tied != untied
    assert tied.exists()


def test_a_report_is_on_the_source_whatever_was_added(source):
    before = source_id(source)
    torch.save(state(3), source / "step_3.pt")
    assert source_id(source) == before
