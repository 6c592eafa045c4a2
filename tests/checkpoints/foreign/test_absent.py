"""Absent: a name that would be a checkpoint is never left out without a word."""

import os
import re

import pytest
import torch

from devi import DeviError
from devi.checkpoints.foreign.cache import converted
from devi.checkpoints.foreign.convert import convert
from devi.checkpoints.foreign.listing import is_foreign, open_source
from tests.checkpoints.foreign.saved import Net, state


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    torch.save(state(1), folder / "step_1.pt")
    return folder


def link(place):
    place.symlink_to("annex/key")


def loop(place):
    place.symlink_to(place.name)


def test_a_link_to_a_file_is_that_file(files, tmp_path):
    (files / "step_1.pt").rename(tmp_path / "key")
    (files / "step_1.pt").symlink_to("../key")
    assert [place.step for place in open_source(files).places] == [1]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (link, "a link to annex/key, which is not there"),
        (loop, "a link to step_2.pt, which leads in a circle"),
        (os.mkfifo, "a pipe, a socket or a device, and no file"),
    ],
)
def test_a_name_without_a_file_behind_it_is_refused_with_what_it_is(files, tmp_path, make, why):
    absent = files / "step_2.pt"
    make(absent)
    words = rf"^{re.escape(str(absent))} is {why}: by its name .* 1 checkpoint less .*: rm {re.escape(str(absent))}$"
    with pytest.raises(DeviError, match=words):
        convert(files, tmp_path / "run", Net())
    with pytest.raises(DeviError, match=words):
        convert(files, tmp_path / "run", Net(), pattern=r"step_(\d)")
    with pytest.raises(DeviError, match=words):
        convert(absent, tmp_path / "run", Net())
    assert not (tmp_path / "run").exists()
    assert convert(files, tmp_path / "run", Net(), pattern=r"step_(1)").checkpoints == 1


def test_where_all_are_gone_that_is_the_reason(tmp_path):
    for step in (1, 2, 3):
        link(tmp_path / f"step_{step}.pt")
    assert is_foreign(tmp_path)
    with pytest.raises(DeviError, match=r"step_1.pt is a link .*not there, and so are 2 more: .* 3 checkpoints less"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["checkpoint-2", "checkpoint-1/model.safetensors"])
def test_a_folder_or_its_weights_that_are_not_there_are_refused_too(tmp_path, name):
    (tmp_path / "checkpoint-1").mkdir()
    torch.save(state(1), tmp_path / "checkpoint-1" / "pytorch_model.bin")
    link(tmp_path / name)
    with pytest.raises(DeviError, match=rf"{name} is a link to annex/key, which is not there: "):
        open_source(tmp_path)
    if "/" in name:
        with pytest.raises(DeviError, match=rf"{name} is a link to annex/key, which is not there: "):
            open_source(tmp_path / "checkpoint-1")


def test_a_conversion_that_is_kept_outlives_storage_that_is_not_mounted(files, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = converted(files, Net())
    (files / "step_1.pt").rename(tmp_path / "key")
    link(files / "step_1.pt")
    with pytest.raises(DeviError, match=r"step_1.pt is a link to annex/key, which is not there"):
        converted(files, Net())
    assert kept.is_dir()
