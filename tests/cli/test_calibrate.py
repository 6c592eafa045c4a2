"""devi calibrate as a user meets it."""

import dataclasses
import json
import re
import shlex

import pytest

from devi.checkpoints.reader import open_run
from devi.cli.calibrate import OPTIONS, analyze_command, chosen, sampler_settings, tried
from devi.cli.main import run
from devi.errors import DeviError
from devi.metrics.learning_coefficient import LearningCoefficient
from devi.sampling.settings import Settings, check_settings

SETTINGS = Settings(
    "sgld", step_size=1e-3, n_beta=100.0, localization=2.0, burn_in=10, draws=20, most_draws=20, chains=4,
    batch_size=64,
    reasons={"n_beta": "n / log n with n = 647 training examples", "step_size": "given"},
    tried=[{"step_size": 1e-3 * 2.0**k, "localization": 2.0, "virial": 1.0, "passes": float(k < 3)} for k in range(40)],
    drift={"0": 0.01},
)  # fmt: skip
FIXED = ["chains=2", "draws=20", "burn_in=10", "step_size=1e-3", "n_beta=100", "localization=2", "batch_size=0"]
ALL = [word for setting in FIXED for word in ("--set", setting)]


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """A place with one small run in it."""
    monkeypatch.chdir(tmp_path)
    small = ["--set", "features=3", "--steps", "30", "--checkpoints", "every:10", "--out", "toy"]
    assert run(["train", "superposition", *small]) == 0
    capsys.readouterr()
    return tmp_path


def test_every_setting_stands_beside_its_reason_and_n_beta_says_its_n():
    told = "\n".join(chosen(SETTINGS)).replace("\n" + " " * 27, " ")
    assert "n_beta              100  n / log n with n = 647 training examples" in told
    assert "step_size         0.001  given" in told
    assert "+1.0% at step 0" in told


def test_what_was_tried_is_a_table_of_those_nearest_to_the_chosen_step():
    lines = tried(SETTINGS, 20)
    assert lines[1].split() == ["step", "size", "γ", "virial,", "measured", "passes"]
    assert lines[2].split() == ["0.001", "2", "1", "yes"]
    assert lines[5].split() == ["0.008", "2", "1", "no"]
    assert lines[-1] == "  and 20 more. All of them: --all"
    assert len(tried(SETTINGS, None)) == 42


def test_the_heat_of_the_step_is_not_called_a_virial_and_a_pilots_localization_is_said_to_be_its_own():
    """Two columns are about the virial: what was measured, and by how much the step raises it."""
    row = {"step_size": 1e-3, "localization": 7.0, "virial": 1.2, "virial_excess": 0.03, "passes": 1.0}
    rows = [row, row | {"step_size": 5e-4, "localization": 14.0}]
    told = "\n".join(tried(dataclasses.replace(SETTINGS, tried=rows), None))
    assert re.search("virial, measured +heat of the step +passes", told)
    assert "heat of the step: (ε/4)·E‖∇U‖²/d" in told
    assert "a pilot is short and has one of its own" in " ".join(told.split())
    assert "V − 1" not in told
    given = [one | {"localization": 2.0} for one in rows]
    assert "one of its own" not in " ".join(" ".join(tried(dataclasses.replace(SETTINGS, tried=given), None)).split())


def test_the_line_to_type_names_every_setting():
    line = analyze_command("my runs/a", SETTINGS, seed=3, task="mine.py:Line", device=None)
    assert shlex.split(line) == [
        "devi", "analyze", "my runs/a", "--task", "mine.py:Line", "--sampler", "sgld", "--chains", "4", "--draws", "20",
        "--burn-in", "10", "--step-size", "0.001", "--n-beta", "100", "--localization", "2", "--batch-size", "64",
        "--set", "llc.seed=3",
    ]  # fmt: skip


def test_counts_of_a_million_and_more_stand_in_that_line_as_counts():
    large = dataclasses.replace(SETTINGS, batch_size=1_234_567, draws=10_000_000)
    line = analyze_command("a", large, seed=0, task=None, device=None)
    assert "--draws 10000000 " in line
    assert "--batch-size 1234567 " in line


