"""What a task may get wrong: each mistake is told in one message, before anything is trained or written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from devi.analysis import analyze
from devi.checkpoints.reader import open_run
from devi.contract import check_values, examples, own_code
from devi.errors import DeviError
from devi.plan import planned
from devi.seeds import Wanted, train_seeds
from devi.task import Batch, Task
from devi.tasks.superposition import Superposition
from devi.training import train

INPUTS = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
ARRAYS = Batch(INPUTS.numpy(), INPUTS[:, :2].numpy())
EMPTY = Batch(torch.zeros(0, 3), torch.zeros(0, 2))


@dataclass(frozen=True)
class Right(Task):
    steps: int = 2
    checkpoints: str = "every:1"
    seed: int = 0

    def model(self):
        return torch.nn.Linear(3, 2)

    def data(self, split):
        return Batch(INPUTS, INPUTS[:, :2]) if split == "train" else None

    def loss(self, outputs, targets):
        return (outputs - targets).square().sum(1)

    def metrics(self):
        return ("losses", "norms")


def wrong(**methods):
    """The task with some methods replaced; each is called with all but the first argument."""
    own = {name: staticmethod(method) for name, method in methods.items()}
    return type("Wrong", (Right,), {"__module__": __name__, **own})()


def error(outputs, targets):
    return (outputs - targets).square()


class Told(torch.nn.Linear):
    """A model that tells its outputs in another way."""

    def __init__(self, how):
        super().__init__(3, 2)
        self.how = how

    def forward(self, inputs):
        return self.how(super().forward(inputs))


MISTAKES = {
    "mean": (
        wrong(loss=lambda o, t: error(o, t).mean()),
        r"loss\(outputs, targets\) on 16 train examples returned shape \(\); expected a Tensor \(16,\), one value per"
        r" example\. Use reduction='none'\.",
    ),
    "number": (wrong(loss=lambda o, t: error(o, t).mean().item()), r"returned a float; expected a Tensor \(16,\)"),
    "matrix": (wrong(loss=error), r"returned shape \(16, 2\).* Add up or average what belongs to one example"),
    "column": (wrong(loss=lambda o, t: error(o, t).sum(1, keepdim=True)), r"returned shape \(16, 1\)"),
    "detached": (wrong(loss=lambda o, t: error(o, t).sum(1).detach()), r"loss\(outputs, targets\) has no gradient"),
    "shapes": (
        wrong(model=lambda: torch.nn.Linear(4, 2)),
        r"its model on inputs \(16, 3\), torch.float32, failed with RuntimeError: mat1 and",
    ),
    "line": (wrong(loss=lambda o, t: 1 / 0), r"failed with ZeroDivisionError: .* \(test_contract\.py, line \d+\)"),
    "accuracy": (wrong(accuracy=lambda o, t: torch.tensor(1.0)), r"accuracy\(outputs, targets\) on 16 train examples"),
    "arrays": (
        wrong(data=lambda split: ARRAYS),
        r"data\('train'\) returned \(ndarray \(30, 3\), ndarray \(30, 2\)\); expected Batch.*torch\.from_numpy",
    ),
    "dict": (wrong(data=lambda split: Batch({"a": INPUTS}, INPUTS)), r"returned \(dict, Tensor \(30, 3\)\)"),
    "lengths": (wrong(data=lambda split: Batch(INPUTS, INPUTS[:20])), r"Tensor \(30, 3\), Tensor \(20, 3\)"),
    "one tensor": (wrong(data=lambda split: INPUTS), r"data\('train'\) returned a Tensor; expected Batch"),
    "no file": (wrong(data=lambda split: torch.load("nowhere.pt")), r"data\('train'\) failed with FileNotFoundError"),
    "no examples": (wrong(data=lambda split: EMPTY), r"data\('train'\) gave no examples"),
    "no model": (wrong(model=lambda: None), r"model\(\) returned None; expected a torch\.nn\.Module"),
    "lazy": (
        wrong(model=lambda: torch.nn.LazyLinear(2)),
        r"'weight' of its model has no shape yet \(a lazy module\).* Run one batch through the model at the end",
    ),
    "meta": (
        wrong(model=lambda: torch.nn.Linear(3, 2, device="meta")),
        r"'weight' of its model is on the meta device, where tensors have no values\. Make the model on the CPU",
    ),
    "nothing moves": (
        wrong(model=lambda: torch.nn.Linear(3, 2).requires_grad_(False)),
        r"has no parameter with requires_grad=True, so that there is nothing to train",
    ),
}


COLUMN = INPUTS[:, :1] * torch.linspace(1, 2, 30)[:, None]  # nothing that the first rows alone would show
SORTED = (torch.arange(30) >= 20).long()


def one_output(loss, targets, **methods):
    """A task of one output an example, (example, 1)."""
    data = Batch(INPUTS, targets)
    return wrong(model=lambda: torch.nn.Linear(3, 1), data=lambda split: data, loss=loss, **methods)


MIXING = {
    "rows": one_output(lambda o, t: error(o, t).mean(-1), COLUMN[:, 0]),
    "columns": one_output(lambda o, t: error(o, t).mean(0), COLUMN[:, 0]),
    "equal targets": one_output(lambda o, t: error(o, t).mean(-1), torch.ones(30)),
    "classes, sorted": one_output(lambda o, t: error(o, t).mean(-1), SORTED),
    "outputs flat": one_output(lambda o, t: error(o.squeeze(1), t).mean(-1), COLUMN),
    "centred": one_output(lambda o, t: error(o - o.mean(0), t).sum(1), COLUMN),
    "softmax": one_output(lambda o, t: -(t * o.log_softmax(0)).sum(1), COLUMN.square()),
    "double": one_output(lambda o, t: error(o.double(), t.double()).mean(-1), COLUMN[:, 0]),
    "half": one_output(lambda o, t: error(o.bfloat16(), t.bfloat16()).mean(-1).float(), COLUMN[:, 0]),
    "two examples": wrong(
        model=lambda: torch.nn.Linear(3, 1),
        data=lambda split: Batch(INPUTS[:2], COLUMN[:2, 0]),
        loss=lambda o, t: error(o, t).mean(-1),
    ),
}


@pytest.mark.parametrize("mixing", MIXING)
def test_a_loss_that_depends_on_the_other_examples_is_told_before_anything_is_trained(tmp_path, mixing):
    with pytest.raises(DeviError, match=r"example a loss that depends on the other examples; expected that of the"):
        train(MIXING[mixing], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_shapes_that_broadcast_are_told_and_what_makes_them_one():
    with pytest.raises(DeviError) as told:
        check_values(MIXING["rows"], torch.nn.Linear(3, 1), Batch(INPUTS, COLUMN[:, 0]), "train")
    assert str(told.value) == (
        "task Wrong: loss(outputs, targets) of outputs (16, 1) and targets (16,) gives an example a loss that depends"
        " on the other examples; expected that of the example alone. The usual cause is that (16, 1) and (16,)"
        " broadcast to (16, 16): give both one shape, by outputs.squeeze(-1) or targets.unsqueeze(-1)."
    )
    with pytest.raises(DeviError, match=r"The usual cause is a mean, norm or softmax over dim 0"):
        check_values(MIXING["centred"], torch.nn.Linear(3, 1), Batch(INPUTS, COLUMN), "train")


class Normed(torch.nn.Sequential):
    """Its outputs depend on the batch even in eval mode; that is the model's affair."""

    def __init__(self):
        super().__init__(torch.nn.BatchNorm1d(3, track_running_stats=False), torch.nn.Linear(3, 2))


