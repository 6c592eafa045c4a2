import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from devi.checkpoints.reader import open_run
from devi.errors import DeviError
from devi.optimizers import check_taken
from devi.plan import TrainingPlan, planned, resumed_settings
from devi.task import Batch, Task, settings_of
from devi.tasks.modular_addition import ModularAddition
from devi.tasks.superposition import Superposition
from devi.training import train


@dataclass(frozen=True)
class Noisy(Task):
    """Dropout and minibatches: everything random that a resumed run must restore."""

    batch_size: int = 4
    learning_rate: float = 0.01
    steps: int = 60
    checkpoints: str = "every:5"
    seed: int = 3

    def model(self):
        return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))

    def data(self, split):
        x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        return Batch(x, x.sum(1, keepdim=True)) if split == "train" else None

    def loss(self, outputs, targets):
        return (outputs - targets).square().sum(-1)


def test_a_run_has_the_scheduled_checkpoints_and_what_was_measured(tmp_path):
    run = train(ModularAddition(p=7, steps=30, checkpoints="every:10"), tmp_path / "run")
    assert run.steps.tolist() == [0, 10, 20, 30]
    assert set(run.scalars.data_vars) == {"train_loss", "test_loss", "train_accuracy", "test_accuracy"}


def test_gradient_descent_on_one_step_is_the_formula(tmp_path):
    task = Noisy(steps=1, checkpoints="every:1", batch_size=0)
    object.__setattr__(task, "model", lambda: torch.nn.Linear(3, 1))
    plan = TrainingPlan(optimizer="SGD", learning_rate=0.1, steps=1, checkpoints="every:1", seed=3)
    run = train(task, tmp_path / "run", plan=plan)
    weight, bias = run.parameters()["weight"].astype(float), run.parameters()["bias"].astype(float)
    x, y = (values.double().numpy() for values in task.data("train"))
    residual = x @ weight[0].T + bias[0] - y
    assert np.allclose(weight[1], weight[0] - 0.1 * 2 * (residual * x).mean(0), atol=1e-6)
    assert np.allclose(bias[1], bias[0] - 0.1 * 2 * residual.mean(0), atol=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path):
    runs = [
        train(Superposition(steps=20, checkpoints="every:5", seed=seed), tmp_path / str(i))
        for i, seed in enumerate((1, 1, 2))
    ]
    first, again, other = (run.parameters()["W"] for run in runs)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_training_leaves_the_global_random_states_alone(tmp_path):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train(Noisy(steps=5), tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    "task",
    [
        Noisy(),
        Superposition(steps=60, checkpoints="every:5"),
        ModularAddition(p=7, steps=60, checkpoints="every:5", batch_size=6),
        ModularAddition(p=7, steps=60, checkpoints="every:5", architecture="transformer", embed=8, width=8),
    ],
    ids=["dropout", "superposition", "mlp", "transformer"],
)
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, task):
    whole = train(task, tmp_path / "whole")

    def stop(done, total):
        if done == 33:
            raise Stop

    with pytest.raises(Stop):
        train(task, tmp_path / "stopped", progress=stop)
    kept = open_run(tmp_path / "stopped", task)
    assert kept.steps.tolist() == list(range(0, 31, 5))
    resumed = train(task, tmp_path / "stopped", resume=True)
    assert resumed.steps.tolist() == whole.steps.tolist()
    for name, values in whole.parameters().items():
        assert np.array_equal(values, resumed.parameters()[name]), name


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, monkeypatch):
    """The first segment is there, and not one record in it is whole."""

    def killed(*arguments):
        raise KeyboardInterrupt

    task, path = Superposition(steps=20, checkpoints="every:5"), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("devi.checkpoints.room.Room.put", killed)
        with pytest.raises(KeyboardInterrupt):
            train(task, path)
    assert [entry.name for entry in path.iterdir()] == ["segment-000000.h5"]
    assert resumed_settings(path, Superposition, {})["steps"] == 20
    resumed = train(task, path, resume=True)
    whole = train(task, tmp_path / "whole")
    assert resumed.steps.tolist() == whole.steps.tolist()
    assert resumed.parameters()["W"].tobytes() == whole.parameters()["W"].tobytes()


