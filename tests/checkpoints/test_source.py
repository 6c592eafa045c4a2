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


def test_a_number_that_gives_way_to_an_equal_one_is_recorded_from_where_it_stands_now(tmp_path):
    model = nn.PReLU(init=0.5)  # one number: that it was replaced cannot be told by comparing values
    with Recorder(tmp_path / "run", notice=quiet) as record:
        for step in range(3):
            record(step, model)
        model.weight = nn.Parameter(torch.full((1,), 0.5))
        record(3, model)
        with torch.no_grad():
            model.weight.fill_(0.25)
        record(4, model)
    np.testing.assert_array_equal(open_run(tmp_path / "run").parameters()["weight"][:, 0], [0.5, 0.5, 0.5, 0.5, 0.25])


def test_a_module_that_gives_way_to_one_that_calls_itself_equal_is_recorded(tmp_path):
    class Alike(nn.Linear):
        def __eq__(self, other):
            return isinstance(other, Alike)

        __hash__ = nn.Module.__hash__

    model = nn.Sequential(Alike(2, 2, bias=False))
    with Recorder(tmp_path / "run", notice=quiet) as record:
        for step in range(3):
            record(step, model)
        model[0] = Alike(2, 2, bias=False)
        nn.init.constant_(model[0].weight, 7)
        record(3, model)
    np.testing.assert_array_equal(open_run(tmp_path / "run").parameters(3)["0.weight"], np.full((2, 2), 7))


def test_a_buffer_that_is_not_saved_may_be_another_at_each_step(tmp_path):
    model = nn.Linear(2, 2, bias=False)
    model.register_buffer("cache", torch.zeros(3), persistent=False)
    with Recorder(tmp_path / "run", notice=quiet) as record:
        for step in range(4):
            model.cache = torch.full((3 + step,), float(step))
            with torch.no_grad():
                model.weight.fill_(step)
            record(step, model)
    np.testing.assert_array_equal(open_run(tmp_path / "run").parameters()["weight"][:, 0, 0], [0, 1, 2, 3])


@pytest.mark.parametrize("steps", [1, 3])
def test_a_buffer_that_is_to_be_saved_from_now_on_is_refused(tmp_path, steps):
    model = nn.Linear(2, 2)
    model.register_buffer("cache", torch.zeros(3), persistent=False)

    def change(model):
        model.register_buffer("cache", model.cache)

    check_refused_once_changed(tmp_path / "run", model, change, steps, r"'cache' is float32 \(3,\) now")


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


@pytest.mark.parametrize("other", [torch.float8_e5m2, torch.uint8])
def test_another_dtype_of_the_same_stored_form_is_refused_by_the_full_name(tmp_path, other):
    model = nn.Sequential(nn.Identity(), nn.Module())
    model[1].register_buffer("scale", torch.tensor([1.0, 2.0, 3.0]).to(torch.float8_e4m3fn))
    with Recorder(tmp_path / "run", notice=quiet) as record:
        record(0, model)
        model[1].scale = model[1].scale.view(other)
        name = str(other).removeprefix("torch.")
        with pytest.raises(DeviError, match=rf"'1.scale' is now {name} of shape \(3,\); .* with float8_e4m3fn"):
            record(1, model)


