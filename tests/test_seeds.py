import json
import os
import shlex
import signal
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from devi.checkpoints.reader import open_run
from devi.checkpoints.writer import Recorder
from devi.cli.main import run as command
from devi.errors import DeviError
from devi.plan import planned
from devi.seeds import Wanted, train_seeds
from devi.stack import Stack
from devi.task import Batch, Task, settings_of
from devi.tasks.modular_addition import ModularAddition
from devi.tasks.superposition import Superposition
from devi.training import train

SUPERPOSITION = Superposition(steps=30, checkpoints="every:5")
MLP = ModularAddition(embed=12, width=48, steps=100, checkpoints="every:50")
# Of sizes whose batched products have the bits of single ones with and without AVX-512; 8 and 16 wide they have not
# without it, see devi.seeds.
MINIBATCHES = ModularAddition(embed=12, width=48, steps=30, checkpoints="every:5", batch_size=128)
TRANSFORMER = ModularAddition(
    architecture="transformer", p=11, embed=16, width=16, steps=20, checkpoints="every:5", learning_rate=1e-3
)


def wanted(task, seeds, folder, **settings):
    runs = []
    for seed in seeds:
        own = replace(task, seed=seed)
        plan = planned(type(own), {**settings_of(own), **settings})[1]
        runs.append(Wanted(own, plan, folder / f"seed{seed}"))
    return runs


def same_bits(one, other):
    assert one.steps.tolist() == other.steps.tolist()
    for name, values in one.parameters().items():
        assert values.tobytes() == other.parameters()[name].tobytes(), name
    for name in one.scalars:
        assert one.scalars[name].values.tobytes() == other.scalars[name].values.tobytes(), name


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("task", [SUPERPOSITION, MLP, MINIBATCHES], ids=["superposition", "mlp", "minibatches"])
def test_a_seed_has_the_same_bits_in_any_batch_and_alone_on_one_thread(tmp_path, one_thread, task):
    many = train_seeds(wanted(task, range(5), tmp_path / "five"), name="t")
    two = train_seeds(wanted(task, [3, 9], tmp_path / "two"), name="t")
    same_bits(many[3], two[0])
    same_bits(many[3], train(replace(task, seed=3), tmp_path / "alone", name="t"))


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "SGD", "momentum": 0.9, "learning_rate": 0.1},
        {"optimizer": "Adam", "scheduler": "OneCycleLR"},
        {"optimizer": "RMSprop", "scheduler": "CosineAnnealingLR"},
        {"optimizer": "NAdam"},
        {"optimizer": "Adagrad", "scheduler": "LinearLR"},
    ],
    ids=lambda settings: settings["optimizer"],
)
def test_every_elementwise_optimizer_takes_the_step_that_it_takes_alone(tmp_path, one_thread, settings):
    runs = wanted(MINIBATCHES, range(3), tmp_path / "three", **settings)
    same_bits(train_seeds(runs, name="t")[1], train(runs[1].task, tmp_path / "alone", plan=runs[1].plan, name="t"))


def test_a_transformer_has_the_same_numbers_as_alone_where_sums_are_taken_in_another_order(tmp_path, one_thread):
    together = train_seeds(wanted(TRANSFORMER, range(4), tmp_path / "four"), name="t")[2]
    alone = train(replace(TRANSFORMER, seed=2), tmp_path / "alone", name="t")
    for name, values in alone.parameters().items():
        # Adam makes of a rounding error in a gradient near 0 up to a step; 1e-4 is a tenth of one
        assert np.abs(values - together.parameters()[name]).max() < 1e-4, name


