"""devi doctor: what it prints, what it exits with, what it keeps when stopped."""

import json
import math
import os
import signal
import subprocess
import sys

import pytest

from devi.cli.doctor import document, row
from devi.cli.main import run
from devi.known.cases import named
from devi.known.checkup import Finding
from devi.known.verdict import Verdict


def finding(name="quadratic d=5", estimate=2.5, verdict=("right", "")):
    return Finding(named([name])[0], estimate, 0.1, "", 145.0, 1.0, 2.48, 3.21, Verdict(*verdict))


def test_a_line_shows_truth_beside_estimate():
    assert row(finding(estimate=2.45)) == ("quadratic d=5", "2.5", "2.450 ± 0.100", "-2.0%", "-", "3.2", "right")


def test_the_document_names_its_schema_and_counts_the_verdicts():
    found = [finding(), finding("cusp", math.nan, ("wrong", "not a number, and not flagged"))]
    made = document(found, sampler="hmc", seed=3)
    assert (made["schema"], made["sampler"], made["seed"]) == ("devi/doctor/1", "hmc", 3)
    assert (made["right"], made["flagged"], made["wrong"]) == (1, 0, 1)
    assert made["cases"][0]["truth"] == 2.5
    assert made["cases"][1]["estimate"] is None
    json.dumps(made, allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--case", "quadratic d=7"], 1, "Did you mean 'quadratic d=5'?"),
        (["--sampler", "slgd", "--case", "cusp"], 1, "Did you mean 'sgld'?"),
        (["--seed", "x"], 2, "valid integer"),
        (["--seed", "-1"], 1, "'seed' = -1 is not valid: Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_argument_gets_one_message_before_anything_is_estimated(capsys, arguments, code, message):
    assert run(["doctor", *arguments]) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


@pytest.mark.slow  # seeded, so that there are no false alarms
def test_a_table_of_right_estimates_exits_with_0(capsys):
    assert run(["doctor", "--case", "quadratic d=1", "--case", "monomials 4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["case", "quadratic d=1", "monomials 4"]
    assert lines[3].startswith("2 right, 0 flagged, 0 wrong of 2, by ")


@pytest.mark.slow  # seeded, so that there are no false alarms
def test_json_is_one_document(capsys):
    assert run(["doctor", "--case", "quadratic d=1", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert [case["name"] for case in made["cases"]] == ["quadratic d=1"]
    assert made["right"] == 1


@pytest.mark.slow  # exact: it waits for a process
def test_an_interrupt_keeps_the_lines_that_were_printed():
    process = subprocess.Popen(
        [sys.executable, "-m", "devi.cli.main", "doctor"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a test runner in the background ignores SIGINT, and its children would inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    lines = [process.stdout.readline(), process.stdout.readline()]
    os.kill(process.pid, signal.SIGINT)
    rest, error = process.communicate()
    assert process.returncode == 130
    assert lines[0].startswith("case")
    assert lines[1].startswith("quadratic d=5")
    assert "interrupted" in error
    assert "right," not in rest
