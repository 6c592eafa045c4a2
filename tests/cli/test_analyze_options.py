"""What `devi analyze` is told about sampling: restrictions, other data, a budget, precision, strictness."""

import json
import re

import pytest
import xarray as xr

from devi.cli.main import run

SMALL = [
    "--steps",
    "12",
    "--checkpoints",
    "every:4",
    "--set",
    "features=3",
    "--set",
    "examples=40",
    "--set",
    "hidden=2",
]
FIXED = ["--step-size", "1e-4", "--n-beta", "20", "--localization", "1", "--burn-in", "5", "--draws", "12",
         "--chains", "2", "--batch-size", "0"]  # fmt: skip
OWN = "import torch\nfrom devi import Batch\n\n\ndef ones():\n    return Batch(torch.ones(5, 3), torch.ones(5, 3))\n"


@pytest.fixture
def trained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["train", "superposition", *SMALL, "--out", "run"]) == 0
    capsys.readouterr()
    return tmp_path


def test_every_option_of_sampling_reaches_the_result(trained, capsys):
    (trained / "own.py").write_text(OWN)
    more = ["--restrict", "W", "--restrict", "W[0]+b", "--observe", "test", "--observe", "own.py:ones",
            "--keep-losses", "3", "--dtype", "float64", "--sample-on", "own.py:ones"]  # fmt: skip
    assert run(["analyze", "run", *FIXED, *more, "--json"]) == 0
    captured = capsys.readouterr()
    assert re.search(
        r"llc: sampling takes about \S+ s, 408 gradients", captured.err
    )  # 3 posteriors × 2 chains × 4 checkpoints × 17 steps
    assert json.loads(captured.out)["runs"][0]["gradients"] == 408
    with xr.open_dataset(trained / "reports/run/analysis.h5", engine="h5netcdf") as found:
        assert found["restriction"].values.tolist() == ["W", "W[0]+b"]
        assert found["observed"].values.tolist() == ["test", "own.py:ones"]
        assert found["example_loss"].sizes["example"] == 5
        assert (found.attrs["dtype"], found.attrs["sampled_on"]) == ("float64", "own.py:ones")
        settings = json.loads(found.attrs["settings"])["llc"]
    assert settings["reasons"]["n"] == "5 examples of own.py:ones, which nβ counts"
    assert settings["restrict"] == ["W", "W[0]+b"]
    page = (trained / "reports/run/report.html").read_text()
    assert "408 taken" in page
    assert "W[0]+b" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--restrict", "V"], "no parameter is called 'V'"),
        (["--budget", "soon"], "a budget of 'soon' is no time; expected"),
        (["--dtype", "float16"], "float32"),
        (["--sample-on", "tset"], "Did you mean 'test'?"),
        (["--observe", "own.py:ones"], "there is no such file"),
        (["--keep-losses", "-1"], "keep_losses"),
    ],
)
def test_a_wrong_option_gets_one_message_without_a_traceback(trained, capsys, arguments, message):
    assert run(["analyze", "run", *FIXED, *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_strict_turns_flags_into_exit_code_3_and_information_does_not(trained, capsys, monkeypatch):
    assert run(["analyze", "run", *FIXED]) == 0
    assert "estimates are unhealthy" in capsys.readouterr().out
    assert run(["analyze", "run", *FIXED, "--strict"]) == 3
    monkeypatch.setattr(
        "devi.analysis.INFORMATION",
        frozenset({"virial", "rhat", "ess", "negative", "escape", "headroom", "unresolved"}),
    )
    assert run(["analyze", "run", *FIXED, "--strict"]) == 0


def test_a_flag_of_a_restricted_estimate_counts_too():
    import numpy as np

    from devi.analysis import Analysis

    flags = (("step", "restriction"), np.array([["", ""], ["", "virial"], ["headroom", "unresolved"]]))
    found = xr.Dataset({"restricted_llc_flags": flags}, coords={"step": [0, 5, 9]})
    assert Analysis(found, [], [], [], {}, {}).unhealthy == [5]


def test_the_help_lists_the_samplers_and_what_strict_means(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert run(["analyze", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "sgld, psgld, mala, hmc, devinterp" in text
    assert "by more than headroom or unresolved, which are information" in text