def sparing():
    """A model with tied weights, a buffer that is None, one that is empty, and no bias."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    model.register_buffer("mask", None)
    model.register_buffer("queue", torch.empty(0))
    return model


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: setattr(m[1], "weight", nn.Parameter(torch.ones(2, 2))), "'1.weight' is .* now and tied to '0.weig"),
        (lambda m: m.load_state_dict(m.state_dict(), assign=True), "'1.weight' is .* now and tied to '0.weight'"),
        (lambda m: setattr(m[0], "bias", nn.Parameter(torch.ones(2))), "'0.bias' is .* now and absent"),
        (lambda m: setattr(m, "mask", torch.ones(3)), r"'mask' is float32 \(3,\) now and absent"),
        (lambda m: setattr(m, "queue", torch.ones(3)), r"'queue' is float32 \(3,\) now and float32 \(0,\)"),
        (lambda m: setattr(m.queue, "data", torch.ones(3)), r"'queue' is float32 \(3,\) now and float32 \(0,\)"),
    ],
)
@pytest.mark.parametrize("steps", [1, 2])
def test_what_had_no_field_of_its_own_and_gets_values_later_is_refused(tmp_path, change, text, steps):
    check_refused_once_changed(tmp_path / "run", sparing(), change, steps, text)


def check_refused_once_changed(path, model, change, steps, text):
    with Recorder(path, notice=quiet) as record:
        for step in range(steps):
            record(step, model)
        change(model)
        with pytest.raises(DeviError, match=f"{text}.*One run has one layout"):
            record(steps, model)


def bias_for_parameter(model):
    del model[0].bias
    model[0].scale = nn.Parameter(torch.ones(2))


def buffer_for_buffer(model):
    del model.mask
    model.register_buffer("mean", torch.ones(2))


def saved_for_unsaved(model):
    del model.cache
    model.register_buffer("mean", torch.ones(2))


def module_for_module(model):
    del model.adapter
    model.register_module("lora", nn.Linear(2, 1))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (bias_for_parameter, "0.scale"),
        (buffer_for_buffer, "mean"),
        (saved_for_unsaved, "mean"),
        (module_for_module, "lora.weight"),
    ],
)
@pytest.mark.parametrize("steps", [1, 2])
def test_what_takes_the_place_of_something_empty_under_another_name_is_refused(tmp_path, change, name, steps):
    model = sparing()
    model.register_module("adapter", None)
    model.register_buffer("cache", torch.zeros(2), persistent=False)
    check_refused_once_changed(tmp_path / "run", model, change, steps, rf"'{name}' is float32 \(.*\) now and absent")


def test_a_parameter_that_is_deleted_and_made_anew_under_its_name_is_recorded(tmp_path):
    model = nn.Linear(2, 2)  # its bias now comes first: the order in which the model lists them is no matter
    with Recorder(tmp_path / "run", notice=quiet) as record:
        for step in range(4):
            del model.weight
            model.weight = nn.Parameter(torch.full((2, 2), float(step)))
            record(step, model)
    np.testing.assert_array_equal(open_run(tmp_path / "run").parameters()["weight"][:, 0, 0], np.arange(4))


@pytest.mark.parametrize("make", [lambda: nn.Linear(2, 2, bias=False), nn.PReLU])  # a PReLU's one number is equal
@pytest.mark.parametrize("steps", [1, 3])
def test_a_weight_that_gets_tied_to_another_is_refused_at_once_and_recorded_when_it_is_not(tmp_path, make, steps):
    model = nn.Sequential(make(), make())
    own = model[1].weight
    with Recorder(tmp_path / "run", notice=quiet) as record:
        for step in range(steps):
            record(step, model)
        model[1].weight = model[0].weight
        for _ in range(2):
            with pytest.raises(DeviError, match="'1.weight' is tied to '0.weight' now and float32.*One run has one"):
                record(steps, model)
        model[1].weight = own
        record(steps, model)
    assert open_run(tmp_path / "run").steps.tolist() == [*range(steps + 1)]


def test_weights_that_are_replaced_and_tied_again_are_recorded(tmp_path):
    model = sparing()
    with Recorder(tmp_path / "run", notice=quiet) as record:
        for step in range(4):
            model[0].weight = model[1].weight = nn.Parameter(torch.full((2, 2), float(step)))
            model.queue = torch.empty(0)
            record(step, model)
    run = open_run(tmp_path / "run")
    np.testing.assert_array_equal(run.parameters()["0.weight"][:, 0, 0], np.arange(4))
    assert run.layout.parameters["0.weight"].tied == ("1.weight",)


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("value", [None, torch.ones(3), 1j, torch.tensor(1j), 10**400, "high"])
def test_a_scalar_that_is_no_number_is_named_and_the_run_goes_on(tmp_path, steps, value):
    model = nn.Linear(1, 1)
    with Recorder(tmp_path / "run", notice=quiet) as record:
        for step in range(steps):
            record(step, model, accuracy=1, loss=0.5)
        with pytest.raises(DeviError, match="scalar 'loss' is .*, expected one real number"):
            record(steps, model, accuracy=1, loss=value)
        record(steps, model, accuracy=1, loss=0.25)
    assert open_run(tmp_path / "run").scalars.loss.values.tolist() == [0.5] * steps + [0.25]


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("step", [-1, 2**63, 1.5])
def test_a_step_that_a_record_cannot_hold_is_refused(tmp_path, steps, step):
    model = nn.Linear(1, 1)
    with Recorder(tmp_path / "run", notice=quiet) as record:
        for before in range(steps):
            record(before, model)
        with pytest.raises(DeviError, match=f"{step} is no step: expected a whole number from 0 on"):
            record(step, model)
        record(steps, model)
    assert open_run(tmp_path / "run").steps.tolist() == [*range(steps), steps]


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
