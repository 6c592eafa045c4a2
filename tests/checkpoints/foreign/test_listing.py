"""What a path holds, told from its names: kinds, order of steps, mixtures, nothing."""

import json
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from devi import DeviError
from devi.checkpoints.foreign.listing import is_foreign, open_source

STATE = {"W": torch.zeros(2, 6), "b": torch.zeros(6)}


def save(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(content or STATE, path)
    else:
        torch.save(content or STATE, path)
    return path


def steps(source):
    return [place.step for place in source.places]


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".PT"])
def test_files_come_in_the_order_of_their_numbers(tmp_path, suffix):
    for step in (10, 9, 100, 1):
        save(tmp_path / "files" / f"step_{step}{suffix}")
    assert is_foreign(tmp_path / "files")
    assert steps(open_source(tmp_path / "files")) == [1, 9, 10, 100]


def test_the_step_in_the_file_counts_where_the_name_has_none(tmp_path):
    for name, step in (("a", 30), ("b", 4)):
        save(tmp_path / f"{name}.pt", {"model": STATE, "step": step})
    assert [place.path.name for place in open_source(tmp_path).places] == ["b.pt", "a.pt"]


def test_lightnings_global_step_counts_rather_than_the_epoch(tmp_path):
    for epoch in (1, 2):
        save(tmp_path / f"epoch={epoch}.ckpt", {"state_dict": STATE, "global_step": 50 * epoch})
    assert steps(open_source(tmp_path)) == [50, 100]


@pytest.mark.parametrize(
    "names",
    [
        ["sample-mnist-epoch=00-val_loss=0.91", "sample-mnist-epoch=01-val_loss=0.75"],
        ["model_acc0.90", "model_acc0.80"],
        ["model_acc90", "model_acc80"],
        ["epoch_0_batch_300", "epoch_1_batch_200"],
        ["step_500k", "step_1M"],
    ],
)
def test_the_step_in_the_file_counts_rather_than_a_metric_in_its_name(tmp_path, names):
    for place, name in enumerate(names):
        save(tmp_path / f"{name}.ckpt", {"state_dict": STATE, "global_step": 100 * place})
    assert [(place.step, place.path.stem) for place in open_source(tmp_path).places] == [(0, names[0]), (100, names[1])]


def test_a_number_in_a_name_is_not_mixed_with_the_steps_that_other_files_say(tmp_path):
    save(tmp_path / "acc90.pt", {"model": STATE, "step": 100})
    save(tmp_path / "acc80.pt")
    with pytest.raises(DeviError, match=r"acc80.pt: which step is this\?"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["model_acc0.90", "step_1k", "step_0.5", "step_1,000", "epoch_1.5"])
def test_a_name_that_says_no_whole_step_is_refused_if_the_file_says_none(tmp_path, name):
    save(tmp_path / f"{name}.pt")
    with pytest.raises(DeviError, match=rf"{name}.pt: which step is this\?"):
        open_source(tmp_path)


def test_epochs_are_taken_for_steps_with_a_notice_if_nothing_else_is_known(tmp_path):
    for epoch in (2, 1):
        save(tmp_path / f"epoch_{epoch}.pt")
    source = open_source(tmp_path)
    assert steps(source) == [1, 2]
    assert source.notices == ["the files say which epoch they are of and no step: epochs are taken for steps."]


def test_hidden_files_notes_and_folders_are_passed_over(tmp_path):
    save(tmp_path / "step_1.pt")
    (tmp_path / ".step_2.pt").write_text("x")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "step_3.pt").mkdir()
    assert steps(open_source(tmp_path)) == [1]


