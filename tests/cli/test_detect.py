"""devi detect: a table in, its transitions out."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from devi.cli.main import run as command
from tests.transitions.planted import STEPS, sigmoid


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path, *, steps=STEPS, **columns):
    rows = [
        ",".join(["step", *columns]),
        *(",".join(map(str, row)) for row in zip(steps, *columns.values(), strict=True)),
    ]
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture
def curves(here):
    noise = 0.02 * np.random.default_rng(0).normal(size=(2, len(STEPS)))
    loss, accuracy = 3 - 2 * sigmoid(300, 0.3) + noise[0], sigmoid(2000, 0.3) + noise[1]
    table(here / "curves.csv", train_loss=loss, test_accuracy=accuracy, lr=np.full(len(STEPS), 1e-3))


def test_transitions_of_a_csv_are_told_with_dates_and_what_did_not_move(here, curves, capsys):
    assert (
        command(
            ["detect", "curves.csv", "--exogenous", "2_000:lr/10", "--plot", "figures/out.png", "--evidence", "proof"]
        )
        == 0
    )
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0] == "curves.csv: 167 checkpoints, steps 1 to 10,000, 2 metrics, 2 transitions (strict)"
    assert "the network memorized its training data: train loss 2." in lines[1]
    assert "no change of its own found in: test_accuracy" in lines[3]
    assert any("coincides with what was declared: lr/10" in line for line in lines[4:])
    assert any(line.startswith("  left out: lr (is set from outside") for line in lines)
    assert (here / "figures/out.png").read_bytes()[:4] == b"\x89PNG"
    assert {path.name for path in (here / "proof").iterdir()} == {"t1.png", "t2.png"}
    assert told.err == ""


def test_json_is_the_document_of_transitions_json_and_nothing_else(curves, capsys):
    assert command(["detect", "curves.csv", "--json", "--metrics", "train_loss,test_accuracy"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["schema", "run", "steps", "transitions", "stages", "skipped", "settings"]
    assert found["schema"] == "devi/transitions/1"
    assert found["run"] == {"name": "curves", "path": "curves.csv"}
    assert [one["midpoint"] for one in found["transitions"]] == pytest.approx([300, 2000], rel=0.05)
    assert found["settings"]["transitions"]["operating_point"] == "strict"


def test_of_many_metrics_the_figure_and_the_terminal_tell_how_many_are_not_shown(here, capsys):
    random = np.random.default_rng(0)
    slow = (STEPS + 10.0) ** -0.3
    others = {f"m{i:02}": slow + 0.02 * random.normal(size=len(STEPS)) for i in range(20)}
    table(here / "wide.csv", **others, z=sigmoid(300, 0.3) + 0.02 * random.normal(size=len(STEPS)))
    assert command(["detect", "wide.csv", "--plot", "wide.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if "no change of its own found in: m" in line)
    assert line.count(", ") == 12
    assert re.search(r"m\d\d, … and \d more$", line)
    assert lines[-1] == "figure: wide.png (9 more panels are not drawn; to choose some: --metrics NAME)"


def test_all_that_was_done_at_one_step_is_told(here, curves, capsys):
    assert command(["detect", "curves.csv", "--exogenous", "2e3:lr/10", "--exogenous", "2,000:batch*2"]) == 0
    assert "coincides with what was declared: lr/10, batch*2" in capsys.readouterr().out


def test_a_unit_that_is_declared_brings_its_materiality(here, capsys):
    table(here / "small.csv", a=0.01 * sigmoid(300, 0.3), b=sigmoid(300, 0.3))
    assert command(["detect", "small.csv", "--units", "a=nats"]) == 0
    assert "left out: a (its range 0.01 is below 0.02" in capsys.readouterr().out


def test_what_is_declared_of_a_metric_is_heeded(here, capsys):
    table(here / "declared.csv", a=0.1 * sigmoid(300, 0.3), b=sigmoid(300, 0.3))
    assert command(["detect", "declared.csv", "--material", "a=0.2", "--bounds", "b=0,1"]) == 0
    printed = capsys.readouterr().out
    assert "left out: a (its range 0.1 is below 0.2" in printed
    assert "1 transition " in printed
    assert command(["detect", "declared.csv", "--monotone", "a=down", "--monotone", "b=down"]) == 0
    assert "0 transitions" in capsys.readouterr().out


def test_a_flat_run_has_no_transition_and_that_is_no_error(here, capsys):
    table(here / "flat.csv", a=np.random.default_rng(0).normal(size=len(STEPS)))
    assert command(["detect", "flat.csv"]) == 0
    assert "1 metric, 0 transitions (strict)" in capsys.readouterr().out


def test_fractional_steps_are_dated_with_their_fractions(here, capsys):
    table(here / "epochs.csv", steps=STEPS / 1e5, a=sigmoid(300, 0.3))
    assert command(["detect", "epochs.csv"]) == 0
    assert "midpoint 0.0030, 90% interval 0.0029 to 0.0031" in capsys.readouterr().out


def test_too_few_checkpoints_are_an_error_that_says_how_many_are_needed(here, capsys):
    table(here / "short.csv", steps=range(1, 8), a=range(7), b=range(7))
    assert command(["detect", "short.csv"]) == 1
    message = capsys.readouterr().err
    assert "no column of short.csv can be searched (a: 7 checkpoints with a finite value after step 0" in message
    assert "at least 10 are needed" in message


def test_a_gap_is_a_notice_and_does_not_spoil_the_json(here, capsys):
    keep = (STEPS < 40) | (STEPS > 900)
    table(here / "gap.csv", steps=STEPS[keep], a=sigmoid(300, 0.3)[keep])
    assert command(["detect", "gap.csv", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["steps"]["count"] == keep.sum()
    assert "devi: nothing was measured between steps 39 and" in told.err


def test_many_rows_are_searched_as_means_and_that_is_told(here, capsys):
    steps = np.arange(1, 4001)
    noise = 0.1 * np.random.default_rng(0).normal(size=len(steps))
    table(here / "long.csv", steps=steps, a=(steps > 1234) + noise)
    assert command(["detect", "long.csv", "--plot", "long.png"]) == 0
    told = capsys.readouterr()
    assert "devi: 4,000 rows are searched as 1,500 means, even in log10(step)." in told.err
    assert "4,000 checkpoints, steps 1 to 4,000, 1 metric, 1 transition" in told.out
    assert "between steps 1,23" in told.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--exogenous", "soon"], "--exogenous 'soon' is not STEP:LABEL; expected e.g. --exogenous 5000:lr/10"),
        (["--exogenous", "-1.5:lr"], "--exogenous '-1.5:lr' is not STEP:LABEL"),
        (
            ["--units", "train_loss=foo"],
            "--units 'foo' is no unit of which it is known what is immaterial; expected nats",
        ),
        (["--exogenous", "²:lr"], "--exogenous '²:lr' is not STEP:LABEL"),
        (["--plot", "curves.csv/out.png"], "Give another place with --plot or --evidence."),
        (["--se", "train_loss"], "--se 'train_loss' is no pair; expected METRIC=COLUMN."),
        (["--units", "loss=nats"], "no column of curves.csv is called 'loss'. Did you mean 'train_loss'?"),
        (["--bounds", "train_loss=1"], "--bounds '1' is no pair of numbers that increase; expected e.g. --bounds"),
        (["--bounds", "train_loss"], "--bounds 'train_loss' is no pair; expected METRIC=LOW,HIGH."),
        (["--monotone", "train_loss=sideways"], "--monotone 'sideways' is no direction; expected METRIC=up or METRIC="),
        (["--material", "train_loss=-1"], "--material '-1' is no size; expected a number of 0 or more"),
        (["--operating-point", "strickt"], "no operating point is called 'strickt'. Did you mean 'strict'?"),
        (["--follow", "--operating-point", "strickt"], "no operating point is called 'strickt'."),
        (
            ["--follow", "--plot", "out.png"],
            "--follow tells transitions as they come and draws none; expected no --plot",
        ),
        (["--patience", "5"], "--patience 5 says how long to wait for a file to grow; it needs --follow."),
        (["--plot", "out.bmp"], "out.bmp ends in '.bmp'; expected .png, .svg, .pdf."),
    ],
)
def test_a_wrong_option_is_said_in_one_line(curves, capsys, arguments, message):
    assert command(["detect", "curves.csv", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.fixture
def growing(here, monkeypatch):
    """growing(path, lines): the file has eight more of these lines each time that somebody waits for it."""
    from devi.cli import follow

    def grows(path, lines):
        def grow(seconds):
            with path.open("a") as file:
                file.write("".join(lines[:8]))
            del lines[:8]

        monkeypatch.setattr(follow, "WAIT", 0.0)
        monkeypatch.setattr(follow.time, "sleep", grow)

    return grows


def steps_and_jump(here):
    (here / "log.csv").write_text("step,a\n")
    values = (STEPS > 400).astype(float)
    return here / "log.csv", [f"{step},{value}\n" for step, value in zip(STEPS, values, strict=True)]


def test_a_growing_file_is_followed_until_it_rests(here, capsys, growing):
    growing(*steps_and_jump(here))
    assert command(["detect", "log.csv", "--follow", "--patience", "0"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "a changed: a 0 → 1" in line
    assert "steps after its end)" in line


def test_of_a_finished_file_what_lies_far_back_is_certain_and_what_has_just_come_is_not(here, capsys, growing):
    table(here / "log.csv", a=(STEPS > 400) - 1.0 * (STEPS > 8300))
    growing(here / "log.csv", [])
    assert command(["detect", "log.csv", "--follow", "--patience", "0"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("step 10,000: between steps 392 and ")
    assert first.endswith("steps after its end)")
    assert second.startswith("step 10,000: between steps ")
    assert second.endswith(", not certain yet: more rows may change it)")
    assert command(["detect", "log.csv", "--follow", "--patience", "0", "--json"]) == 0
    assert [json.loads(line)["certain"] for line in capsys.readouterr().out.splitlines()] == [True, False]


def test_a_file_that_never_comes_or_holds_no_row_is_an_error_once_patience_ends(here, capsys, growing):
    growing(here / "other.csv", [])
    assert command(["detect", "log.csv", "--follow", "--patience", "0"]) == 1
    assert "there is no file log.csv; expected a file of curves" in capsys.readouterr().err
    (here / "log.csv").write_text("step,a\n")
    assert command(["detect", "log.csv", "--follow", "--patience", "0"]) == 1
    assert "log.csv has names and no row; expected one row a checkpoint" in capsys.readouterr().err


def test_what_came_since_the_last_look_is_looked_at_when_the_file_rests(here, capsys, growing):
    values = (STEPS > 400).astype(float)
    table(here / "log.csv", a=values)
    text = (here / "log.csv").read_text()
    (here / "log.csv").write_text("".join(text.splitlines(keepends=True)[:-1]))
    growing(here / "log.csv", [text.splitlines(keepends=True)[-1]])
    assert command(["detect", "log.csv", "--follow", "--patience", "0"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("steps after its end)")


def test_rows_that_went_with_a_rotated_log_still_count(here, capsys, growing, monkeypatch):
    path, lines = steps_and_jump(here)
    growing(path, lines)
    from devi.cli import follow

    grow = follow.time.sleep

    def rotated_once(seconds):
        if len(lines) < len(STEPS) // 3 and path.exists() and not (here / "log.1.csv").exists():
            path.rename(here / "log.1.csv")
            path.write_text("step,a\n")
        grow(seconds)

    monkeypatch.setattr(follow.time, "sleep", rotated_once)
    assert command(["detect", "log.csv", "--follow", "--patience", "0", "--operating-point", "exploratory"]) == 0
    told = capsys.readouterr()
    assert (here / "log.1.csv").exists()
    assert "a changed: a 0 → 1" in told.out
    assert told.err == ""


def test_a_shorter_run_that_begins_later_is_another_one_and_takes_no_rows_of_the_one_before(here):
    from devi.cli.follow import _curves
    from devi.tables.table import read_table

    table(here / "log.csv", a=np.ones(len(STEPS)))
    before = read_table(here / "log.csv").trajectories
    (here / "log.csv").write_text("step,a\n" + "".join(f"{step},2\n" for step in range(50, 90)))
    after = _curves(here / "log.csv", lambda: read_table(here / "log.csv"), before, print)
    assert after["step"].values.tolist() == list(range(50, 90))


def test_standard_input_is_refused_with_what_to_type(here, capsys):
    assert command(["detect", "-"]) == 1
    assert "standard input is not read; expected a file of curves" in capsys.readouterr().err


def test_a_file_of_which_nothing_can_be_searched_says_why_once_patience_ends(here, capsys, growing):
    growing(here / "log.csv", ["step,a\n", *(f"{step},{step}\n" for step in range(1, 7))])
    assert command(["detect", "log.csv", "--follow", "--patience", "0"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("devi: log.csv: nothing was searched. a: 6 checkpoints with a finite value after step 0")


def test_a_file_that_another_run_replaces_is_followed_from_its_start(here, capsys, growing, monkeypatch):
    path, lines = steps_and_jump(here)
    growing(path, lines)
    from devi.cli import follow

    grow, again = follow.time.sleep, list(lines)

    def replaced_once(seconds):
        if not lines and again:
            path.write_text("step,a\n")
            lines.extend(again)
            again.clear()
        grow(seconds)

    monkeypatch.setattr(follow.time, "sleep", replaced_once)
    assert command(["detect", "log.csv", "--follow", "--patience", "0"]) == 0
    told = capsys.readouterr()
    first, second = told.out.splitlines()
    assert first == second
    assert told.err == "devi: log.csv holds another run now, which is followed from its start.\n"


def test_a_file_that_another_whole_run_replaces_is_known_by_its_first_values(here, capsys, growing, monkeypatch):
    from devi.cli import follow

    table(here / "log.csv", a=(STEPS > 400).astype(float))
    waits = iter([lambda: table(here / "log.csv", a=1.0 - (STEPS > 2000))])
    monkeypatch.setattr(follow, "WAIT", 0.0)
    monkeypatch.setattr(follow.time, "sleep", lambda seconds: next(waits, lambda: None)())
    assert command(["detect", "log.csv", "--follow", "--patience", "0"]) == 0
    told = capsys.readouterr()
    assert "a 1 → 0" in told.out
    assert told.err == "devi: log.csv holds another run now, which is followed from its start.\n"


def test_no_name_of_a_column_reaches_the_terminal_with_its_control_characters(here, capsys, growing):
    table(here / "log.csv", **{"\x1b[31mloss": (STEPS > 400).astype(float), "\x1b[31mnote": ["x"] * len(STEPS)})
    growing(here / "log.csv", [])
    for options in ([], ["--follow", "--patience", "0"]):
        assert command(["detect", "log.csv", *options]) == 0
        told = capsys.readouterr().out
        assert "\x1b" not in told
        assert "\\x1b[31mloss changed" in told


def test_what_was_done_from_outside_is_said_of_a_growing_file_too(here, capsys, growing):
    growing(*steps_and_jump(here))
    assert command(["detect", "log.csv", "--follow", "--patience", "0", "--exogenous", "400:lr/10"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("steps after its end, coincides with lr/10)")


def test_what_is_declared_of_a_metric_that_is_not_in_the_growing_file_yet_waits_for_it(here, capsys, growing):
    rows = [{"step": int(step), "a": float(step > 400)} for step in STEPS]
    for row in rows[20:]:
        row["val"] = 1.0
    (here / "log.jsonl").write_text("")
    growing(here / "log.jsonl", [json.dumps(row) + "\n" for row in rows])
    assert command(["detect", "log.jsonl", "--follow", "--patience", "0", "--material", "val=0.1"]) == 0
    told = capsys.readouterr()
    assert "a changed: a 0 → 1" in told.out
    assert told.err == "devi: --material val=0.1: there is no column val yet; only a.\n"


def test_notices_of_metrics_whose_names_differ_by_a_digit_are_told_of_both(here, capsys, growing):
    rows = [f"{step},{float(step > 400)},{float(step > 400)}\n" for step in STEPS]
    growing(here / "log.csv", ["step,layer1.loss,layer2.loss\n", *rows])
    bounds = ["--bounds", "layer1.loss=0,0.5", "--bounds", "layer2.loss=0,0.5"]
    assert command(["detect", "log.csv", "--follow", "--patience", "0", *bounds]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" is declared")[0] for line in told] == ["devi: layer1.loss", "devi: layer2.loss"]


def test_what_the_curves_of_a_growing_file_contradict_is_told_once(here, capsys, growing):
    growing(*steps_and_jump(here))
    assert command(["detect", "log.csv", "--follow", "--patience", "0", "--bounds", "a=0,0.5"]) == 0
    told = capsys.readouterr()
    assert "a changed: a 0 → 1" in told.out
    assert told.err.count("\n") == 1
    assert told.err.startswith("devi: a is declared to stay within 0 and 0.5")


def test_a_declaration_that_the_curves_contradict_is_told_and_one_that_cannot_be_is_refused(here, curves, capsys):
    wrong = ["--monotone", "test_accuracy=down", "--bounds", "test_accuracy=0,0.5", "--exogenous", "99999999:x"]
    assert command(["detect", "curves.csv", *wrong]) == 0
    told = capsys.readouterr().err
    assert "devi: test_accuracy is declared to go down only, and goes from" in told
    assert "devi: test_accuracy is declared to stay within 0 and 0.5, and is 1." in told
    assert "devi: x at step 99,999,999 lies after the last row, step 10,000" in told
    assert command(["detect", "curves.csv", "--follow", "--patience", "-1"]) == 1
    assert "--patience -1 is no time to wait; expected seconds, 0 or more: --patience 60" in capsys.readouterr().err


def test_a_document_says_what_was_declared_of_the_metrics(here, capsys):
    table(here / "curves.csv", acc=(STEPS > 400) * 0.8, val=STEPS**-0.5)
    assert command(["detect", "curves.csv", "--json", "--bounds", "acc=0,1", "--material", "val=0.5"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]["transitions"]
    assert settings["declared"] == {"bounds": {"acc": "0,1"}, "material": {"val": "0.5"}}


def test_a_file_caught_while_it_is_rewritten_is_looked_at_once_more(here, capsys, monkeypatch):
    from devi.cli import follow

    table(here / "log.csv", a=(STEPS > 400).astype(float))
    whole = (here / "log.csv").read_text()
    np.savez(here / "log.npz", step=STEPS, a=(STEPS > 400).astype(float))
    archive = (here / "log.npz").read_bytes()
    monkeypatch.setattr(follow, "WAIT", 0.0)
    for path, part, rest in (
        (here / "log.csv", whole[: len(whole) // 2].encode(), whole.encode()),
        (here / "log.npz", archive[: len(archive) // 2], archive),
    ):
        waits = iter([lambda: path.write_bytes(part), lambda: path.write_bytes(rest)])  # noqa: B023
        monkeypatch.setattr(follow.time, "sleep", lambda seconds: next(waits, lambda: None)())  # noqa: B023
        assert command(["detect", path.name, "--follow", "--patience", "0"]) == 0
        told = capsys.readouterr()
        assert len(told.out.splitlines()) == 1
        assert told.err == ""


def test_a_growing_file_that_stays_wrong_is_an_error(here, capsys, monkeypatch):
    from devi.cli import follow

    (here / "log.npz").write_bytes(b"no archive\n" * 20)
    monkeypatch.setattr(follow, "WAIT", 0.0)
    assert command(["detect", "log.npz", "--follow"]) == 1
    assert "log.npz is not an NPZ file" in capsys.readouterr().err


def test_a_column_that_is_left_out_of_a_growing_file_is_told_with_the_reason(here, capsys, growing):
    rows = [f"{step},{float(step > 400)},{'err' if step == STEPS[40] else 1}\n" for step in STEPS]
    growing(here / "log.csv", ["step,a,val/loss\n", *rows])
    assert command(["detect", "log.csv", "--follow", "--patience", "0"]) == 0
    told = capsys.readouterr()
    assert "a changed: a 0 → 1" in told.out
    assert "val/loss is left out: row 41 holds 'err', not a number: correct that cell, or leave it empty." in told.err


def test_a_directory_is_not_followed(here, capsys):
    (here / "runs").mkdir()
    assert command(["detect", "runs", "--follow", "--patience", "0"]) == 1
    assert "runs is a directory; expected a file of curves" in capsys.readouterr().err


def test_a_standard_error_of_another_shape_is_left_out_with_the_reason(here, capsys):
    np.savez(here / "log.npz", step=STEPS, a=(STEPS > 400).astype(float), a_se=np.ones((len(STEPS), 2)))
    assert command(["detect", "log.npz", "--plot", "a.png"]) == 0
    told = capsys.readouterr().out
    assert "a changed: a 0 → 1" in told
    assert f"left out: a_se (has shape ({len(STEPS)}, 2) beside ({len(STEPS)},) of a" in told


def test_an_intervention_between_two_whole_steps_is_declared_where_steps_are_fractions(here, capsys):
    text = "".join(f"{step / 1000},{float(step > 400)}\n" for step in STEPS)
    (here / "log.csv").write_text(f"step,a\n{text}")
    assert command(["detect", "log.csv", "--exogenous", "0.4:lr/10", "--plot", "a.png"]) == 0
    assert "coincides with what was declared: lr/10" in capsys.readouterr().out


def test_a_column_is_named_as_it_stands_in_the_file_or_as_it_is_told(here, capsys):
    table(here / "log.csv", **{"run - a": (STEPS > 400).astype(float), "run - b": STEPS})
    text = (here / "log.csv").read_text()
    (here / "log.csv").write_text(text.replace("step,", "Step,", 1))
    for name in ("run - a", "a"):
        assert command(["detect", "log.csv", "--metrics", name, "--units", f"{name}=nats"]) == 0
        assert "a changed: a 0 → 1" in capsys.readouterr().out


def test_columns_of_another_program_keep_their_names_and_a_name_may_hold_a_comma(here, capsys):
    for name in ("loss - train", "loss, train"):
        np.savez(here / "log.npz", step=STEPS, **{name: (STEPS > 400).astype(float), "loss - test": 1.0 * STEPS})
        assert command(["detect", "log.npz", "--metrics", name]) == 0
        assert f"{name} changed: {name} 0 → 1" in capsys.readouterr().out


def test_a_figure_that_would_stand_in_a_file_is_refused(curves, capsys):
    assert command(["detect", "curves.csv", "--evidence", "curves.csv"]) == 1
    assert "curves.csv: a file stands where a directory is needed. Give another place" in capsys.readouterr().err
