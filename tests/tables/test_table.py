"""Tables as other programs write them come out as the same curves; what cannot be one is said with its row."""

from __future__ import annotations

import gzip
import json

import h5py
import numpy as np
import pytest
import xarray as xr

from devi import DeviError
from devi.tables.table import read_table

STEPS = np.array([0, 10, 100, 1000])
LOSS = np.array([4.0, 3.0, 1.5, 0.25])
TEXT = "step,loss\n" + "".join(f"{step},{loss}\n" for step, loss in zip(STEPS, LOSS, strict=True))
RECORDS = [{"step": int(step), "loss": float(loss)} for step, loss in zip(STEPS, LOSS, strict=True)]


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(*lines):
    return "\n".join(lines) + "\n"


def npz(path):
    np.savez(path, step=STEPS, loss=LOSS)


def netcdf(path):
    xr.Dataset({"loss": ("step", LOSS)}, coords={"step": STEPS}).to_netcdf(path, engine="h5netcdf")


MAKERS = {
    "a.csv": lambda path: path.write_text(TEXT),
    "a.tsv": lambda path: path.write_text(TEXT.replace(",", "\t")),
    "semicolons.csv": lambda path: path.write_text(TEXT.replace(",", ";").replace(".", ",")),
    "marked.csv": lambda path: path.write_text("\ufeff" + TEXT, encoding="utf-8"),
    "a.json": lambda path: path.write_text(json.dumps(RECORDS)),
    "columns.json": lambda path: path.write_text(
        json.dumps({"step": STEPS.tolist(), "loss": LOSS.tolist(), "by": "me"})
    ),
    "trainer_state.json": lambda path: path.write_text(json.dumps({"log_history": RECORDS, "epoch": 3})),
    "a.jsonl": lambda path: path.write_text("".join(json.dumps(one) + "\n" for one in RECORDS)),
    "a.npz": npz,
    "a.nc": netcdf,
    "a.h5": netcdf,
    # TensorBoard's download of one tag, as CSV and as JSON
    "run-x-tag-loss.csv": lambda path: path.write_text(
        "Wall time,Step,Value\n" + "".join(f"1.7e9,{a},{b}\n" for a, b in zip(STEPS, LOSS, strict=True))
    ),
    "run-x-tag-loss.json": lambda path: path.write_text(
        json.dumps([[1.7e9, int(a), float(b)] for a, b in zip(STEPS, LOSS, strict=True)])
    ),
    # Weights & Biases: an exported chart, and run.history()
    "wandb_export.csv": lambda path: path.write_text(
        '"Step","happy-sun-1 - loss","happy-sun-1 - loss__MIN","happy-sun-1 - loss__MAX"\n'
        + "".join(f'"{a}","{b}","{b}","{b}"\n' for a, b in zip(STEPS, LOSS, strict=True))
    ),
    "history.csv": lambda path: path.write_text(
        ",_step,loss,_runtime,_timestamp\n"
        + "".join(f"{i},{a},{b},{i},{i}\n" for i, (a, b) in enumerate(zip(STEPS, LOSS, strict=True)))
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_format_gives_the_same_curve(tmp_path, name):
    MAKERS[name](tmp_path / name)
    found = read_table(tmp_path / name).trajectories
    assert list(found.data_vars) == ["loss"]
    np.testing.assert_array_equal(found["step"], STEPS)
    np.testing.assert_array_equal(found["loss"], LOSS)


def test_rows_of_one_step_that_fill_each_others_gaps_are_one_checkpoint(tmp_path):
    """Lightning's metrics.csv: training and validation are logged in rows of their own."""
    text = rows("epoch,step,train_loss,val_loss", "0,49,1.5,", "0,49,,1.75", "1,99,1.25,", "1,99,,1.5")
    table = read_table(written(tmp_path, "metrics.csv", text))
    assert table.trajectories["step"].values.tolist() == [49, 99]
    assert table.trajectories["train_loss"].values.tolist() == [1.5, 1.25]
    assert table.trajectories["val_loss"].values.tolist() == [1.75, 1.5]
    assert table.left_out == {"epoch": "counts time"}


def test_what_a_logger_nests_gets_a_path_and_lists_become_columns(tmp_path):
    lines = [{"step": s, "eval": {"loss": 1 / s}, "norms": [s, 2 * s], "norms_column": 3} for s in (1, 2, 4)]
    found = read_table(written(tmp_path, "a.jsonl", "".join(json.dumps(one) + "\n" for one in lines))).trajectories
    assert found["eval/loss"].values.tolist() == [1, 0.5, 0.25]
    assert found["norms"].values.tolist() == [[1, 2], [2, 4], [4, 8]]
    assert found["norms_column"].values.tolist() == [3, 3, 3]
    assert list(found.data_vars) == ["eval/loss", "norms", "norms_column"]


def test_a_line_that_is_still_being_written_is_not_there_yet(tmp_path):
    path = written(tmp_path, "a.csv", TEXT + "10000,0.2")
    assert len(read_table(path, growing=True).trajectories["step"]) == 4
    assert len(read_table(path).trajectories["step"]) == 5


def test_columns_are_chosen_by_name_and_a_learning_rate_is_no_quantity(tmp_path):
    text = rows("it,loss,sd,lr,name", "1,3,0.1,1e-3,x", "2,2,0.1,1e-4,x", "3,1,nan,1e-4,x")
    path = written(tmp_path, "a.csv", text)
    table = read_table(path, step="it", errors={"loss": "sd"})
    assert list(table.trajectories.data_vars) == ["loss", "loss_se"]
    assert table.left_out["name"] == "row 1 holds 'x', not a number"
    assert "--exogenous" in table.left_out["lr"]
    assert list(read_table(path, step="it", metrics=["lr"]).trajectories.data_vars) == ["lr"]


def test_a_column_of_errors_may_serve_several_metrics_and_takes_the_place_of_what_is_there(tmp_path):
    text = rows("step,loss,loss_se,acc,err", "1,3,0.1,0,0.5", "2,2,0.1,1,0.5")
    path = written(tmp_path, "a.csv", text)
    found = read_table(path, errors={"loss": "err", "acc": "err"}).trajectories
    assert set(found.data_vars) == {"loss", "loss_se", "acc", "acc_se"}
    assert found["loss_se"].values.tolist() == found["acc_se"].values.tolist() == [0.5, 0.5]
    shared = read_table(path, errors={"acc": "loss_se"}, metrics=["loss", "acc"]).trajectories
    assert shared["loss_se"].values.tolist() == shared["acc_se"].values.tolist() == [0.1, 0.1]


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({"loss": "loss"}, r"'loss' of .* is not its own standard error; expected a column beside it"),
        ({"loss": "step"}, r"column 'step' of .* holds the steps; expected numbers along the steps"),
        ({"loss": "note"}, r"column 'note' of .* row 1 holds 'x', not a number; expected numbers along the steps"),
    ],
)
def test_what_cannot_be_a_standard_error_is_refused(tmp_path, errors, message):
    with pytest.raises(DeviError, match=message):
        read_table(written(tmp_path, "a.csv", rows("step,loss,note", "1,3,x", "2,2,y")), errors=errors)