def test_threads_share_the_seeds_and_change_no_bit(tmp_path, monkeypatch):
    monkeypatch.setattr("devi.seeds.WORTH_A_THREAD", 0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        split = train_seeds(wanted(MINIBATCHES, range(5), tmp_path / "split"), name="t")
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        whole = train_seeds(wanted(MINIBATCHES, range(5), tmp_path / "whole"), name="t")
    finally:
        torch.set_num_threads(before)
    for one, other in zip(split, whole, strict=True):
        same_bits(one, other)


class Stop(Exception):
    pass


def stopping_at(count, kind):
    def progress(done, total):
        if done >= count:
            raise kind

    return progress


def test_stopped_seeds_go_on_together_bit_for_bit(tmp_path, one_thread):
    plan = replace(MINIBATCHES, steps=40)
    whole = train_seeds(wanted(plan, range(3), tmp_path / "whole"), name="t")
    with pytest.raises(Stop):
        train_seeds(wanted(plan, range(3), tmp_path / "cut"), name="t", progress=stopping_at(60, Stop))
    assert open_run(tmp_path / "cut" / "seed1", plan).steps[-1] == 20
    notices = []
    resumed = train_seeds(wanted(plan, range(3), tmp_path / "cut"), name="t", resume=True, notice=notices.append)
    for one, other in zip(whole, resumed, strict=True):
        same_bits(one, other)
    assert not any("elsewhere" in notice for notice in notices)  # as many at once as before


def test_seeds_that_stand_at_different_steps_are_told_to_go_on_in_other_numbers_unless_all_are_done(
    tmp_path, one_thread
):
    plan = replace(MINIBATCHES, steps=40)
    with pytest.raises(Stop):
        train_seeds(wanted(plan, range(2), tmp_path), name="t", progress=stopping_at(40, Stop))
    ahead, behind = wanted(plan, range(2), tmp_path)
    train(*ahead[:1], ahead.path, plan=ahead.plan, name="t", resume=True)
    notices = []
    train_seeds([ahead, behind], name="t", resume=True, notice=notices.append)
    (told,) = [notice for notice in notices if "elsewhere" in notice]
    assert told.startswith(f"{behind.path}: goes on at step")
    assert "seeds_at_once 2 then, 1 to 2 now" in told
    notices.clear()
    train_seeds([ahead, behind], name="t", resume=True, notice=notices.append)
    train(*ahead[:1], ahead.path, plan=ahead.plan, name="t", resume=True, notice=notices.append)
    assert not any("elsewhere" in notice for notice in notices)  # nothing is left to train


def test_an_interrupt_keeps_the_step_it_came_at_and_each_run_goes_on_alone(tmp_path, one_thread):
    with pytest.raises(KeyboardInterrupt):
        train_seeds(wanted(MINIBATCHES, range(2), tmp_path), name="t", progress=stopping_at(34, KeyboardInterrupt))
    notices = []
    alone = train(MINIBATCHES, tmp_path / "seed0", name="t", resume=True, notice=notices.append)
    assert any("goes on at step 17, but the run was begun elsewhere (seeds_at_once 2" in each for each in notices)
    same_bits(alone, train(MINIBATCHES, tmp_path / "whole", name="t"))


@pytest.mark.usefixtures("_interrupted_by_ctrl_c")
def test_a_second_ctrl_c_waits_for_the_step_that_the_first_one_came_in(tmp_path, one_thread, monkeypatch):
    real_update, real_keep, under_way, kept = Stack.update, Recorder.keep, [], []

    def update(stack, step):
        under_way.append(step)
        for _ in range(2 * (step == 17)):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)  # the main thread takes it meanwhile
        real_update(stack, step)
        under_way.clear()

    def keep(record, step, model):
        kept.append((step, *under_way))
        real_keep(record, step, model)

    monkeypatch.setattr(Stack, "update", update)
    monkeypatch.setattr(Recorder, "keep", keep)
    with pytest.raises(KeyboardInterrupt):
        train_seeds(wanted(MINIBATCHES, range(2), tmp_path), name="t")
    assert kept == [(18,), (18,)]


def test_seeds_at_different_steps_are_joined_by_those_ahead(tmp_path, one_thread):
    """A killed process leaves each seed its own last slot; here one has none, one is half way, and one has ended."""
    runs = wanted(MINIBATCHES, range(3), tmp_path / "mixed")
    with pytest.raises(Stop):
        train(runs[0].task, runs[0].path, name="t", progress=stopping_at(12, Stop))
    train(runs[2].task, runs[2].path, name="t")
    resumed = train_seeds(runs, name="t", resume=True, notice=lambda text: None)
    for one, other in zip(
        resumed, train_seeds(wanted(MINIBATCHES, range(3), tmp_path / "whole"), name="t"), strict=True
    ):
        same_bits(one, other)


def test_a_seed_that_diverges_stops_and_the_others_go_on(tmp_path):
    task = Superposition(learning_rate=1.0, steps=30, checkpoints="every:5", features=3)
    runs = wanted(task, range(3), tmp_path)
    object.__setattr__(runs[1].task, "importance", (1e30, 1.0, 1.0))
    with pytest.raises(DeviError, match=r"seed1: training diverged, train_loss is (nan|inf) at step \d+"):
        train_seeds(runs, name="t", notice=lambda text: None)
    assert open_run(tmp_path / "seed2", task).steps[-1] == 30
    stored = open_run(tmp_path / "seed1", task).steps.tolist()
    with pytest.raises(DeviError, match=r"seed1: training had diverged by step \d+"):
        train_seeds(runs, name="t", resume=True, notice=lambda text: None)
    assert open_run(tmp_path / "seed1", task).steps.tolist() == stored


