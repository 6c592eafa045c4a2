"""convert: whatever the checkpoints came in, the run holds the same bits."""

import errno
import json
import os

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from devi import DeviError, open_run
from devi.checkpoints.foreign.convert import convert
from devi.checkpoints.room import Room
from tests.checkpoints.foreign.saved import Net, assert_is, state
from tests.checkpoints.harm import damage_record

STEPS = [0, 2, 10, 300]


def as_pt(folder):
    for step in STEPS:
        torch.save(state(step), folder / f"step_{step}.pt")


def as_nested_pth(folder):
    for step in STEPS:
        torch.save(
            {"model_state_dict": state(step), "step": step, "loss": 0.1}, folder / f"{'abcd'[STEPS.index(step)]}.pth"
        )


def as_lightning(folder):
    for step in STEPS:
        adam = [{"state": {0: {"exp_avg": torch.zeros(3, 3)}}, "param_groups": []}]
        content = {"global_step": step, "state_dict": state(step, prefix="net."), "optimizer_states": adam}
        torch.save(content, folder / f"epoch={step // 100}-step={step}.ckpt")


def as_safetensors(folder):
    for step in STEPS:
        save_file(state(step), folder / f"{step:05d}.safetensors")


def as_hugging_face(folder):
    for step in STEPS:
        (folder / f"checkpoint-{step}").mkdir()
        torch.save(state(step), folder / f"checkpoint-{step}" / "pytorch_model.bin")


