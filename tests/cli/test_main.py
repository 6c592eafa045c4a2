"""The command line as a user meets it: exit codes, messages, files."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devi import report
from devi.cli import main
from devi.cli.main import run
from devi.tasks.superposition import Superposition

ROOT = Path(__file__).parents[2]
SMALL = ["--set", "features=3", "--steps", "60", "--checkpoints", "every:3"]
QUICK = ["--draws", "40", "--burn-in", "20"]  # of the sampler, which else takes the seconds that accuracy needs


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_task_of_an_entry_point_is_named_again_for_the_analysis_which_else_imports_none(here, capsys, monkeypatch):
    from importlib.metadata import EntryPoint, EntryPoints

    class Mine(Superposition):
        pass

    monkeypatch.setattr("devi.tasks.superposition.Mine", Mine, raising=False)
    entry = EntryPoint("mine", "devi.tasks.superposition:Mine", "devi.tasks")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **wanted: EntryPoints([entry]).select(**wanted))
    assert run(["train", "mine", *SMALL]) == 0
    assert "next: devi analyze checkpoints/mine-seed0 --task mine" in capsys.readouterr().out


def test_train_analyze_report_in_the_default_places(here, capsys):
    assert run(["train", "superposition", "--seed", "1", *SMALL]) == 0
    assert "next: devi analyze checkpoints/superposition-seed1" in capsys.readouterr().out
    assert run(["analyze", "checkpoints/superposition-seed1", *QUICK]) == 0
    report = here / "reports" / "superposition-seed1"
    assert "report: reports/superposition-seed1/report.html" in capsys.readouterr().out
    for name in ("report.html", "analysis.h5", "transitions.json"):
        assert (report / name).is_file()
    assert {path.suffix for path in (report / "figures").iterdir()} == {".png", ".svg"}
    assert json.loads((report / "transitions.json").read_text())["schema"] == "devi/transitions/1"


def test_json_prints_one_document_and_nothing_else(here, capsys):
    assert run(["train", "superposition", *SMALL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"] == 21
    assert run(["show", "checkpoints/superposition-seed0", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["steps"] == {"first": 0, "last": 60, "count": 21}
    assert shown["parameters"]["W"] == {"shape": [2, 3], "dtype": "float32", "count": 6}
    assert run(["tasks", "--json"]) == 0
    assert "superposition" in json.loads(capsys.readouterr().out)


def test_a_users_own_task_and_metric_from_their_files(here, capsys):
    line, rank = f"{ROOT}/examples/line.py:Line", f"{ROOT}/examples/stable_rank.py:StableRank"
    assert run(["train", line, "--set", "width=8", "--steps", "40", "--checkpoints", "log:15"]) == 0
    assert run(["analyze", "checkpoints/line-seed0", "--task", line, "--metric", rank, "--workers", "2", *QUICK]) == 0
    assert "stable_rank" in (here / "reports/line-seed0/report.html").read_text()
    capsys.readouterr()
    assert run(["analyze", "checkpoints/line-seed0", "--out", "elsewhere"]) == 1
    message = capsys.readouterr().err
    assert "line.py:Line" in message
    assert "--task" in message


def test_a_users_own_loop_is_analyzed(here):
    subprocess.run([sys.executable, f"{ROOT}/examples/own_loop.py", "checkpoints/mine"], check=True)
    assert run(["analyze", "checkpoints/mine", "--task", f"{ROOT}/examples/line.py:Line", *QUICK]) == 0


def test_a_folder_of_runs_gives_a_report_each_and_an_index(here, capsys):
    for seed in ("0", "1"):
        run(["train", "superposition", "--seed", seed, *SMALL])
    assert run(["analyze", "checkpoints", *QUICK]) == 0
    index = (here / "reports" / "index.html").read_text()
    for seed in ("0", "1"):
        assert f"superposition-seed{seed}/report.html" in index


def test_a_task_serves_the_runs_of_a_mixed_folder_that_need_it_and_the_index_keeps_all_reports(here, capsys):
    line = f"{ROOT}/examples/line.py:Line"
    run(["train", "superposition", *SMALL])
    run(["train", line, "--steps", "20", "--checkpoints", "every:5"])
    assert run(["analyze", "checkpoints", "--task", line, *QUICK]) == 0
    names = ["line-seed0", "superposition-seed0"]
    listed = (here / "reports" / "index.html").read_text()
    assert re.findall('href="(.*?)/report.html"', listed) == names
    assert report.write_index([], here / "reports").read_text() == listed
    (here / "reports" / "superposition-seed0" / "analysis.h5").write_text("[" * 100_000)
    (here / "reports" / "elsewhere").mkdir()
    damaged = report.write_index([], here / "reports").read_text()
    assert re.findall('href="(.*?)/report.html"', damaged) == names
    assert damaged.count("cannot be read") == 1
    # Given alone, a run is read with the task that is named, whatever it was made with.
    capsys.readouterr()
    assert run(["analyze", "checkpoints/superposition-seed0", "--task", line, *QUICK]) == 1
    assert "was made with superposition, not Line" in capsys.readouterr().err


def test_a_metrics_setting_is_reached_with_set_and_with_a_file(here, capsys):
    run(["train", "superposition", *SMALL])
    assert run(["analyze", "checkpoints/superposition-seed0", "--set", "tickets.kept_fraction=0.2", *QUICK]) == 0
    settings = json.loads((here / "reports/superposition-seed0/transitions.json").read_text())["settings"]
    assert settings["tickets"]["kept_fraction"] == 0.2
    (here / "mine.toml").write_text("[tickets]\nkept_fraction = 0.3\n")
    assert run(["analyze", "checkpoints/superposition-seed0", "--config", "mine.toml", *QUICK]) == 0


def test_checkpoints_may_be_listed_in_words(here):
    assert run(["train", "superposition", "--steps", "60", "--checkpoints", "0,10,30", "--out", "a"]) == 0
    assert run(["train", "superposition", "--steps", "60", "--set", "checkpoints=0,10,30", "--out", "b"]) == 0
    (here / "mine.toml").write_text('steps = 60\ncheckpoints = "0,10,30"\n')
    assert run(["train", "superposition", "--config", "mine.toml", "--out", "c"]) == 0
    from devi.checkpoints.reader import open_run

    for name in "abc":
        assert open_run(name).steps.tolist() == [0, 10, 30, 60]


def test_the_command_that_an_error_suggests_works(here, capsys):
    line = f"{ROOT}/examples/line.py:Line"
    for name, key in (("superposition", "features"), (line, "width")):
        assert run(["train", name, "--set", f"{key}=many"]) == 1
        suggested = capsys.readouterr().err.split("Its settings and defaults: devi ")[1].split()
        assert run(suggested) == 0
        assert f"{key}=" in capsys.readouterr().out


def test_one_run_that_cannot_be_analyzed_does_not_stop_the_others(here, capsys):
    run(["train", f"{ROOT}/examples/line.py:Line", "--steps", "20", "--checkpoints", "every:5"])
    run(["train", "superposition", *SMALL])
    capsys.readouterr()
    assert run(["analyze", "checkpoints", *QUICK]) == 1
    printed = capsys.readouterr()
    assert "devi: 1 of 2 runs could not be analyzed:\ncheckpoints/line-seed0 names " in printed.err
    assert printed.err.count("--task my_model.py:Name") == 1
    assert "report: reports/superposition-seed0/report.html" in printed.out
    assert not (here / "reports/line-seed0").exists()
    index = (here / "reports/index.html").read_text()
    assert "superposition-seed0/report.html" in index
    assert "1 run could not be analyzed" in index
    assert "checkpoints/line-seed0 names the task" in index


@pytest.mark.parametrize(
    ("reason", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "No space left on device"), 1)]
)
def test_an_end_before_the_end_says_what_is_kept_only_where_something_is(monkeypatch, capsys, reason, code):
    def stopped(*arguments, **options):
        raise reason

    monkeypatch.setattr(main, "app", stopped)
    for command in ("train", "analyze", "convert", "demo"):
        assert run([command]) == code
        assert "; everything finished so far is kept." in capsys.readouterr().err
    for command in ("doctor", "calibrate", "detect", "repair"):
        assert run([command, "--out", "analyze"]) == code
        assert "; this command keeps nothing for the next time." in capsys.readouterr().err


def test_two_values_for_one_setting_are_refused(here, capsys):
    assert run(["train", "superposition", "--steps", "60", "--set", "steps=10"]) == 1
    assert "--steps 60 and --set steps=10 differ" in capsys.readouterr().err


def test_a_table_in_the_file_of_a_tasks_settings_is_told_to_be_left_out(here, capsys):
    (here / "mine.toml").write_text("[superposition]\nfeatures = 4\n")
    assert run(["train", "superposition", "--config", "mine.toml"]) == 1
    told = "'superposition' is a table, [superposition], and no setting of task superposition. Its settings stand at"
    error = capsys.readouterr().err
    assert told in error
    assert "without one: features = 4" in error


def test_what_is_typed_wins_over_the_file(here, capsys):
    (here / "mine.toml").write_text('steps = 30\nseed = 7\ncheckpoints = "every:3"\nfeatures = 3\n')
    options = ["--config", "mine.toml", "--steps", "12", "--checkpoints", "every:6"]
    assert run(["train", "superposition", *options, "--seed", "2"]) == 0
    assert "checkpoints/superposition-seed2: 3 checkpoints, steps 0 to 12" in capsys.readouterr().out
    assert run(["train", "superposition", *options, "--seeds", "3:5"]) == 0
    assert "checkpoints/superposition-seed4: 3 checkpoints, steps 0 to 12" in capsys.readouterr().out


def test_a_device_reaches_tasks_without_a_learning_coefficient(here):
    (here / "plain.py").write_text(
        "from devi.tasks.superposition import Superposition\n"
        "class Plain(Superposition):\n    def metrics(self):\n        return ('losses',)\n"
    )
    assert run(["train", "plain.py:Plain", *SMALL]) == 0
    assert run(["analyze", "checkpoints/plain-seed0", "--task", "plain.py:Plain", "--device", "cpu"]) == 0


def test_strict_gives_3_when_an_estimate_is_flagged(here):
    run(["train", "superposition", *SMALL])
    # a step size far too large: the estimates cannot be healthy
    assert run(["analyze", "checkpoints/superposition-seed0", "--step-size", "1.0", "--strict", *QUICK]) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "superpostion"], 1, "Did you mean 'superposition'?"),
        (["train", "superposition", "--set", "fetures=5"], 1, "Did you mean 'features'?"),
        (["train", "superposition", "--set", "features"], 1, "Expected KEY=VALUE"),
        (["train", "superposition", "--set", "features=many"], 1, "'features' = 'many' is not valid"),
        (["train", "superposition", "--set", "importance=nan,1,1"], 1, "is not a number"),
        (["train", "superposition", "--set", "learning_rate=inf"], 1, "'learning_rate' = 'inf' is not valid"),
        (["train", "superposition", "--preset", "big"], 1, "no preset of superposition is called 'big'"),
        (["train", "superposition", "--checkpoints", "often"], 1, "expected log:COUNT, every:STEPS"),
        (["train", "superposition", "--device", "cuda:9"], 1, "This machine has: cpu"),
        (["train", "superposition", "--device", "toaster"], 1, "This machine has: cpu"),
        (["train", "superposition", "--config", "absent.toml"], 1, "Expected a TOML file"),
        (["analyze", "absent"], 1, "absent"),
        (["analyze", "."], 1, "checkpoints"),
        (["analyze"], 2, "Missing argument 'RUN...'. Try: devi analyze --help"),
        (["analyze", "--task"], 2, "Option '--task' requires an argument. Try: devi analyze --help"),
        (["analyze", "a", "--outt"], 2, "(Possible options: --out). Try: devi analyze --help"),
        (
            ["train", "superposition", "--steps", "x"],
            2,
            "Invalid value for '--steps': 'x'. Input should be a valid integer. Try: devi train --help",
        ),
        (
            ["train", "superposition", "--set", "betas=0.9,0.99"],
            1,
            "the optimizer SGD takes learning_rate, weight_decay",
        ),
        (["fly"], 2, "No such command 'fly'. Try: devi --help"),
        (["train", "superposition", "--config", "nosuch.toml"], 1, "nosuch.toml: No such file or directory. Expected"),
        (
            ["train", "superposition", "--set", "scheduler=LambdaL"],
            1,
            "Known: ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, CyclicLR, ExponentialLR, LinearLR,"
            " MultiStepLR, OneCycleLR, PolynomialLR, ReduceLROnPlateau, StepLR.\n",
        ),
        (
            ["metrics", f"{ROOT}/examples/line.py:Line"],
            1,
            f"line.py:Line' is a task, not a metric. Where a task is meant: --task {ROOT}/examples/line.py:Line",
        ),
    ],
)
def test_a_wrong_argument_gets_one_message_without_a_traceback(here, capsys, arguments, code, message):
    assert run(arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(here.iterdir()) == []


def test_wrong_arguments_of_analyze_leave_the_run_and_the_place_alone(here, capsys):
    run(["train", "superposition", *SMALL])
    path = "checkpoints/superposition-seed0"
    before = sorted(p.name for p in Path(path).iterdir())
    cases = {
        ("--sampler", "slgd"): "Did you mean 'sgld'?",
        ("--metric", "tikets"): "Did you mean 'tickets'?",
        ("--device", "cuda:9"): "This machine has: cpu",
        ("--set", "tickets.kept=1"): "Did you mean 'kept_fraction'?",
        ("--chains", "0"): "chains",
        ("--draws", "1"): "Input should be greater than or equal to 2",
        ("--step-size", "-1"): "step_size",
        ("--step-size", "0"): "Input should be greater than 0",
        ("--n-beta", "inf"): "Input should be a finite number",
        ("--set", "ticket.kept_fraction=0.2"): "no metric is called 'ticket'. Did you mean 'tickets'?",
        ("--task", "modular_addition"): "was made with superposition, not ModularAddition",
        ("--operating-point", "lax"): "strict",
        ("--workers", "0"): "workers must be 1 or more",
    }
    for arguments, message in cases.items():
        assert run(["analyze", path, *arguments]) == 1, arguments
        error = capsys.readouterr().err
        assert message in error, arguments
        assert "Traceback" not in error
    assert sorted(p.name for p in Path(path).iterdir()) == before


def test_a_checkpoint_of_another_shape_than_the_tasks_says_both_shapes(here, capsys):
    run(["train", "superposition", *SMALL])
    (here / "bigger.py").write_text(
        "from dataclasses import dataclass\nfrom devi.tasks.superposition import Superposition\n"
        "@dataclass(frozen=True)\nclass Bigger(Superposition):\n"
        "    def __post_init__(self):\n        object.__setattr__(self, 'features', 7)\n"
    )
    capsys.readouterr()
    assert run(["analyze", "checkpoints/superposition-seed0", "--task", "bigger.py:Bigger"]) == 1
    error = capsys.readouterr().err
    assert "(2, 3)" in error
    assert "(2, 7)" in error


def test_a_place_that_holds_something_else_is_left_alone(here, capsys):
    run(["train", "superposition", *SMALL])
    (here / "thesis").mkdir()
    (here / "thesis" / "chapter1.tex").write_text("years of work")
    assert run(["analyze", "checkpoints/superposition-seed0", "--out", "thesis"]) == 1
    assert "is not empty and holds no devi report" in capsys.readouterr().err
    assert [p.name for p in (here / "thesis").iterdir()] == ["chapter1.tex"]
    assert run(["train", "superposition", "--out", "thesis"]) == 1
    assert [p.name for p in (here / "thesis").iterdir()] == ["chapter1.tex"]
    (here / "file").write_text("x")
    assert run(["analyze", "checkpoints/superposition-seed0", "--out", "file"]) == 1
    assert run(["analyze", "checkpoints/superposition-seed0", "--out", "file/below"]) == 1
    assert run(["train", "superposition", "--out", "/proc/devi"]) == 1
    assert run(["analyze", "checkpoints/superposition-seed0", "--out", "/proc/devi"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_run_is_not_overwritten(here, capsys):
    run(["train", "superposition", *SMALL])
    assert run(["train", "superposition", *SMALL]) == 1
    assert "--resume" in capsys.readouterr().err
    assert run(["train", "superposition", *SMALL, "--resume"]) == 0


def test_a_full_disk_keeps_what_was_committed_and_says_so(here):
    # a limit on file size stands in for a full disk: the same write fails with an error of the system
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000));"
        "from devi.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "superposition", "--steps", "4000", "--checkpoints", "every:1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow  # exact, no false alarms: it waits for a process
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_run_is_kept_and_goes_on_bit_for_bit(here, how, code):
    def command(*words, out):
        return [
            sys.executable,
            "-m",
            "devi.cli.main",
            "train",
            "superposition",
            "--checkpoints",
            "every:20",
            *words,
            "--out",
            out,
        ]

    subprocess.run(command(out="whole"), check=True, capture_output=True)
    process = subprocess.Popen(
        command(out="cut"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a test runner in the background ignores SIGINT, and its children would inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while not (here / "cut" / "segment-000000.h5").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    os.kill(process.pid, how)
    _, error = process.communicate()
    assert process.returncode == code
    assert how == signal.SIGKILL or "interrupted" in error
    subprocess.run(command("--resume", out="cut"), check=True, capture_output=True)
    from devi.checkpoints.reader import open_run

    whole, cut = open_run("whole"), open_run("cut")
    assert whole.steps.tolist() == cut.steps.tolist()
    for name, values in whole.parameters().items():
        assert (values == cut.parameters()[name]).all()


@pytest.mark.slow
def test_what_devi_warns_of_is_a_line_without_its_source_and_told_once(here):
    (here / "branching.py").write_text(
        "from devi.tasks.superposition import Superposition\nimport torch\n"
        "class Net(torch.nn.Linear):\n    def forward(self, x):\n"
        "        y = super().forward(x)\n        return y if y.sum() > 0 else 2 * y\n"
        "class Branching(Superposition):\n    def model(self): return Net(self.features, self.features)\n"
        "    def replicas(self): return None\n    def metrics(self): return ('llc',)\n"
    )
    assert run(["train", "branching.py:Branching", "--steps", "2", "--checkpoints", "every:1"]) == 0
    command = [sys.executable, "-m", "devi.cli.main", "analyze", "checkpoints/branching-seed0", *QUICK]
    done = subprocess.run(
        [*command, "--task", "branching.py:Branching", "--chains", "1", "--step-size", "1e-4", "--compile"],
        capture_output=True, text=True, cwd=here, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    assert sum("devi: Net cannot be batched over replicas by torch.vmap" in line for line in lines) == 1
    assert sum("devi: Net is sampled one replica after another, and so is not compiled." in line for line in lines) == 1
    assert not any("Warning" in line or ".py:" in line for line in lines)


def test_a_run_read_with_another_task_says_which_it_was_made_with(here, capsys):
    run(["train", "superposition", *SMALL])
    assert run(["analyze", "checkpoints/superposition-seed0", "--task", f"{ROOT}/examples/line.py:Line"]) == 1
    assert "checkpoints/superposition-seed0 was made with superposition, not Line: " in capsys.readouterr().err