def test_units_and_columns_of_netcdf_are_kept(tmp_path):
    made = xr.Dataset(
        {"norm": (("step", "feature"), np.ones((4, 2)), {"units": "nats"})},
        coords={"step": STEPS, "feature": [3, 7]},
    )
    made.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    found = read_table(tmp_path / "a.nc").trajectories["norm"]
    assert found.attrs["units"] == "nats"
    assert found["feature"].values.tolist() == [3, 7]


@pytest.mark.parametrize(
    ("header", "step"),
    [("iter,step,loss", "iter"), ("Step,step,loss", None), ("Step,run-a - step,run-a - loss", None)],
)
def test_another_column_called_step_is_left_out(tmp_path, header, step):
    table = read_table(written(tmp_path, "a.csv", rows(header, "1,10,3", "2,20,2")), step=step)
    assert list(table.trajectories.data_vars) == ["loss"]
    assert table.trajectories["step"].values.tolist() == [1, 2]
    assert table.left_out == {"step": "counts steps; to take these: --step NAME"}


def test_another_variable_of_netcdf_may_hold_the_steps(tmp_path):
    made = xr.Dataset(
        {
            "loss": ("step", LOSS),
            "iter": ("step", 2 * STEPS),
            "seed": ((), 1),
            "norm": (("step", "f"), np.ones((4, 2))),
        },
        coords={"step": STEPS},
    )
    made.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    table = read_table(tmp_path / "a.nc", step="iter", metrics=["loss"])
    assert table.trajectories["step"].values.tolist() == (2 * STEPS).tolist()
    assert table.left_out == {"step": "counts steps; to take these: --step NAME"}
    for name, count in (("seed", 0), ("norm", 2)):
        with pytest.raises(DeviError, match=rf"variable '{name}' of .* has {count} dimensions; expected the steps"):
            read_table(tmp_path / "a.nc", step=name)