def as_shards(folder):
    for step in STEPS:
        place = folder / f"checkpoint-{step}"
        place.mkdir()
        shards = {name: f"model-{name[0]}.safetensors" for name in state(step)}
        for shard in set(shards.values()):
            save_file({name: t for name, t in state(step).items() if shards[name] == shard}, place / shard)
        (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def as_rows(folder):
    with h5py.File(folder / "run.h5", "w") as file:
        file["steps"] = STEPS
        for name in state(0):
            file[name.replace(".", "/")] = np.stack([state(step)[name].numpy() for step in STEPS])
    return folder / "run.h5"


def as_groups(folder):
    with h5py.File(folder / "run.h5", "w") as file:
        for step in STEPS:
            for name, tensor in state(step).items():
                file[f"step_{step}/{name}"] = tensor.numpy()
    return folder / "run.h5"


KINDS = [as_pt, as_nested_pth, as_lightning, as_safetensors, as_hugging_face, as_shards, as_rows, as_groups]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("write", KINDS)
def test_the_run_holds_the_very_bits(write, source, tmp_path):
    done = convert(write(source) or source, tmp_path / "run", Net(), name="net.py:Net")
    run = open_run(tmp_path / "run", Net)
    assert run.steps.tolist() == STEPS
    for step in STEPS:
        assert_is(run, step, state(step))
    assert (done.checkpoints, done.already, done.first, done.last) == (4, 0, 0, 300)
    assert run.metadata["task"] == "net.py:Net"
    assert run.metadata["settings"]["width"] == 3
    assert torch.equal(run.model_at(2)[1].bias, state(10)["1.bias"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes_stay_what_they_are_in_the_files(source, tmp_path, dtype):
    torch.save(state(3, dtype=dtype), source / "step_3.pt")
    convert(source, tmp_path / "run", Net())
    run = open_run(tmp_path / "run", Net)
    assert set(run.parameter_dtypes.values()) == {str(dtype).removeprefix("torch.")}
    assert_is(run, 3, state(3, dtype=dtype))


def test_buffers_are_those_of_the_model_and_ties_stay(source, tmp_path):
    model = Net(tied=True, norm=True).model()
    for step in (1, 2):
        torch.nn.init.constant_(model[0].weight, step)
        model[2].running_mean.fill_(step)
        torch.save(model.state_dict(), source / f"step_{step}.pt")
    convert(source, tmp_path / "run", Net(tied=True, norm=True))
    run = open_run(tmp_path / "run", Net)
    assert set(run.buffers(0)) == {"2.running_mean", "2.running_var", "2.num_batches_tracked"}
    assert "1.weight" not in run.parameter_shapes
    rebuilt = run.model_at(1)
    assert rebuilt[1].weight is rebuilt[0].weight
    assert torch.equal(rebuilt[1].weight, torch.full((3, 3), 2.0))


def test_files_of_an_old_torch_lack_the_count_of_batches_and_0_stands_for_it(source, tmp_path):
    content = Net(norm=True).model().state_dict()
    del content["2.num_batches_tracked"]
    torch.save(content, source / "step_1.pt")
    found = convert(source, tmp_path / "run", Net(norm=True))
    assert any("2.num_batches_tracked and its like are not in files of torch before" in text for text in found.notices)
    assert open_run(tmp_path / "run", Net).buffers(0)["2.num_batches_tracked"] == 0
    del content["2.running_mean"]
    torch.save(content, source / "step_1.pt")
    with pytest.raises(DeviError, match="2.running_mean"):
        convert(source, tmp_path / "other", Net(norm=True))


def test_a_step_within_a_file_that_is_another_than_by_name_is_told(source, tmp_path):
    for step in (1, 2, 3):
        torch.save({"model": state(step), "step": 100 * step if step < 3 else 3}, source / f"step_{step}.pt")
    found = convert(source, tmp_path / "run", Net())
    assert open_run(tmp_path / "run", Net).steps.tolist() == [1, 2, 3]
    [told] = [text for text in found.notices if "another step" in text]
    assert told.startswith("2 files of 3 say another step within than by name: step_1.pt is taken for step 1 and says")
    assert not convert(source, tmp_path / "own", Net(), pattern=r"step_(\d+)").notices


@pytest.mark.parametrize(("one", "other"), [(float("nan"), 0.0), (0.0, -0.0)])
def test_tied_tensors_are_compared_by_their_bits(source, tmp_path, one, other):
    content = state(1)
    content["0.weight"][0, 1] = one
    content["1.weight"] = content["0.weight"].clone()
    torch.save(content, source / "step_1.pt")
    convert(source, tmp_path / "same", Net(tied=True))
    content["1.weight"][0, 1] = other
    torch.save(content, source / "step_1.pt")
    with pytest.raises(DeviError, match=r"0.weight and 1.weight are one tensor .* differ"):
        convert(source, tmp_path / "run", Net(tied=True))


def test_of_tied_tensors_one_name_is_enough_and_two_that_differ_are_refused(source, tmp_path):
    half = {name: tensor for name, tensor in state(1).items() if name != "0.weight"}
    torch.save(half, source / "step_1.pt")
    convert(source, tmp_path / "run", Net(tied=True))
    assert open_run(tmp_path / "run", Net).parameters(0)["0.weight"].tolist() == half["1.weight"].tolist()
    torch.save(state(1), source / "step_1.pt")
    with pytest.raises(DeviError, match="0.weight and 1.weight are one tensor in the task's model and differ"):
        convert(source, tmp_path / "other", Net(tied=True))


def test_a_conversion_is_taken_up_where_it_stopped_and_grows_with_its_source(source, tmp_path):
    as_pt(source)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "run", Net(), progress=stop)
    assert open_run(tmp_path / "run", Net).steps.tolist() == STEPS[:2]
    assert convert(source, tmp_path / "run", Net()).already == 2
    torch.save(state(301), source / "step_301.pt")
    assert convert(source, tmp_path / "run", Net()).already == 4
    run = open_run(tmp_path / "run", Net)
    assert run.steps.tolist() == [*STEPS, 301]
    for step in [*STEPS, 301]:
        assert_is(run, step, state(step))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    assert convert(source, tmp_path / "run", Net()).already == 5
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before


def test_a_half_written_file_stops_the_conversion_and_keeps_what_is_done(source, tmp_path):
    as_pt(source)
    whole = (source / "step_300.pt").read_bytes()
    (source / "step_300.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DeviError, match=r"step_300.pt is no whole checkpoint.*what is done is kept"):
        convert(source, tmp_path / "run", Net())
    assert open_run(tmp_path / "run", Net).steps.tolist() == STEPS[:3]
    (source / "step_300.pt").write_bytes(whole)
    assert convert(source, tmp_path / "run", Net()).already == 3


def test_names_are_matched_by_prefix_by_rename_and_what_is_more_is_left_out_with_notices(source, tmp_path):
    renamed = {f"inner.{name.replace('1.bias', 'last_bias')}": tensor for name, tensor in state(4).items()}
    torch.save({**renamed, "inner.more": torch.zeros(2)}, source / "step_4.pt")
    told = []
    convert(source, tmp_path / "run", Net(), renames=["inner.last_bias=inner.1.bias"], notice=told.append)
    assert_is(open_run(tmp_path / "run", Net), 4, state(4))
    assert told == [
        "'inner.' stands before every name in the files and is taken off.",
        "1 tensor in the files is not in the task's model and is left out: inner.more.",
    ]


def test_metadata_claims_nothing_of_the_machine_that_only_converted(source, tmp_path):
    as_pt(source)
    told = []
    convert(source, tmp_path / "run", Net(), notice=told.append)
    metadata = open_run(tmp_path / "run", Net).metadata
    assert metadata["converted"] == {"kind": "files", "source": "source", "renames": []}
    assert [metadata[key] for key in ("git", "device", "hardware", "threads")] == [None] * 4
    assert told == []  # in particular not that the run cannot be resumed: it has no training to resume


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.int32]))
def test_any_values_go_through_bit_for_bit(tmp_path_factory, seed, dtype):
    folder = tmp_path_factory.mktemp("any")
    bits = np.random.default_rng(seed)
    size = torch.empty(0, dtype=dtype).element_size()
    tensors = {
        name: torch.frombuffer(bytearray(bits.bytes(t.numel() * size)), dtype=dtype).reshape(t.shape)
        for name, t in state(0).items()
    }
    torch.save(tensors, folder / "step_1.pt")
    convert(folder, folder / "run", Net())
    stored = open_run(folder / "run", Net).parameters(0)
    assert all(stored[name].tobytes() == tensor.numpy().tobytes() for name, tensor in tensors.items())


