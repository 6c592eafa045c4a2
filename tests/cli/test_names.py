"""devi tasks and devi metrics: what is told of each."""

import json

import pytest

from devi.checkpoints.reader import open_run
from devi.cli.main import run
from devi.metrics.metric import OF_THE_LOSS
from devi.plugins import load, names
from devi.tasks.modular_addition import ModularAddition
from devi.tasks.superposition import Superposition
from devi.training import train

OWN = """
from devi import Metric

class Matching(Metric):
    units, long_name, dims = "m", "how far heads look back", ("head",)
    bounds, material = (0, 1), 0.2

    def at(self, model, task):
        return [0.5]
"""

UNDECORATED = """
import torch
from devi import Batch, Task

class Own(Task):
    steps: int = 20
    checkpoints = "every:2"

    def model(self):
        return torch.nn.Linear(3, 2)

    def data(self, split):
        return Batch(torch.ones(5, 3), torch.ones(5, 2))

    def loss(self, outputs, targets):
        return (outputs - targets).square().sum(1)

    @property
    def learning_rate(self):
        return 0.001
"""


def told(words, capsys):
    assert run(words) == 0
    return capsys.readouterr().out


def test_a_users_metric_is_told_with_what_it_declares(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    assert told(["metrics", "own.py:Matching"], capsys).splitlines() == [
        "own.py:Matching",
        "  called: how far heads look back",
        "  gives: matching along head",
        "  units: m",
        "  declares: bounds=(0, 1), material=0.2",
    ]
    entry = json.loads(told(["metrics", "own.py:Matching", "--json"], capsys))["own.py:Matching"]
    assert (entry["units"], entry["dims"], entry["long_name"]) == (
        {"matching": "m"},
        ["head"],
        "how far heads look back",
    )
    assert entry["declares"] == {"bounds": [0, 1], "material": 0.2}


def test_what_is_told_of_a_class_without_settings_is_what_it_is_trained_with(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(UNDECORATED)
    training = json.loads(told(["tasks", "own.py:Own", "--json"], capsys))["own.py:Own"]["training"]
    assert (training["steps"], training["checkpoints"]) == (20, "every:2")
    told(["train", "own.py:Own", "--out", "run"], capsys)
    assert open_run("run", load("task", "own.py:Own")).metadata["training"] == training


def test_units_are_told_of_tasks_and_metrics(capsys):
    assert "  units: 1; 1/step of distance_per_step\n" in told(["metrics", "norms"], capsys)
    assert "  units: squared error\n" in told(["tasks", "superposition"], capsys)
    assert json.loads(told(["tasks", "--json"], capsys))["modular_addition"]["units"] == {"loss": "nats"}


@pytest.mark.parametrize("task", [Superposition(steps=2, checkpoints="every:1"), ModularAddition(p=5, steps=2)])
def test_the_units_that_are_told_are_those_of_the_results(tmp_path, task):
    run_ = train(task, tmp_path / "run")
    for name in {*names("metric")} & {*task.metrics()} - {"llc"}:  # which takes seconds, and says 1 of all it gives
        metric = load("metric", name)()
        for variable, values in metric.resolved(run_).over(run_).data_vars.items():
            unit = metric.units_of.get(variable, metric.units)
            assert values.attrs["units"] == (task.loss_units if unit == OF_THE_LOSS else unit), variable
            assert variable in metric.gives