def test_what_loggers_put_before_a_name_does_not_hide_steps_clocks_and_learning_rates(tmp_path):
    """Hugging Face to Weights & Biases, YOLO, Lightning."""
    rates = ["train/learning_rate", "lr/pg0", "optimizer/lr", "train_lr", "lr-AdamW/pg1"]
    clocks = ["train/epoch", "elapsed_time", "train/train_runtime"]
    kept = ["train/loss", "clr", "time_to_solve", "learning_curve"]
    names = ["train/global_step", *rates, *clocks, *kept]
    text = rows(",".join(names), ",".join("1" * len(names)), ",".join("2" * len(names)))
    table = read_table(written(tmp_path, "a.csv", text))
    assert list(table.trajectories.data_vars) == kept
    assert list(table.left_out) == [*rates, *clocks]


def test_clocks_and_extremes_of_the_steps_of_a_chart_are_no_metrics(tmp_path):
    """Weights & Biases, against time."""
    names = ["Relative Time (Wall)", "a - loss", "a - _step", "a - _step__MIN", "a - _step__MAX", "wall_clock"]
    table = read_table(written(tmp_path, "a.csv", rows(",".join(names), "1,2,1,1,1,5", "9,2,2,2,2,6")))
    assert list(table.trajectories.data_vars) == ["a - loss"]
    assert set(table.left_out) == {"Relative Time (Wall)", "a - _step__MIN", "a - _step__MAX", "wall_clock"}


def test_rows_of_three_numbers_are_those_of_tensorboard_only_with_a_time_first(tmp_path):
    for found in ([[s, s / 10, 1 / s] for s in range(1, 9)], [[1.7e9, s / 2, 1.0] for s in range(1, 9)]):
        with pytest.raises(DeviError, match="neither a list of records nor columns"):
            read_table(written(tmp_path, "a.json", json.dumps(found)))


def test_the_name_of_a_run_decides_nothing_about_its_metrics(tmp_path):
    """Weights & Biases heads columns 'run - metric', and runs are often called after their learning rate."""
    names = ["Step", "adam-lr1e-3 - loss", "adam-lr1e-3 - _step", "sgd-lr0.1 - loss", "sgd-lr0.1 - train/lr"]
    table = read_table(written(tmp_path, "a.csv", rows(",".join(names), "1,2,1,3,4", "2,3,2,4,5")))
    assert list(table.trajectories.data_vars) == ["adam-lr1e-3 - loss", "sgd-lr0.1 - loss"]
    assert list(table.left_out) == ["adam-lr1e-3 - _step", "sgd-lr0.1 - train/lr"]


def test_the_speed_and_the_work_of_a_machine_are_no_structure_of_a_network(tmp_path):
    names = ["step", "loss", "train_samples_per_second", "eval/steps_per_second", "total_flos"]
    table = read_table(written(tmp_path, "a.csv", rows(",".join(names), "1,2,3,4,5", "2,3,4,5,6")))
    assert list(table.trajectories.data_vars) == ["loss"]
    assert set(table.left_out.values()) == {"counts work or the machine's speed"}