@pytest.mark.parametrize("scheduler", ["CosineAnnealingLR", "OneCycleLR", "ReduceLROnPlateau", "LinearLR"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "LBFGS", "RMSprop"])
def test_optimizers_and_schedulers_go_by_name(tmp_path, optimizer, scheduler):
    if optimizer == "LBFGS" and scheduler == "OneCycleLR":
        pytest.skip("OneCycleLR cycles a momentum, which LBFGS has none of")
    plan = TrainingPlan(optimizer=optimizer, scheduler=scheduler, steps=6, checkpoints="every:3", learning_rate=0.01)
    run = train(Noisy(), tmp_path / "run", plan=plan)
    assert run.steps.tolist() == [0, 3, 6]


def test_the_users_value_wins_over_the_tasks_and_the_tasks_over_the_default():
    task, plan = planned(Superposition, {"learning_rate": "0.5", "momentum": "0.9"})
    assert (task.learning_rate, plan.learning_rate, plan.momentum, plan.steps) == (0.5, 0.5, 0.9, 4000)
    assert planned(ModularAddition, {}, preset="p113")[1].weight_decay == 1.0
    assert planned(ModularAddition, {"weight_decay": 0}, preset="p113")[1].weight_decay == 0.0


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(
        DeviError, match="no setting of task superposition is called 'lerning_rate'. Did you mean 'learning_rate'"
    ):
        planned(Superposition, {"lerning_rate": 1})
    with pytest.raises(DeviError, match="no preset of modular_addition is called 'p112'. Did you mean 'p113'"):
        planned(ModularAddition, {}, preset="p112")


def test_an_unknown_optimizer_suggests_the_nearest(tmp_path):
    with pytest.raises(DeviError, match="no optimizer is called 'AdmW'. Did you mean 'AdamW'"):
        train(Noisy(), tmp_path / "run", plan=TrainingPlan(optimizer="AdmW"))


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [("Adam", {"differentiable": True}), ("Adam", {"capturable": True}), ("SparseAdam", {})],
)
def test_an_optimizer_that_can_be_made_but_not_used_is_refused_before_anything_is_written(tmp_path, optimizer, options):
    plan = TrainingPlan(optimizer=optimizer, optimizer_options=options)
    with pytest.raises(DeviError, match=rf"optimizer {optimizer} with .* cannot take a step here: .*--set optimizer="):
        train(Noisy(), tmp_path / "run", plan=plan)
    assert not (tmp_path / "run").exists()


def test_options_an_optimizer_refuses_are_named(tmp_path):
    plan = TrainingPlan(optimizer="SGD", optimizer_options={"nestrov": True})
    with pytest.raises(DeviError, match=r"optimizer SGD refuses .*nestrov.* It takes: lr, momentum"):
        train(Noisy(), tmp_path / "run", plan=plan)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"optimizer": "Adam", "momentum": 0.9},
            "momentum = 0.9 .* Adam takes learning_rate, weight_decay, betas, and",
        ),
        ({"betas": "0.9,0.99"}, r"betas = \(0.9, 0.99\) .* SGD takes learning_rate, weight_decay, momentum, and"),
        ({"optimizer": "LBFGS", "weight_decay": 0.1}, "weight_decay = 0.1 would change nothing"),
        ({"scheduler_options": {"gamma": 0.1}}, "there is no scheduler. Leave it out, or choose one"),
    ],
)
def test_a_setting_that_the_optimizer_does_not_take_is_refused(given, told):
    with pytest.raises(DeviError, match=told):
        check_taken(*planned(Superposition, given), given)


def test_a_tasks_own_optimizer_takes_only_what_are_fields_of_the_task():
    class Own(Noisy):
        def optimizer(self, parameters):
            return torch.optim.SGD(parameters, lr=self.learning_rate)

    given = {"learning_rate": 0.1, "momentum": 0.9}
    with pytest.raises(DeviError, match=r"momentum = 0.9 would change nothing: Own makes its own optimizer"):
        check_taken(*planned(Own, given), given)


@pytest.mark.parametrize("given", [{"optimizer": "SGD"}, {"optimizer": "LBFGS", "weight_decay": 0}, {"momentum": None}])
def test_what_a_task_sets_for_another_optimizer_is_no_mistake(given):
    check_taken(*planned(ModularAddition, given), given)