def only_sixteen(o, t):
    return error(o, t).reshape(16, 2).sum(1)


def in_place(o, t):
    return o.sub_(t).square_().sum(1)


def unequal(o, t):
    """Weights of classes, masked entries, a norm whose derivative is nan at 0."""
    weights = torch.tensor([1.0, 1e6])[(t[:, 0] > 0).long()]
    return weights * torch.where(t > 0, error(o, t), 0).sum(1) + (o - o).norm(dim=1)


@pytest.mark.parametrize(
    ("loss", "model"),
    [
        (lambda o, t: error(o, t).sum(1), Normed),
        (lambda o, t: error(o, t).sum(1), lambda: torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(3, 2))),
        (lambda o, t: error(o, t).sum(1) * torch.nan, lambda: torch.nn.Linear(3, 2)),
        (lambda o, t: error(o + torch.randn_like(o), t).sum(1), lambda: torch.nn.Linear(3, 2)),
        (lambda o, t: error(o.bfloat16(), t).sum(1), lambda: torch.nn.Linear(3, 2)),
        (lambda o, t: o.squeeze().square().sum(-1), lambda: torch.nn.Linear(3, 2)),
        (lambda o, t: torch.nn.functional.cross_entropy(1e4 * o, t.softmax(1), reduction="none"), Normed),
        (lambda o, t: torch.nn.functional.cross_entropy(o, t.argmax(1), reduction="none"), Normed),
        (only_sixteen, lambda: torch.nn.Linear(3, 2)),
        (in_place, lambda: torch.nn.Linear(3, 2)),
        (unequal, lambda: torch.nn.Linear(3, 2)),
    ],
)
def test_a_loss_of_each_example_by_itself_is_taken_whatever_else_it_does(loss, model):
    assert check_values(wrong(loss=loss), model().eval(), Right().data("train"), "train") == ""