def test_rows_of_one_step_that_differ_in_another_count_of_steps_are_merged(tmp_path):
    """Lightning to Weights & Biases: training and validation are logged apart, at one trainer/global_step."""
    text = rows("_step,trainer/global_step,loss,val", "0,10,3,", "1,10,,4", "2,20,2,", "3,20,,3")
    table = read_table(written(tmp_path, "a.csv", text), step="trainer/global_step")
    assert table.trajectories["step"].values.tolist() == [10, 20]
    assert table.trajectories["loss"].values.tolist() == [3, 2]
    assert table.trajectories["val"].values.tolist() == [4, 3]


def test_nested_columns_are_read_and_what_is_no_column_is_told(tmp_path):
    text = json.dumps({"step": [1, 2, 3], "acc": [0, 1, 2], "train": {"loss": [3, 2, 1]}, "seed": 4})
    table = read_table(written(tmp_path, "a.json", text))
    assert set(table.trajectories.data_vars) == {"acc", "train/loss"}
    assert table.left_out == {"seed": "is one value, not one for each step"}


def test_of_two_columns_that_count_steps_one_dates_and_the_other_is_left_out(tmp_path):
    table = read_table(written(tmp_path, "a.csv", rows("_step,train/global_step,loss", "0,10,3", "1,20,2")))
    assert table.trajectories["step"].values.tolist() == [0, 1]
    assert table.left_out == {"train/global_step": "counts steps; to take these: --step NAME"}


def test_a_wide_gap_is_told_with_its_length(tmp_path):
    text = rows("step,a,b", "1,1,1", "2,2,2", "4,3,", "100,4,", "130,5,5")
    assert read_table(written(tmp_path, "a.csv", text)).notices == [
        "no value of b between steps 2 and 130 (1.8 decades): a change in there can only be dated to that gap.",
        "no value of a between steps 4 and 100 (1.4 decades): a change in there can only be dated to that gap.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        rows("", "", "step;loss", "1;3,5", "2;2,5"),
        rows('step;"loss, mean"', "1;3,5", "2;2,5"),
        rows('"step";"a,b,c"', "1;3,5", "2;2,5"),
        rows("sep=;", "step;loss", "1;3,5", "2;2,5"),
        rows("# lr=0.1, wd=1", "#", "step,loss", "1,3.5", "2,2.5"),
        rows("# made by numpy", "# step,loss", "1,3.5", "2,2.5"),
        rows("#,step,note,loss", "1,1,x,3.5", "2,2,x,2.5"),
    ],
)
def test_what_stands_above_a_header_or_within_its_names_does_not_decide_the_separator(tmp_path, text):
    found = read_table(written(tmp_path, "a.csv", text)).trajectories
    assert found["step"].values.tolist() == [1, 2]
    assert found[list(found)[-1]].values.tolist() == [3.5, 2.5]


def test_a_comma_is_no_decimal_point_where_numbers_of_the_file_have_points(tmp_path):
    text = rows("step;loss;tokens;at", "1;2.5;1,060;01.02.2024", "2;1.5;2,120;02.02.2024")
    table = read_table(written(tmp_path, "a.csv", text))
    assert table.left_out["tokens"].startswith("row 1 holds '1,060', not a number: write 1060, without")
    german = read_table(written(tmp_path, "b.csv", text.replace("2.5", "2,5").replace("1.5", "1,5")))
    assert german.trajectories["loss"].values.tolist() == [2.5, 1.5]


def test_columns_shorter_than_the_steps_are_left_out_by_their_length_however_many_they_are(tmp_path):
    made = {"step": [1, 2, 3], "loss": [3, 2, 1], "a": [1, 2], "b": [1, 2]}
    table = read_table(written(tmp_path, "a.json", json.dumps(made)))
    assert list(table.trajectories.data_vars) == ["loss"]
    assert table.left_out == dict.fromkeys("ab", "has 2 values for 3 steps")