def test_a_shape_that_differs_names_the_setting(source, tmp_path):
    as_pt(source)
    with pytest.raises(DeviError, match=r"step_0.pt: '0.weight' has shape \(3, 3\); the task net expects \(4, 4\)."
                       r" Were they made with another setting\? Try: --set width=3"):  # fmt: skip
        convert(source, tmp_path / "run", Net(width=4))


def test_a_setting_with_which_only_one_shape_would_fit_is_not_suggested(source, tmp_path):
    torch.save({**state(0), "1.weight": torch.zeros(5, 3)}, source / "step_0.pt")
    with pytest.raises(DeviError, match=r"has shape .* Its settings change its shape \(--set KEY=VALUE\)"):
        convert(source, tmp_path / "run", Net(width=4))


def test_checkpoints_that_change_their_dtype_or_names_are_refused(source, tmp_path):
    torch.save(state(1), source / "step_1.pt")
    torch.save(state(2, dtype=torch.float16), source / "step_2.pt")
    with pytest.raises(DeviError, match=r"step_2.pt: '0.weight' is float16; .* before it have float32.* folder"):
        convert(source, tmp_path / "run", Net())
    torch.save({"0.weight": torch.zeros(3, 3)}, source / "step_2.pt")
    with pytest.raises(DeviError, match=r"step_2.pt: 3 of the 4 parameters of the task's model are not in the file"):
        convert(source, tmp_path / "run", Net())


def test_another_source_is_not_mixed_into_a_conversion(source, tmp_path):
    as_pt(source)
    convert(source, tmp_path / "run", Net())
    (source / "step_2.pt").rename(source / "step_3.pt")
    with pytest.raises(DeviError, match="holds a conversion whose step 2 does not stand there"):
        convert(source, tmp_path / "run", Net())
    (source / "step_3.pt").rename(source / "step_2.pt")
    before = [path.read_bytes() for path in sorted((tmp_path / "run").iterdir())]
    for step in (300, 0):  # the first one too, though nothing has to be converted after it
        torch.save(state(7), source / f"step_{step}.pt")
        with pytest.raises(DeviError, match=rf"step_{step}.pt is no longer what was converted .*give another --out"):
            convert(source, tmp_path / "run", Net())
        torch.save(state(step), source / f"step_{step}.pt")
    assert [path.read_bytes() for path in sorted((tmp_path / "run").iterdir())] == before


def test_a_changed_file_is_no_matter_of_versions(source, tmp_path, monkeypatch):
    as_pt(source)
    convert(source, tmp_path / "run", Net())
    torch.save(state(7), source / "step_0.pt")
    monkeypatch.setattr("devi.__version__", "99")
    with pytest.raises(DeviError, match="step_0.pt is no longer what was converted"):
        convert(source, tmp_path / "run", Net())


def test_a_conversion_that_stopped_before_its_first_checkpoint_is_taken_up(source, tmp_path, monkeypatch):
    as_pt(source)

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Room, "put", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(source, tmp_path / "run", Net())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["segment-000000.h5"]
    with pytest.raises(DeviError, match="begin the run again in its place: the same command, devi convert"):
        open_run(tmp_path / "run", Net)
    assert convert(source, tmp_path / "run", Net()).already == 0
    assert open_run(tmp_path / "run", Net).steps.tolist() == STEPS


def test_a_full_disk_in_a_conversion_is_told_with_what_takes_it_up(source, tmp_path, monkeypatch):
    as_pt(source)

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Room, "put", full)
    with pytest.raises(DeviError, match=r"the disk is full.*then go on with the same command\.$"):
        convert(source, tmp_path / "run", Net())


def test_a_damaged_conversion_is_called_that_and_stays_as_it_is(source, tmp_path):
    as_pt(source)
    convert(source, tmp_path / "run", Net())
    [segment] = (tmp_path / "run").glob("segment-*.h5")
    damage_record(segment, 1)
    damaged = segment.read_bytes()
    with pytest.raises(DeviError, match=r"a conversion that is damaged: segment-000000.h5: record 1 \(step 2\)"):
        convert(source, tmp_path / "run", Net())
    assert segment.read_bytes() == damaged


def test_a_run_that_was_trained_is_not_converted_over(source, tmp_path):
    from devi import Recorder

    as_pt(source)
    with Recorder(tmp_path / "run", Net(), state={}) as record:
        record(0, Net().model())
    with pytest.raises(DeviError, match="already holds a run, and not one that was converted"):
        convert(source, tmp_path / "run", Net())


def test_tensors_that_only_later_files_have_are_left_out_with_a_notice(source, tmp_path):
    for step in (1, 2, 3):
        torch.save(state(step) | ({"late": torch.ones(1)} if step > 1 else {}), source / f"step_{step}.pt")
    done = convert(source, tmp_path / "run", Net())
    assert len(done.notices) == 1
    assert "step_2.pt: 1 tensor in the files is not in the task's model and is left out: late." in done.notices[0]