@pytest.mark.parametrize("given", [{"optimizer_options": {"lr": 3.0}}, {"learning_rate": 0.1}])
def test_an_option_of_the_optimizer_that_hides_a_setting_is_refused_and_a_tasks_own_is_not(given):
    plan = planned(Superposition, {"optimizer_options": {"lr": 3.0}, **given})[1]
    with pytest.raises(DeviError, match=r"names 'lr', which is the setting learning_rate. Leave it out there: --set"):
        check_taken(Superposition(), plan, given)
    check_taken(Superposition(), plan, {"steps": 10})


def test_divergence_stops_with_the_step_and_keeps_what_was_before(tmp_path):
    task = Superposition(learning_rate=1e6, steps=200, checkpoints="every:1")
    with pytest.raises(
        DeviError, match=r"training diverged, train_loss is (nan|inf) at step \d+.*--set learning_rate=100000"
    ):
        train(task, tmp_path / "run")
    stored = len(open_run(tmp_path / "run", task))
    assert stored >= 2
    for _ in range(2):
        with pytest.raises(DeviError, match=r"diverged.* train_loss is (nan|inf)"):
            train(task, tmp_path / "run", resume=True)
    assert len(open_run(tmp_path / "run", task)) == stored


def test_resuming_with_other_settings_says_which_differ(tmp_path):
    path = tmp_path / "run"
    train(Superposition(steps=10, checkpoints="every:5"), path)
    with pytest.raises(DeviError, match=r"these differ: steps=20 \(the run has 10\)"):
        resumed_settings(path, Superposition, {"steps": "20"})
    assert resumed_settings(path, Superposition, {})["steps"] == 10


def test_resuming_with_another_task_says_which_the_run_has(tmp_path):
    path = tmp_path / "run"
    train(Superposition(steps=10, checkpoints="every:5"), path)
    with pytest.raises(DeviError, match=r"made with task = 'superposition', and ModularAddition does not take its"):
        resumed_settings(path, ModularAddition, {})


def test_scalars_equal_the_mean_loss_computed_by_hand(tmp_path):
    task = ModularAddition(p=7, steps=4, checkpoints="every:2")
    run = train(task, tmp_path / "run")
    x, y = task.data("test")
    model = run.model_at(1)
    expected = torch.nn.functional.cross_entropy(model(x), y).item()
    assert math.isclose(float(run.scalars["test_loss"][1]), expected, rel_tol=1e-5)


def test_the_run_remembers_its_settings(tmp_path):
    task = Superposition(features=3, steps=4, checkpoints="every:2", seed=5)
    train(task, tmp_path / "run", name="superposition")
    run = open_run(tmp_path / "run")
    assert run.task == task
    assert run.metadata["seed"] == 5
    assert run.metadata["training"] == settings_of(planned(Superposition, settings_of(task))[1])


@pytest.mark.parametrize("seed", [-1, 2**63, 99999999999999999999])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with pytest.raises(DeviError, match=rf"setting 'seed' = {seed} is not valid: .*(greater|less) than"):
        planned(Superposition, {"seed": seed})


@dataclass(frozen=True)
class Failing(Superposition):
    """Its own code fails at optimizer step 3, in a function that is named."""

    where: str = "batch"

    def batch(self, step, generator):
        if step == 3 and self.where == "batch":
            raise IndexError("no more data")
        return

    def loss(self, outputs, targets):
        losses = super().loss(outputs, targets)
        if self.where == "loss" and torch.is_grad_enabled() and losses.detach().mean() < 0.09:
            raise ValueError("too good")
        return losses.to(torch.complex64) if self.where == "complex" else losses


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("batch", r"Failing: batch\(step, generator\) at step 3 failed with IndexError: no more data \(.*kept, to be"),
        ("loss", r"Failing: model or loss of a batch with inputs .* failed with ValueError: too good \(.*kept, to be"),
        ("complex", r"returned shape \(16,\) of torch.complex64; expected .* Take real numbers"),
    ],
)
def test_an_error_midway_in_a_users_task_names_its_line_and_keeps_what_was_recorded(tmp_path, where, message):
    plan = TrainingPlan(steps=4000, checkpoints="log:40")
    with pytest.raises(DeviError, match=message):
        train(Failing(where=where), tmp_path / "run", plan=plan, notice=lambda text: None)
    if where != "complex":
        assert len(open_run(tmp_path / "run", Failing(where=where)).steps) > 2
