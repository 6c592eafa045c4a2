import numpy as np
import pytest
import torch
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.plan import planned
from devi.plugins import builtin_task


def quiet(text):
    pass


def replaced(model):
    model.weight.data = torch.arange(9.0).reshape(3, 3)


def transposed_where_it_stands(model):
    model.weight.data = model.weight.data.t()


def written_in_place(model):
    with torch.no_grad():
        model.weight.copy_(torch.arange(9.0).reshape(3, 3))


def another_parameter(model):
    model.weight = nn.Parameter(torch.arange(9.0).reshape(3, 3))


@pytest.mark.parametrize("change", [replaced, transposed_where_it_stands, written_in_place, another_parameter])
def test_the_values_recorded_are_those_the_model_has_now(tmp_path, change):
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    with Recorder(tmp_path / "run", notice=quiet) as record:
        record(0, model)
        change(model)
        record(1, model)
        model.weight.data.mul_(2)
        record(2, model)
    now = model.weight.detach().numpy()
    weights = open_run(tmp_path / "run").parameters()["weight"]
    np.testing.assert_array_equal(weights[1], now / 2)
    np.testing.assert_array_equal(weights[2], now)


def test_the_memory_of_an_old_value_is_not_taken_for_the_new_one(tmp_path):
    model = nn.Linear(3, 3)
    with Recorder(tmp_path / "run", notice=quiet) as record:
        for step in range(20):  # what is given up is soon given out again
            model.weight.data = torch.full((3, 3), float(step))
            record(step, model)
    np.testing.assert_array_equal(open_run(tmp_path / "run").parameters()["weight"][:, 0, 0], np.arange(20))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda buffer: buffer.data.view(torch.int32), "is now int32 of shape"),
        (lambda buffer: buffer.data.view(2, 3), r"is now float32 of shape \(2, 3\)"),
        (lambda buffer: buffer.data[:4], r"is now float32 of shape \(4,\)"),
    ],
)
def test_the_same_memory_seen_as_something_else_is_refused(tmp_path, change, text):
    model = nn.Linear(1, 1)
    model.register_buffer("mean", torch.zeros(6))
    with Recorder(tmp_path / "run", notice=quiet) as record:
        record(0, model)
        model.mean.data = change(model.mean)
        with pytest.raises(DeviError, match=f"parameter 'mean' {text}.*Record the changed model to another path"):
            record(1, model)


@pytest.mark.parametrize(
    ("task", "settings", "preset", "count"),
    [
        ("superposition", {}, None, 600),
        ("modular_addition", {"embed": 24, "width": 84}, None, 20),
        ("modular_addition", {}, "p113", 4),
    ],
)
def test_a_closed_run_takes_no_more_bytes_than_promised(tmp_path, task, settings, preset, count):
    model = planned(builtin_task(task), settings, preset=preset)[0].model()
    number = sum(parameter.numel() for parameter in model.parameters())
    with Recorder(tmp_path / "run", notice=quiet, segment_bytes=1 << 21) as record:
        for step in range(count):
            record(step, model, train_loss=0.5, test_loss=0.5)
    segments = list((tmp_path / "run").glob("segment-*.h5"))
    taken = sum(path.stat().st_size for path in segments)
    on_disk = sum(path.stat().st_blocks * 512 for path in segments)
    most = count * (4 * number + 24 + 8 * 2) + len(segments) * (64 << 10)
    assert taken <= most
    assert on_disk <= most
