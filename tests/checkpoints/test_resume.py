"""Resume: what goes on is bit for bit what was stopped, whatever state the loop has."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints import keeper, resume, userblock
from devi.checkpoints.state import random_states, set_random_states
from tests.checkpoints.user_loop import STEPS, Loop, Stop, assert_same_bits


@pytest.mark.parametrize("stop_at", [0, 17, STEPS - 1])
@pytest.mark.parametrize("copies", ["copied", "too large to copy"])
def test_every_kind_of_state_goes_on_bit_for_bit(tmp_path, straight, stop_at, copies, monkeypatch):
    if copies == "too large to copy":
        monkeypatch.setattr(keeper, "MOST_COPY_BYTES", 0)
    with pytest.raises(Stop):
        Loop().run(tmp_path / "run", stop_at=stop_at)
    record = Loop().run(tmp_path / "run", resume=True)
    assert_same_bits(open_run(tmp_path / "run"), straight)
    assert record.notices == []


def epochs(path, *, stop_at=None, resume=False):
    """Four epochs of a DataLoader that shuffles."""
    torch.manual_seed(0)
    model, order = nn.Linear(2, 1), torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    data = torch.utils.data.TensorDataset(torch.arange(24.0).reshape(12, 2) / 12)
    loader = torch.utils.data.DataLoader(data, batch_size=5, shuffle=True, generator=order)
    state = {"optimizer": optimizer, "order": order}
    with Recorder(path, state=state, resume=resume, notice=lambda text: None) as record:
        begins = record.restore(model) if resume else None
        for epoch in range(begins or 0, 4):
            record(epoch, model)
            for number, (inputs,) in enumerate(loader):
                optimizer.zero_grad()
                (model(inputs) - inputs.prod(1, keepdim=True)).square().mean().backward()
                optimizer.step()
                if (epoch, number) == stop_at:
                    raise Stop
    return open_run(path)


def test_what_is_kept_without_a_restore_is_what_the_next_restore_finds(tmp_path):
    model = nn.Linear(2, 2)
    with Recorder(tmp_path / "run", state={}, notice=lambda text: None) as record:
        for step in range(4):
            record(step, model)
            record.keep(step, model)
    with Recorder(tmp_path / "run", state={}, resume=True, notice=lambda text: None) as record:
        record.keep(np.int64(7), model)
    with Recorder(tmp_path / "run", state={}, resume=True, notice=lambda text: None) as record:
        assert record.restore(model) == 7


def with_buffer(values, *, persistent=False):
    model = nn.Linear(1, 1)
    model.register_buffer("scale", values, persistent=persistent)
    return model


def restored(path, before, after):
    """What `after` is once the state of `before` was put back into it, and the notices."""
    with Recorder(path, state={}, notice=lambda text: None) as record:
        record(0, before)
    with Recorder(path, state={}, resume=True, notice=lambda text: None) as record:
        assert record.restore(after) == 0
        record(0, after)
    return after, record.notices


@pytest.mark.parametrize("persistent", [True, False])
def test_a_buffer_whose_elements_share_their_memory_is_put_back(tmp_path, persistent):
    before = with_buffer(torch.tensor([3.0]).expand(4), persistent=persistent)
    after, notices = restored(tmp_path / "run", before, with_buffer(torch.zeros(1).expand(4), persistent=persistent))
    assert (after.scale.tolist(), notices) == ([3.0] * 4, [])


def test_a_buffer_that_the_first_forward_pass_makes_is_put_back(tmp_path):
    after, notices = restored(tmp_path / "run", with_buffer(torch.arange(3.0)), with_buffer(None))
    assert (after.scale.tolist(), notices) == ([0.0, 1.0, 2.0], [])


@pytest.mark.parametrize("values", [torch.zeros(4), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 1)])
def test_a_buffer_of_another_form_is_refused_and_not_filled(tmp_path, values):
    with pytest.raises(
        DeviError, match=r"does not fit .* step 0: buffer 'scale' is \w+ \(.*\) now and was float32 \(1,\)"
    ):
        restored(tmp_path / "run", with_buffer(torch.ones(1)), with_buffer(values))
    assert not values.any()


def test_a_buffer_that_the_model_has_no_more_is_told(tmp_path):
    _, notices = restored(tmp_path / "run", with_buffer(torch.ones(1)), nn.Linear(1, 1))
    assert [f"{tmp_path}/run: the model has no buffer scale now, whose values were kept."] == notices


def freezing(path, *, stop_at=None, resume=False):
    """A loop that stops training its first layer at step 2 and begins to train its last bias at step 3."""
    torch.manual_seed(0)
    model, data = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), torch.randn(9, 3)
    model[2].bias.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with Recorder(path, state={"optimizer": optimizer}, resume=resume, notice=lambda text: None) as record:
        for step in range(record.restore(model) or 0 if resume else 0, 8):
            record(step, model)
            if step == stop_at:
                record.keep(step, model)
                break
            if step == 2:
                model[0].requires_grad_(False)
            if step == 3:
                model[2].bias.requires_grad_(True)
            optimizer.zero_grad()
            (model(data) - 1).square().mean().backward()
            optimizer.step()
    return open_run(path)


@pytest.mark.parametrize("stop_at", [2, 3, 5])
def test_a_layer_that_was_frozen_stays_frozen_and_one_that_was_thawed_is_trained_on(tmp_path, stop_at):
    freezing(tmp_path / "run", stop_at=stop_at)
    assert_same_bits(freezing(tmp_path / "run", resume=True), freezing(tmp_path / "straight"))


def test_a_slot_that_does_not_say_what_was_frozen_leaves_the_model_as_it_was_built(tmp_path, monkeypatch):
    def without(*given):
        shot = resume.snapshot(*given)
        return shot._replace(structure={key: node for key, node in shot.structure.items() if key != "frozen"})

    monkeypatch.setattr(keeper, "snapshot", without)
    before, after = nn.Linear(2, 2), nn.Linear(2, 2)
    after.weight.requires_grad_(False)
    _, notices = restored(tmp_path / "run", before, after)
    assert ([each.requires_grad for each in after.parameters()], notices) == ([False, True], [])


def test_a_whole_number_that_was_frozen_cannot_be_trained_after_a_restore(tmp_path):
    model = nn.Module()
    model.count = nn.Parameter(torch.arange(3), requires_grad=False)
    assert restored(tmp_path / "run", model, copy.deepcopy(model))[1] == []
    slot, _ = resume.newest_slot(tmp_path / "run", open_run(tmp_path / "run").metadata["run_id"])
    slot.content["frozen"] = []
    with pytest.raises(DeviError, match="does not fit the one that was kept at step 0: only Tensors of floating"):
        resume.apply(slot, model, {}, tmp_path / "run")


class History:
    """What a loop remembers."""

    def __init__(self, values=None):
        self.values = values

    def state_dict(self):
        return {"values": self.values}

    def load_state_dict(self, state):
        self.values = state["values"]


def test_a_history_of_200_000_losses_is_kept(tmp_path):
    model, values = nn.Linear(2, 2), [step / 7 for step in range(200_000)]
    with Recorder(tmp_path / "run", state={"history": History(values)}) as record:
        record(0, model)
    again = History()
    with Recorder(tmp_path / "run", state={"history": again}, resume=True) as record:
        assert record.restore(model) == 0
    assert again.values == values


def test_a_state_that_fits_into_no_slot_is_told_once_and_recording_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(userblock, "MOST_JSON_ITEMS", 10_000)
    model, history, notices = nn.Linear(2, 2), History([]), []
    with Recorder(tmp_path / "run", state={"history": history}, notice=notices.append) as record:
        record(0, model)
        record.keep(0, model)
        history.values = ["word"] * 20_000
        for step in range(1, 4):
            record(step, model)
            record.keep(step, model)
    [notice] = notices
    assert re.search(r"the state at step 1 does not fit into a resume slot: .*Most of it is state\['history'\]", notice)
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2, 3]
    with Recorder(tmp_path / "run", state={"history": history}, resume=True) as record:
        assert record.restore(model) == 0


def test_an_optimizer_without_the_groups_that_were_added_on_the_way_is_told_what_is_missing(tmp_path):
    model = nn.Linear(2, 2)

    def optimizer():
        return torch.optim.SGD([model.weight], 0.1)

    grown = optimizer()
    with Recorder(tmp_path / "run", state={"optimizer": grown}) as record:
        record(0, model)
        grown.add_param_group({"params": [model.bias]})
        record(1, model)
        record.keep(1, model)
    with (
        Recorder(tmp_path / "run", state={"optimizer": optimizer()}, resume=True) as record,
        pytest.raises(
            DeviError, match="different number of parameter groups\nBuild it .* with the parameter groups that"
        ),
    ):
        record.restore(model)


def test_a_data_loader_stopped_in_mid_epoch_goes_on_from_where_the_epoch_began(tmp_path):
    with pytest.raises(Stop):
        epochs(tmp_path / "run", stop_at=(2, 1))
    assert_same_bits(epochs(tmp_path / "run", resume=True), epochs(tmp_path / "straight"))


def test_a_copy_of_the_state_has_memory_of_its_own_and_a_state_that_is_written_has_not():
    model = nn.Linear(4, 4)
    shot = resume.snapshot(0, 0, model, {})
    weight = model.weight.detach().numpy()
    assert any(np.shares_memory(array, weight) for array in shot.arrays)
    assert not any(np.shares_memory(array, weight) for array in shot.copied().arrays)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((torch, "__version__", "1.0.0"), r"torch {now} then, 1.0.0 now"),
        (("devi.checkpoints.provenance._processor", lambda: "abacus"), "hardware .* then, abacus now"),
    ],
    ids=["torch", "hardware"],
)
def test_resuming_elsewhere_says_that_bits_may_differ(tmp_path, monkeypatch, change, words):
    now = torch.__version__
    with pytest.raises(Stop):
        Loop().run(tmp_path / "run", stop_at=5)
    monkeypatch.setattr(*change)
    record = Loop().run(tmp_path / "run", resume=True)
    (notice,) = record.notices
    words = words.format(now=re.escape(now))
    assert re.search(rf"goes on at step \d+, but the run was begun elsewhere \({words}\): .* bits may differ", notice)


def test_the_random_state_of_a_device_that_is_not_here_is_told(monkeypatch):
    states = random_states() | {"cuda": [torch.zeros(16)] * 9}
    assert "the random state of 9 cuda devices was kept, 0 are here" in set_random_states(states)
    taken = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: torch.ones(3))
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state, device: taken.append((device, state.tolist())))
    assert set_random_states(copy.deepcopy(random_states())) is None
    assert taken == [("mps:0", [1.0, 1.0, 1.0])]


def test_a_loss_taken_in_train_mode_before_the_record_is_named_where_the_resumed_run_differs(tmp_path):
    """The step that a slot stands at is gone through again, and BatchNorm's buffers move once more."""
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))

    def loop(first, last, record):
        for step in range(first, last):
            record(step, model, train_loss=model(torch.ones(4, 2)).mean().item())

    with Recorder(tmp_path / "run", state={}) as record:
        loop(0, 3, record)
        record.keep(2, model)
    told = r"1\.running_mean by up to .* run there in train mode, which changes BatchNorm"
    with pytest.raises(DeviError, match=told), Recorder(tmp_path / "run", state={}, resume=True) as record:
        loop(record.restore(model), 3, record)