def test_a_pattern_leaves_out_the_files_it_does_not_match(tmp_path):
    for name in ("epoch=1-step=10", "epoch=2-step=20", "last"):
        save(tmp_path / f"{name}.ckpt", {"state_dict": STATE, "global_step": 20})
    with pytest.raises(DeviError, match=r"epoch=2-step=20.ckpt and .*last.ckpt are both of step 20") as error:
        open_source(tmp_path)
    suggested = str(error.value).split("--step-pattern '")[1].split("'")[0]
    source = open_source(tmp_path, suggested)
    assert steps(source) == [10, 20]
    assert source.notices == ["1 file does not match the pattern and is left out: last.ckpt."]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["other_15", "step_15", "step_20"], [15, 20]),
        (["a-15", "it's a 15", "it's a 16"], [15, 16]),
        (["epoch=1-step=15", "epoch=2-step=30", "epoch=2-step=30-v1"], [15, 30]),
    ],
)
def test_of_two_files_of_a_step_the_suggested_pattern_takes_one(tmp_path, names, wanted):
    for name in names:
        save(tmp_path / f"{name}.pt")
    with pytest.raises(DeviError, match="are both of step") as error:
        open_source(tmp_path)
    _, pattern = shlex.split(str(error.value)[str(error.value).index("--step-pattern") :])
    assert steps(open_source(tmp_path, pattern)) == wanted


def test_of_a_model_and_what_is_kept_beside_it_the_suggested_pattern_takes_the_model(tmp_path):
    for name in ("model_10.pt", "model_10_optim.pt", "model_20.pt", "model_20_optim.pt"):
        save(tmp_path / name)
    with pytest.raises(DeviError) as error:
        open_source(tmp_path)
    pattern = shlex.split(str(error.value).rpartition("--step-pattern ")[2])[0]
    assert [place.path.name for place in open_source(tmp_path, pattern).places] == ["model_10.pt", "model_20.pt"]


def test_of_two_rows_of_a_step_neither_can_be_moved_away(tmp_path):
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["step"], file["W"] = [0, 1, 1], np.zeros((3, 2, 6))
    with pytest.raises(DeviError, match=r"row 1 and row 2 are both of step 1; .* Write each row's own step there\.$"):
        open_source(tmp_path / "run.h5")


def test_a_checkpoint_folder_is_known_from_within(tmp_path, monkeypatch):
    save(tmp_path / "checkpoint-7" / "model.safetensors")
    monkeypatch.chdir(tmp_path / "checkpoint-7")
    assert steps(open_source(Path())) == [7]