@dataclass(frozen=True)
class Odd(Task):
    """Whatever keeps seeds from being trained at once."""

    what: str = "dropout"
    optimizer: str = "SGD"
    learning_rate: float = 0.01
    steps: int = 4
    checkpoints: str = "every:2"
    seed: int = 0

    def model(self):
        middle = {"dropout": torch.nn.Dropout(0.5), "norm": torch.nn.BatchNorm1d(8)}.get(self.what, torch.nn.ReLU())
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), middle, torch.nn.Linear(8, 1))
        if self.what == "item":
            model.register_forward_pre_hook(lambda module, inputs: (inputs[0] * float(inputs[0].max().item() > -9),))
        return model

    def data(self, split):
        count = 20 + (self.seed if self.what == "shape" else 0)
        x = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
        return Batch(x, x.sum(1, keepdim=True)) if split == "train" else None

    def loss(self, outputs, targets):
        scale = 1.0 + (self.seed if self.what == "loss" else 0)
        return scale * (outputs - targets).square().sum(-1)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (Odd("dropout"), "the model draws random numbers in training"),
        (Odd("norm"), "the model changes its buffers in training"),
        (Odd("item"), "item"),
        (Odd("shape"), "the examples of step 0 differ in shape between seeds"),
        (Odd("loss"), "seed 1 has another gradient together than alone"),
        (Odd("none", optimizer="LBFGS"), "optimizer LBFGS is not known to work on each parameter's elements"),
    ],
    ids=["dropout", "batch norm", "item", "shape", "loss", "LBFGS"],
)
def test_what_cannot_be_trained_at_once_is_trained_one_after_another_with_a_notice(tmp_path, task, reason):
    notices = []
    runs = train_seeds(wanted(task, range(2), tmp_path / "seeds"), name="odd", notice=notices.append)
    (notice,) = notices
    assert notice.startswith(f"odd: seeds are trained one after another, not at once: {reason}") or reason in notice
    same_bits(runs[1], train(replace(task, seed=1), tmp_path / "alone", name="odd"))


def test_a_scheduler_that_follows_the_loss_is_trained_one_by_one(tmp_path):
    notices = []
    train_seeds(
        wanted(Odd("none"), range(2), tmp_path, scheduler="ReduceLROnPlateau"), name="odd", notice=notices.append
    )
    assert "scheduler ReduceLROnPlateau follows the loss of one seed" in notices[0]


def test_a_directory_that_holds_something_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "seed1").mkdir()
    (tmp_path / "seed1" / "notes.txt").write_text("mine")
    with pytest.raises(DeviError, match="seed1 holds something that is no run"):
        train_seeds(wanted(SUPERPOSITION, range(2), tmp_path), name="t")
    assert not (tmp_path / "seed0").exists()