def test_one_example_has_none_beside_it():
    one = Batch(INPUTS[:1], COLUMN[:1, 0])
    assert check_values(MIXING["rows"], torch.nn.Linear(3, 1), one, "train") == ""


def test_code_that_is_in_no_file_has_no_line(monkeypatch):
    """A frozen dataclass raises in methods that were compiled from a text, '<string>'."""
    monkeypatch.chdir(Path(__file__).parent)
    with pytest.raises(DeviError) as told, own_code(Right(), "loss"):
        exec(compile("raise ValueError('frozen')", "<string>", "exec"))
    assert "<string>" not in str(told.value)
    assert "test_contract.py, line" in str(told.value)


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
def test_a_mistake_is_told_before_anything_is_trained_or_written(tmp_path, mistake):
    task, message = MISTAKES[mistake]
    with pytest.raises(DeviError, match=rf"task Wrong: .*{message}"):
        train(task, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_seeds_that_are_trained_at_once_are_told_the_same(tmp_path):
    task, message = MISTAKES["number"]
    wanted = [Wanted(task, planned(Right, {"seed": seed})[1], tmp_path / str(seed)) for seed in (0, 1)]
    with pytest.raises(DeviError, match=message):
        train_seeds(wanted, name="wrong")


def test_fresh_examples_are_checked_too(tmp_path):
    with pytest.raises(DeviError, match=r"batch\(step, generator\) returned a dict; expected Batch"):
        train(wrong(batch=lambda step, generator: {}), tmp_path / "run")


def test_a_plain_tuple_will_do_wherever_examples_are_read(tmp_path):
    task = wrong(data=lambda split: (INPUTS, INPUTS[:, :2]), batch=lambda step, generator: (INPUTS, INPUTS[:, :2]))
    run = train(task, tmp_path / "run")
    found = analyze(open_run(run.path, type(task)))
    plain = analyze(train(wrong(), tmp_path / "plain"))
    assert found.notices == []
    assert np.array_equal(found.trajectories["train_loss"], plain.trajectories["train_loss"])


def test_a_split_without_examples_is_no_split(tmp_path):
    task = wrong(data=lambda split: Right().data("train") if split == "train" else EMPTY)
    assert examples(task, "test") is None
    run = train(task, tmp_path / "run")
    assert set(run.scalars.data_vars) == {"train_loss"}
    assert set(analyze(run).trajectories) >= {"train_loss", "weight_norm"}
    assert "test_loss" not in analyze(run).trajectories


def test_looking_at_the_loss_first_changes_no_number(tmp_path, monkeypatch):
    looked = train(Right(), tmp_path / "looked")
    monkeypatch.setattr("devi.training.check_values", lambda *arguments: None)
    blind = train(Right(), tmp_path / "blind")
    assert all(np.array_equal(looked.parameters()[name], values) for name, values in blind.parameters().items())


def test_an_error_of_a_task_of_ours_stays_a_bug(tmp_path, monkeypatch):
    monkeypatch.setattr(Superposition, "loss", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(Superposition(steps=1), tmp_path / "run")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda o: {"mean": o}, "model.forward(inputs) returned a dict; expected one Tensor (example, ...)."),
        (
            lambda o: o.T,
            "model.forward of 16 inputs returned shape (2, 16); expected (16, ...), one output per example",
        ),
    ],
)
def test_outputs_that_metrics_cannot_take_are_told_when_training_begins(tmp_path, how, message):
    def loss(outputs, targets):
        return error(outputs["mean"] if isinstance(outputs, dict) else outputs.T, targets).sum(1)

    task, told = wrong(model=lambda: Told(how), loss=loss), []
    train(task, tmp_path / "run", notice=told.append)
    train_seeds([Wanted(*planned(type(task), {}), tmp_path / "seed")], name="wrong", notice=told.append)
    assert [message in each for each in told] == [True, True]
    assert all(each.endswith("As it is, devi analyze cannot follow its losses.") for each in told)