def test_what_json_may_hold_beside_numbers_is_left_out_with_its_reason(tmp_path):
    lines = [
        f'{{"step": {s}, "loss": {10**400 if s == 1 else s}, "deep": [[[1]]], "by": "me\u2028you"}}' for s in (1, 2)
    ]
    table = read_table(written(tmp_path, "a.jsonl", rows(*lines)))
    assert table.trajectories["loss"].values.tolist() == [np.inf, 2]
    assert table.left_out["deep"] == "its lists hold lists, not numbers"
    assert "not a number" in table.left_out["by"]


def test_steps_that_no_integer_holds_stay_as_they_are(tmp_path):
    found = read_table(written(tmp_path, "a.csv", rows("step,loss", "1e20,3", "2e20,2"))).trajectories
    assert found["step"].values.tolist() == [1e20, 2e20]


# Failure texts

FAILURES = {
    "unsorted": (rows("step,a", "1,1", "3,1", "2,1"), r"step 2 \(row 3\) comes after step 3 \(row 2\).*Sort the rows"),
    "repeated": (rows("step,a", "1,1", "2,1", "2,5"), r"step 2 repeats \(row 3\) with another value of 'a'"),
    "negative": (rows("step,a", "-1,1", "2,1"), r"row 1 .* has step -1; expected optimizer steps from 0 on"),
    "no_step": (rows("time,a", "1,1"), r"no column of steps; expected one called step, _step.*Its columns: time, a"),
    "blank_step": (rows("step,a", "1,1", ",2"), r"row 2 .* has values but no step"),
    "endless_step": (rows("step,a", "1,1", "inf,1"), r"row 2 .* has step inf; expected a finite number"),
    "open_quote": ('step,a\n1,"' + "x" * 200_000, r"is no table of numbers \(field larger.*Is a quote left open\?"),
    "comments": (rows("# a", "# b"), r"is empty; expected a header"),
    "text_step": (rows("step,a", "one,1"), r"the steps of .* are no numbers: row 1 holds 'one', not a number"),
    "no_number": (rows("step,a", "1,x", "2,y"), r"no numeric column beside its steps \(a: row 1 holds 'x'"),
    "one_bad_cell": (
        rows("step,a", "1,1", "2,2", "3,x"),
        r"row 3 holds 'x', not a number: correct that cell, or leave",
    ),
    "decimal_commas": (rows("step,a", '1,"0,5"'), r"row 1 holds '0,5', not a number: write 0\.5, with a decimal point"),
    "per_cent": (rows("step,a", "1,5.5 %"), r"row 1 holds '5\.5 %', not a number: write 5\.5, without the sign"),
    "thousands": (rows("step,a", '"1,000",1'), r"not a number: write 1000, without commas .* --step COLUMN"),
    "only_clocks": (
        rows("step,epoch", "1,1"),
        r"epoch: counts time\).* To search one of these all the same: --metrics",
    ),
    "upright": (
        rows("step|a", "1|2"),
        r"stand apart by '\|'; expected commas.*: tr '\|' , < .* > .*upright-commas.csv",
    ),
    "blanks": (rows("step a", "1 2"), r"stand apart by blanks; expected commas.*: tr -s ' ' , < "),
    "only_step": (rows("step", "1", "2"), r"has no numeric column beside its steps; expected one quantity a column"),
    "no_header": (rows("1,0.5", "2,0.4"), r"the first row of .* holds numbers \(1, 0.5\).*step,loss"),
    "twice": (rows("step,a,a", "1,2,3"), r"has 2 columns called 'a'; rename all but one"),
    "ragged": (rows("step,a", "1,2,3"), r"row 1 of .* has 3 cells under 2 names"),
    "no_row": ("step,a\n", r"has names and no row; expected one row a checkpoint"),
    "empty": ("", r"is empty; expected a header \(step, loss"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_is_wrong_with_a_table_is_said_with_its_row(tmp_path, name):
    text, message = FAILURES[name]
    with pytest.raises(DeviError, match=message):
        read_table(written(tmp_path, f"{name}.csv", text))


def test_a_file_that_is_not_what_it_says_is_refused(tmp_path):
    for name, text, message in (
        ("a.json", "{", r"is not JSON \(line 1"),
        ("b.json", '{"a": 1}', r"holds neither a list of records nor columns"),
        ("a.jsonl", '{"step": 1}\n{"st', r"line 2 of .* is not JSON"),
        ("a.npz", "no archive", "is not an NPZ file"),
        ("a.nc", "no netCDF", "is not netCDF-4"),
        ("c.json", '{"step": ' + "9" * 5000 + "}", r"is not JSON \(Exceeds the limit"),
        ("d.json", "[" * 100_000, r"is nested too deep"),
        ("twice.jsonl", '{"step": 1, "t/l": 1, "t": {"l": 2}}', r"a record names 't/l' twice"),
        ("a.csv.gz", "", r"is compressed; expected one of .*Unpack it: gunzip -k .*a\.csv\.gz"),
        ("a.xlsx", "", r"ends in '\.xlsx'; expected one of \.csv"),
    ):
        with pytest.raises(DeviError, match=message):
            read_table(written(tmp_path, name, text))
    (tmp_path / "utf16.csv").write_bytes(TEXT.encode("utf-16"))
    with pytest.raises(DeviError, match=r"is not text in UTF-8 .*iconv -f UTF-16 -t"):
        read_table(tmp_path / "utf16.csv")
    (tmp_path / "latin1.csv").write_bytes(TEXT.replace("loss", "évaluée").encode("latin-1"))
    with pytest.raises(DeviError, match=r"is not text in UTF-8 .*iconv -f LATIN1 -t"):
        read_table(tmp_path / "latin1.csv")
    with pytest.raises(DeviError, match=r"is a directory; .* devi analyze"):
        read_table(tmp_path)
    with pytest.raises(DeviError, match=r"there is no file"):
        read_table(tmp_path / "none.csv")


def test_a_damaged_archive_is_refused_or_read_wherever_it_is_damaged(tmp_path):
    generator, path = np.random.default_rng(0), tmp_path / "a.npz"
    np.savez_compressed(path, step=np.arange(100), loss=np.arange(100.0))
    whole, refused = path.read_bytes(), 0
    for place in generator.integers(len(whole), size=60):
        path.write_bytes(whole[:place] + bytes([255 - whole[place]]) + whole[place + 1 :])
        try:
            read_table(path)
        except DeviError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("step", [None, "step"])
def test_steps_of_netcdf_may_lie_along_a_dimension_of_another_name(tmp_path, step):
    made = xr.Dataset({"loss": ("x", LOSS), "step": ("x", STEPS), "norm": (("x", "f"), np.ones((4, 2)))})
    made.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    found = read_table(tmp_path / "a.nc", step=step).trajectories
    assert found["step"].values.tolist() == STEPS.tolist()
    assert found["loss"].dims == ("step",)
    assert found["norm"].dims == ("step", "f")


def test_netcdf_without_steps_says_which_variable_counts_them_or_how_to_add_one(tmp_path):
    for name, coords, message in (
        ("a.nc", {}, r"dimensions: step\. Give it one: dataset\.assign_coords\(step=steps\)"),
        ("b.nc", {"time": ("step", STEPS)}, r"dimensions: step\. Name another: --step time"),
    ):
        xr.Dataset({"loss": ("step", LOSS)}, coords=coords).to_netcdf(tmp_path / name, engine="h5netcdf")
        with pytest.raises(DeviError, match=message):
            read_table(tmp_path / name)


def test_complex_numbers_are_left_out_with_what_to_save_instead(tmp_path):
    np.savez(tmp_path / "a.npz", step=STEPS, loss=LOSS, z=LOSS + 0j)
    assert "save what is meant: values.real" in read_table(tmp_path / "a.npz").left_out["z"]


def test_a_chart_of_several_runs_is_no_run_and_that_is_told(tmp_path):
    text = rows("Step,a-1 - loss,a-1 - loss__MIN,b-2 - loss", "1,1,1,2", "2,1,1,2")
    table = read_table(written(tmp_path, "a.csv", text))
    assert table.notices == [
        "the columns belong to 2 runs (a-1, b-2), which are searched as if they were metrics of one."
        " One run at a time: --metrics 'a-1 - loss'"
    ]
    assert read_table(tmp_path / "a.csv", metrics=["a-1 - loss"]).notices == []


def test_netcdf_whose_numbers_are_damaged_is_refused(tmp_path):
    path = tmp_path / "a.nc"
    made = xr.Dataset({"loss": ("step", np.arange(100.0))}, coords={"step": np.arange(100)})
    made.to_netcdf(path, engine="h5netcdf", encoding={"loss": {"zlib": True}})
    with h5py.File(path) as file:
        place = file["loss"].id.get_chunk_info(0).byte_offset
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + b"damage" + whole[place + 6 :])
    with pytest.raises(DeviError, match="is not netCDF-4"):
        read_table(path)


def test_an_array_without_a_name_is_no_archive(tmp_path):
    np.save(tmp_path / "a.npy", LOSS)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(DeviError, match=r"holds one array without a name; expected what numpy\.savez\(path, step=…"):
        read_table(tmp_path / "a.npz")


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", step=STEPS, loss=LOSS, evil=np.array([{}, {}], dtype=object))
    table = read_table(tmp_path / "a.npz")
    assert table.left_out == {
        "evil": "holds Python objects, not numbers; save numbers: np.asarray(values, dtype=float)"
    }


def test_an_unknown_column_names_the_nearest(tmp_path):
    path = written(tmp_path, "a.csv", TEXT)
    for given in ({"step": "stp"}, {"metrics": ["lss"]}, {"errors": {"loss": "los"}}):
        with pytest.raises(DeviError, match=r"no column of a\.csv is called '.*'\. Did you mean '(step|loss)'\?"):
            read_table(path, **given)


def test_a_column_of_numbers_without_a_name_is_listed_and_an_empty_one_is_not(tmp_path):
    (tmp_path / "a.csv").write_text(",step,loss,\n0,1,2,\n1,2,1,\n")
    assert dict(read_table(tmp_path / "a.csv").left_out) == {"column 1": "has no name; give it one in the header"}


def test_a_compressed_file_with_the_name_of_a_table_says_how_to_unpack_it(tmp_path):
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"step,loss\n1,2\n"))
    with pytest.raises(DeviError, match="is compressed, whatever its name says; .* gunzip -c"):
        read_table(tmp_path / "a.csv")