def test_the_command_makes_a_run_of_each_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = ["--steps", "10", "--checkpoints", "every:5", "--json"]
    assert command(["train", "superposition", "--seeds", "2:4", *settings]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [each["run"] for each in document["runs"]] == [f"checkpoints/superposition-seed{seed}" for seed in (2, 3)]
    assert open_run("checkpoints/superposition-seed3").metadata["seed"] == 3
    assert command(["train", "superposition", "--seeds", "2:4", "--resume", *settings]) == 0


def test_seeds_that_have_a_run_are_answered_with_seeds_that_are_free(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = ["--steps", "10", "--checkpoints", "every:5"]
    assert command(["train", "superposition", "--seed", "1", "--set", "features=5", *settings]) == 0
    assert command(["train", "superposition", "--seed", "4", *settings]) == 0
    capsys.readouterr()
    assert command(["train", "superposition", "--seeds", "0:2", *settings]) == 1
    error = capsys.readouterr().err
    assert (
        "--seeds 0:2: checkpoints/superposition-seed1 already holds a run. Seeds that are free: --seeds 2:4." in error
    )
    assert command(["train", "superposition", "--seeds", "2:4", *settings]) == 0
    assert command(["train", "superposition", "--seeds", "0:2", "--set", "features=6", "--resume", *settings]) == 1
    assert "features=6 (the run has 5). Leave them out, or start another run: with --out" in capsys.readouterr().err
    assert command(["train", "superposition", "--seeds", "2:6", *settings]) == 1
    error = capsys.readouterr().err
    assert "superposition-seed2 already holds a run, and 2 more of these seeds have one." in error
    assert "--seeds 5:9." in error


def test_resumed_seeds_go_on_and_those_that_are_not_there_begin_with_a_notice(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = ["--steps", "10", "--checkpoints", "every:5"]
    assert command(["train", "superposition", "--seed", "1", *settings]) == 0
    before = open_run("checkpoints/superposition-seed1").metadata["run_id"]
    assert command(["train", "superposition", "--seeds", "0:3", "--resume", *settings]) == 0
    told = capsys.readouterr().err
    assert "2 of 3 seeds have no run yet and begin one: superposition-seed0, superposition-seed2." in told
    assert open_run("checkpoints/superposition-seed1").metadata["run_id"] == before
    assert open_run("checkpoints/superposition-seed2").steps.tolist() == [0, 5, 10]


def test_seeds_that_would_begin_with_other_settings_than_the_runs_beside_them_are_refused(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    settings = ["--steps", "10", "--checkpoints", "every:5"]
    made = ["--set", "features=3", "--set", "importance=1,0.5,0.2"]
    assert command(["train", "superposition", "--seed", "1", *made, *settings]) == 0
    capsys.readouterr()
    assert command(["train", "superposition", "--seeds", "0:3", "--resume", *settings]) == 1
    error = capsys.readouterr().err
    assert "superposition-seed1 was made with features=3 (here 6), importance=[1.0, 0.5, 0.2] (here None)" in error
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["superposition-seed1"]
    suggested = shlex.split(error[error.index("--set") : error.index("; or other")])
    assert command(["train", "superposition", "--seeds", "0:3", "--resume", *suggested, *settings]) == 0
    assert open_run("checkpoints/superposition-seed2").metadata["settings"]["features"] == 3


def test_nothing_is_begun_where_there_is_nothing_to_go_on_with(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = ["superposition", "--out", "my run", "--steps", "10", "--set", "features=3"]
    assert command(["train", *given, "--resume"]) == 1
    error = capsys.readouterr().err
    assert "my run: there is no run to go on with, and --resume begins none." in error
    assert not (tmp_path / "my run").exists()
    assert command(shlex.split(error.split("the same without it: devi ")[1])) == 0
    assert open_run("my run").steps[-1] == 10
    assert command(["train", "superposition", "--seeds", "0:2", "--resume"]) == 1
    assert "of any of these seeds, and" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["5:3", "3:3", "a", "4", ":3", "1:b", "-1:3", "0:9999999999999999999"])
def test_seeds_that_are_none_are_refused_in_one_line(tmp_path, monkeypatch, capsys, text):
    monkeypatch.chdir(tmp_path)
    assert command(["train", "superposition", f"--seeds={text}"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"--seeds '{text}' names no seeds. Expected A:B" in error


def test_a_range_of_more_seeds_than_anyone_trains_is_refused_before_any_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(["train", "superposition", "--seeds", "3:99999999999"]) == 1
    error = capsys.readouterr().err
    assert "--seeds 3:99999999999 makes 99,999,999,996 runs. Expected at most 10,000 at a time, e.g." in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("more", [["--seed", "1"], ["--out", "here"], ["--set", "seed=1"]])
def test_seeds_do_not_go_with_a_single_seed_or_directory(tmp_path, monkeypatch, capsys, more):
    monkeypatch.chdir(tmp_path)
    assert command(["train", "superposition", "--seeds", "0:2", *more]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--seeds 0:2 makes a run of each seed, checkpoints/superposition-seedN" in error


@dataclass(frozen=True)
class Scalar(Odd):
    """A parameter of one number, as wide as the counters of some optimizers; noise from a generator that all share."""

    what: str = "none"
    steps: int = 12
    noise_from: int = 99

    def model(self):
        model = super().model()
        model.register_parameter("scale", torch.nn.Parameter(torch.tensor(0.1 * (1 + self.seed))))
        model.register_forward_hook(lambda module, inputs, outputs: outputs * module.scale)
        return model

    def batch(self, step, generator):
        x = torch.randn(20, 3, generator=generator)
        noise = 0.1 * torch.randn(20, 3) if step >= self.noise_from else 0.0
        return Batch(x + noise, x.sum(1, keepdim=True))


@pytest.mark.parametrize("optimizer", ["NAdam", "ASGD", "Adam"])
def test_counters_of_an_optimizer_are_not_taken_for_the_state_of_a_scalar_parameter(tmp_path, one_thread, optimizer):
    task = Scalar(optimizer=optimizer)
    whole = train_seeds(wanted(task, range(3), tmp_path / "whole"), name="t")
    with pytest.raises(Stop):
        train_seeds(wanted(task, range(3), tmp_path / "cut"), name="t", progress=stopping_at(18, Stop))
    resumed = train_seeds(wanted(task, range(3), tmp_path / "cut"), name="t", resume=True)
    for one, other in zip(whole, resumed, strict=True):
        same_bits(one, other)


def test_a_batch_that_draws_from_a_shared_generator_late_is_refused_before_it_is_recorded(tmp_path):
    with pytest.raises(DeviError, match="Scalar draws from a global random generator before step 6, which seeds"):
        train_seeds(wanted(Scalar(noise_from=5), range(3), tmp_path / "seeds"), name="t")
    assert open_run(tmp_path / "seeds" / "seed1", Scalar()).steps[-1] == 4