def test_a_setting_that_is_none_or_no_number_is_named():
    assert sampler_settings(["llc.n_beta=50", "chains=2"]) == {"n_beta": 50.0, "chains": 2}
    with pytest.raises(DeviError, match="no sampler setting is called 'n_bet'. Did you mean 'n_beta'?"):
        sampler_settings(["n_bet=50"])
    with pytest.raises(DeviError, match="'small' is no finite number. Try: --set step_size=0.001; or leave it out"):
        sampler_settings(["step_size=small"])
    with pytest.raises(DeviError, match="'nan' is no finite number. Try: --set chains=4"):
        sampler_settings(["chains=nan"])
    with pytest.raises(DeviError, match="'many' is no finite number. Try: --set chains=4"):
        sampler_settings(["chains=many"])
    with pytest.raises(DeviError, match="chains counts something. Try: --set chains=2"):
        sampler_settings(["chains=2.5"])


@pytest.mark.slow  # a sweep and an analysis
def test_the_figure_is_drawn_in_the_reports_and_the_last_line_runs(here, capsys):
    assert run(["calibrate", "toy", *ALL]) == 0
    told = capsys.readouterr().out
    assert "figure: reports/toy-calibration/sweep.png" in told
    assert (here / "reports/toy-calibration/sweep.svg").is_file()
    assert "flat around the chosen setting" in told
    last = shlex.split(told.splitlines()[-1])
    assert last[:3] == ["devi", "analyze", "toy"]
    assert run(last[1:]) == 0


def test_settings_fixed_by_hand_are_asked_again_whether_they_are_resolved_as_is_said(here, capsys):
    assert run(["calibrate", "toy", *ALL, "--no-figure"]) == 0
    assert "fixed by hand, which asks again whether it is resolved:" in capsys.readouterr().out
    assert LearningCoefficient(**sampler_settings(FIXED)).resolved(open_run("toy")).moves


def test_json_prints_one_document_and_nothing_else(here, capsys):
    assert run(["calibrate", "toy", *ALL, "--no-figure", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["n_beta"] == 100
    assert found["settings"]["reasons"]["n_beta"] == "given"
    assert found["sweep"] is None
    assert found["figures"] == []
    assert not (here / "reports").exists()


@pytest.mark.slow  # a sweep
def test_json_holds_a_row_for_each_setting_and_checkpoint_of_the_sweep(here, capsys):
    assert run(["calibrate", "toy", *ALL, "--out", "drawn", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["training_step"] for row in found["sweep"]} == {10, 20, 30}
    assert {row["varied"] for row in found["sweep"]} == {"step_size", "n_beta"}
    assert found["figures"] == ["drawn/sweep.png", "drawn/sweep.svg"]


def test_the_help_ends_with_an_example(capsys):
    assert run(["calibrate", "--help"]) == 0
    assert re.search(r"Example: devi calibrate checkpoints/superposition-seed0", capsys.readouterr().out)


@pytest.mark.parametrize("name", ["step_size", "n_beta"])
def test_a_step_size_that_samples_nothing_is_refused(here, capsys, name):
    assert run(["calibrate", "toy", "--set", f"{name}=0"]) == 1
    assert f"setting '{name}' = 0.0 is not valid: Input should be greater than 0" in capsys.readouterr().err


def test_what_a_message_suggests_for_a_setting_is_accepted():
    for name, value in OPTIONS.items():
        check_settings(sampler_settings([f"{name}={value}"]))


def test_a_seed_that_is_none_is_refused_before_the_run_is_opened(capsys):
    assert run(["calibrate", "nowhere", "--seed", "-1"]) == 1
    assert "'seed' = -1 is not valid: Input should be greater than or equal to 0" in capsys.readouterr().err


def test_an_amount_of_memory_that_is_none_is_refused(here, capsys):
    assert run(["calibrate", "toy", "--memory", "lots"]) == 1
    assert "--memory 'lots' is no amount of memory. Expected at least 1M" in capsys.readouterr().err


def test_settings_that_do_not_fit_into_memory_are_one_message_that_says_what_to_type(here, capsys, monkeypatch):
    def hungry(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr("devi.sampling.calibration.calibrate", hungry)
    assert run(["calibrate", "toy"]) == 1
    told = capsys.readouterr().err
    assert "toy: choosing settings does not fit into memory (no room)." in told
    assert "--set chains=2" in told