def test_a_setting_in_the_name_of_a_loss_does_not_make_it_a_learning_rate(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss (lr=0.1),lr=0.1/loss,train/lr,lr-AdamW\n1,2,2,2,2\n2,1,1,1,1\n")
    table = read_table(tmp_path / "a.csv")
    assert list(table.trajectories.data_vars) == ["loss (lr=0.1)", "lr=0.1/loss"]
    assert list(table.left_out) == ["train/lr", "lr-AdamW"]


def test_a_curve_that_ends_long_before_the_others_is_told_and_one_that_is_measured_rarely_is_not(tmp_path):
    steps = np.arange(1, 101)
    ended, rare = np.where(steps > 60, np.inf, 1.0), np.where(steps % 9 == 0, 1.0, np.nan)
    np.savez(tmp_path / "a.npz", step=steps, ended=ended, rare=rare)
    (told,) = read_table(tmp_path / "a.npz").notices
    assert told.startswith("no finite value of ended after step 60, of 100: what happened there is not searched.")


def test_steps_too_large_to_be_told_apart_are_not_called_repeated(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss\n" + "".join(f"{10**18 + i},{i}\n" for i in range(9)))
    with pytest.raises(DeviError, match=r"as large as 1e\+18, where neighbours can no longer be told apart"):
        read_table(tmp_path / "a.csv")


def test_metrics_that_name_nothing_or_the_steps_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss\n1,2\n2,1\n")
    with pytest.raises(DeviError, match="--metrics '' names no column"):
        read_table(tmp_path / "a.csv", metrics=[""])
    with pytest.raises(DeviError, match="column 'step' of .* holds the steps"):
        read_table(tmp_path / "a.csv", metrics=["step"])