def test_a_snapshot_in_shards_says_what_to_call_it(tmp_path):
    for number in (1, 2):
        save(tmp_path / "final" / f"model-0000{number}-of-00002.safetensors")
    (tmp_path / "final" / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(DeviError, match=rf"in several files, .*: mv {tmp_path}/final checkpoint-1000"):
        open_source(tmp_path / "final")


def test_of_two_files_that_no_pattern_tells_apart_one_is_to_be_moved(tmp_path):
    for name in ("step_15", "step_015"):
        save(tmp_path / f"{name}.pt")
    with pytest.raises(DeviError, match=r"are both of step 15; .* Move one of them away\.$"):
        open_source(tmp_path)


def test_hugging_face_folders_come_by_number_and_the_final_weights_are_left_out(tmp_path):
    for step in (1000, 500):
        save(tmp_path / f"checkpoint-{step}" / "model.safetensors")
        save(tmp_path / f"checkpoint-{step}" / "optimizer.pt")
    save(tmp_path / "model.safetensors")
    (tmp_path / "training_args.bin").write_bytes(b"never read")
    source = open_source(tmp_path)
    assert steps(source) == [500, 1000]
    assert source.notices == ["model.safetensors beside the checkpoint-N folders has no step and is left out."]
    assert steps(open_source(tmp_path / "checkpoint-500")) == [500]


def test_one_file_is_a_source_too(tmp_path):
    assert steps(open_source(save(tmp_path / "step_5.pt"))) == [5]
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["step"], file["W"] = [3], np.zeros((1, 2))
    assert is_foreign(tmp_path / "run.h5")
    assert steps(open_source(tmp_path / "run.h5")) == [3]


def test_kinds_are_not_mixed(tmp_path):
    save(tmp_path / "a" / "step_1.pt")
    save(tmp_path / "a" / "step_2.safetensors")
    with pytest.raises(DeviError, match=r"several kinds: .*step_2.safetensors.* move the others"):
        open_source(tmp_path / "a")
    save(tmp_path / "b" / "checkpoint-1" / "model.safetensors")
    save(tmp_path / "b" / "step_7.pt")
    with pytest.raises(DeviError, match=r"several kinds: checkpoint-N folders .checkpoint-1., files .step_7.pt."):
        open_source(tmp_path / "b")


def test_a_name_without_a_step_is_told_what_to_type(tmp_path):
    for name in ("first", "v2_best"):
        save(tmp_path / f"{name}.pt")
    with pytest.raises(DeviError, match=r"first.pt: which step is this\?.*--step-pattern 'v\(\\d\+\)'"):
        open_source(tmp_path)


def test_places_without_checkpoints_say_what_they_have(tmp_path):
    with pytest.raises(DeviError, match=r"there is no .*gone. Expected a folder of .pt"):
        open_source(tmp_path / "gone")
    with pytest.raises(DeviError, match="holds no checkpoints; it is empty"):
        open_source(tmp_path)
    (tmp_path / "run.hdf5").write_bytes(b"")
    with pytest.raises(DeviError, match=r"it has run.hdf5. If run.hdf5 holds them, name it: .*/run.hdf5"):
        open_source(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DeviError, match="of no kind that is read, by its name"):
        open_source(tmp_path / "notes.txt")
    assert not is_foreign(tmp_path)


def test_a_run_of_devis_own_is_not_converted(tmp_path):
    (tmp_path / "segment-000000.h5").write_bytes(b"")
    for path in (tmp_path, tmp_path / "segment-000000.h5"):
        with pytest.raises(DeviError, match=rf"devi's own.*devi analyze {tmp_path}"):
            open_source(path)
    assert not is_foreign(tmp_path)


def test_shards_are_put_together_and_must_be_whole(tmp_path):
    place = tmp_path / "checkpoint-3"
    save(place / "model-1.safetensors", {"W": STATE["W"]})
    save(place / "model-2.safetensors", {"b": STATE["b"], "more": torch.zeros(1)})
    index = place / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"W": "model-1.safetensors", "b": "model-2.safetensors"}}))
    source = open_source(tmp_path)
    assert set(source.read(source.places[0])) == {"W", "b"}
    index.write_text(json.dumps({"weight_map": {"W": "model-2.safetensors"}}))
    with pytest.raises(DeviError, match=r"model-2.safetensors has no 'W', which .*index.json says it has"):
        source.read(source.places[0])
    (place / "model-2.safetensors").unlink()
    with pytest.raises(DeviError, match=r"names the shard 'model-2.safetensors', which is not beside it"):
        source.read(source.places[0])
    index.unlink()
    with pytest.raises(DeviError, match=r"holds none of model.safetensors.* It has: model-1.safetensors"):
        source.read(source.places[0])


@pytest.mark.parametrize("shard", ["../x.bin", "/x.bin", "..", "a/b.bin", "x.bin\n", ".hidden.bin", "x.pkl", ""])
def test_a_shard_that_is_no_plain_name_is_not_followed(tmp_path, shard):
    place = tmp_path / "checkpoint-3"
    place.mkdir()
    (place / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"W": shard}}))
    source = open_source(tmp_path)
    with pytest.raises(DeviError, match="expected the plain name"):
        source.read(source.places[0])


def test_a_pattern_for_folders_that_name_their_step_is_refused(tmp_path):
    save(tmp_path / "checkpoint-3" / "model.safetensors")
    with pytest.raises(DeviError, match=r"holds checkpoint-3 and the like.*--step-pattern is for files. Leave it out"):
        open_source(tmp_path, r"-(\d+)")
