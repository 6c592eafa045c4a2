"""Fourier progress measures: planted algorithms, an explicit transform, invariances, and the phases of grokking."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr

from devi.errors import DeviError
from devi.known.memory_run import MemoryRun
from devi.metrics.fourier import Fourier, progress
from devi.metrics.losses import Losses
from devi.metrics.norms import Norms
from devi.metrics.residues import residues_of
from devi.task import settings_of, with_settings
from devi.tasks.modular_addition import ModularAddition
from devi.tasks.superposition import Superposition
from tests.metrics.memory_run import random_run, trained_run

TASK = ModularAddition(p=11, embed=6, width=16)
LOSSES = ("restricted_loss", "restricted_loss_train", "restricted_loss_test", "excluded_loss")


def planted(residues, frequencies, *, scale=3.0, classes=None):
    """Σ_k scale · cos w_k (s − c), (pair, class): the algorithm itself."""
    p = residues.p
    c = torch.arange(p if classes is None else classes)
    return sum(scale * torch.cos(2 * torch.pi * k * (residues.sums[:, None] - c) / p) for k in frequencies)


def noise(residues, classes=None, seed=0):
    return torch.randn(residues.p**2, classes or residues.p, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("operation", ["add", "subtract"])
@pytest.mark.parametrize(("p", "keys"), [(11, (3,)), (11, (1, 4)), (3, (1,)), (8, (3,)), (8, (1, 4))])
def test_the_planted_algorithm_is_all_in_its_key_frequencies(operation, p, keys):
    residues = residues_of(ModularAddition(p=p, operation=operation))
    logits = planted(residues, keys)
    found = progress(logits, residues, keys)
    loss = float(F.cross_entropy(logits.double(), residues.targets))
    assert found["restricted_loss"] == pytest.approx(loss, abs=1e-6)
    assert found["restricted_loss_train"] == pytest.approx(loss, abs=1e-6)  # the same at every pair
    assert found["restricted_loss_test"] == pytest.approx(loss, abs=1e-6)
    assert found["excluded_loss"] == pytest.approx(np.log(p), abs=1e-6)
    assert found["logit_variance_share"] == pytest.approx(1, abs=1e-6)


def test_excluding_one_frequency_leaves_the_loss_of_the_others():
    residues = residues_of(TASK)
    second, fifth = planted(residues, (2,), scale=1.0), planted(residues, (5,), scale=0.3)
    found = progress(second + fifth, residues, (2, 5))["excluded_loss_by_frequency"]
    assert found[1] == pytest.approx(float(F.cross_entropy(fifth, residues.targets)), abs=1e-6)
    assert found[4] == pytest.approx(float(F.cross_entropy(second, residues.targets)), abs=1e-6)
    assert np.array_equal(np.isnan(found), [True, False, True, True, False])


def test_without_key_frequencies_nothing_is_excluded_and_the_mean_is_kept():
    residues = residues_of(TASK)
    logits = noise(residues)
    found = progress(logits, residues, ())
    train = residues.train
    assert found["excluded_loss"] == pytest.approx(
        float(F.cross_entropy(logits[train], residues.targets[train])), abs=1e-6
    )
    mean = logits.mean(0).expand_as(logits)
    assert found["restricted_loss"] == pytest.approx(float(F.cross_entropy(mean, residues.targets)), abs=1e-6)
    assert found["logit_variance_share"] == 0


def basis_of(waves):
    found = torch.linalg.svd(waves, full_matrices=False)
    return found.U[:, found.S > 1e-9]  # the sine of k = p/2 is 0


@pytest.mark.parametrize("operation", ["add", "subtract"])
@pytest.mark.parametrize(("p", "keys", "classes"), [(11, (2, 3), 11), (8, (1, 4), 8), (7, (2,), 8)])
@pytest.mark.parametrize("scale", [2, 3000])  # the exponentials of the larger logits' parts are 0 by themselves
def test_measures_are_those_of_an_explicit_projection_of_all_pairs(operation, p, keys, classes, scale):
    task = ModularAddition(p=p, operation=operation)
    residues = residues_of(task)
    a, b = residues.inputs.double().T
    s = a + b if operation == "add" else a - b
    waves = torch.stack([wave(2 * torch.pi * k * s / p) for k in keys for wave in (torch.cos, torch.sin)], dim=1)
    logits = scale * noise(residues, classes, seed=p).double() + 0.3 * torch.arange(classes)
    basis = basis_of(waves)
    kept = basis @ (basis.T @ logits)
    restricted = kept + (logits - kept).mean(0)
    train, targets = residues.train, residues.targets
    found = progress(logits, residues, keys)
    for name, where in (("", targets >= 0), ("_train", train), ("_test", residues.test)):
        expected = float(F.cross_entropy(restricted[where], targets[where]))
        assert found[f"restricted_loss{name}"] == pytest.approx(expected, abs=1e-9, rel=1e-9)
    excluded = float(F.cross_entropy((logits - kept)[train], targets[train]))
    assert found["excluded_loss"] == pytest.approx(excluded, abs=1e-9, rel=1e-9)
    for k in keys:
        one = basis_of(waves[:, [2 * keys.index(k), 2 * keys.index(k) + 1]])
        expected = float(F.cross_entropy((logits - one @ (one.T @ logits))[train], targets[train]))
        assert found["excluded_loss_by_frequency"][k - 1] == pytest.approx(expected, abs=1e-9, rel=1e-9)
    centred = (logits - logits.mean(0))[:, :p]
    centred = centred - centred.mean(1, keepdim=True)
    share = (basis @ (basis.T @ centred)).square().sum() / centred.square().sum()
    assert found["logit_variance_share"] == pytest.approx(float(share), abs=1e-9)


def test_a_shift_common_to_all_classes_changes_nothing():
    residues = residues_of(TASK)
    logits = (planted(residues, (3,)) + noise(residues)).double()
    shift = 50 * torch.cos(2 * torch.pi * 3 * residues.sums / 11)[:, None] + noise(residues, 1, seed=1)
    before, after = progress(logits, residues, (3,)), progress(logits + shift, residues, (3,))
    for name in before:
        assert np.allclose(before[name], after[name], atol=1e-9, equal_nan=True), name


def test_functions_of_a_alone_are_no_part_of_the_algorithm():
    residues = residues_of(TASK)
    alone = torch.cos(2 * torch.pi * 3 * residues.inputs[:, :1] / 11) * torch.arange(11)
    found = progress(alone, residues, (3,))
    assert found["logit_variance_share"] == pytest.approx(0, abs=1e-12)


def test_all_pairs_are_in_the_place_that_their_sum_says():
    for operation, sign in (("add", 1), ("subtract", -1)):
        task = ModularAddition(p=7, operation=operation)
        residues = residues_of(task)
        a, b = residues.inputs.T
        assert torch.equal((a + sign * b) % 7, residues.sums)
        assert torch.equal(residues.targets, residues.sums)
        assert torch.equal(residues.inputs[residues.grid], task.pairs().inputs)
        assert torch.equal(residues.train[residues.grid], task.train_mask())
        assert torch.equal(residues.test, ~residues.train)


def test_shuffled_labels_are_those_that_were_trained_on():
    task = ModularAddition(p=7, shuffle_labels=True)
    residues = residues_of(task)
    inputs, targets = task.data("train")
    place = ((inputs[:, 0] + inputs[:, 1]) % 7) * 7 + inputs[:, 0]
    assert torch.equal(residues.targets[place], targets)


@pytest.mark.parametrize("architecture", ["mlp", "transformer"])
def test_two_blocks_of_one_are_one_block_of_two(architecture):
    task = ModularAddition(p=11, embed=8, width=16, architecture=architecture)
    run = random_run(task, 2)
    metric = Fourier().resolved(run)
    whole = metric.over(run)
    assert set(whole) == set(Fourier.gives)
    for index in range(2):
        part = metric.over(run.block(index, index + 1))
        for name in whole:
            assert np.allclose(part[name][0], whole[name][index], rtol=1e-5, equal_nan=True), name


def test_permuting_hidden_units_changes_nothing():
    run = random_run(TASK, 1)
    order = np.random.default_rng(0).permutation(16)
    state = dict(run.states[0])
    for name in ("left.weight", "left.bias", "right.weight", "right.bias"):
        state[name] = state[name][order]
    state["unembed.weight"] = state["unembed.weight"][:, order]
    before, after = Fourier().over(run), Fourier().over(MemoryRun.of_states(TASK, [state]))
    for name in before:
        assert np.allclose(before[name], after[name], rtol=1e-4, equal_nan=True), name


def test_the_last_checkpoint_says_which_frequencies_are_key():
    run = random_run(TASK, 3)
    last = Fourier().resolved(run)
    assert last == Fourier().resolved(run.block(0, 1))
    alone = Fourier().resolved(MemoryRun.of_states(TASK, run.states[2:]))
    assert last.frequencies == alone.frequencies
    each = Fourier(per_checkpoint=True).resolved(run)
    assert each.frequencies is None
    key = each.over(run).key_frequencies
    assert tuple(key.frequency.values[key.values[2]].tolist()) == last.frequencies


def test_a_run_that_diverged_takes_its_frequencies_from_before():
    states = random_run(TASK, 3).states
    states[2]["left.bias"][0] = np.inf
    run, before = MemoryRun.of_states(TASK, states), MemoryRun.of_states(TASK, states[:2])
    assert Fourier().resolved(run) == Fourier().resolved(before)


def test_without_key_frequencies_nothing_is_measured_by_them_and_a_remark_says_what_to_type():
    metric, run = Fourier(), random_run(ModularAddition(p=5, embed=6, width=16), 2)
    found = metric.over(run)
    assert not found.key_frequencies.any()
    for name in (*LOSSES, "excluded_loss_by_frequency", "logit_variance_share"):
        assert np.isnan(found[name]).all(), name
    assert np.isfinite(found.gini_embedding).all()
    (remark,) = metric.remarks(found)
    assert "no frequency has clearly more" in remark
    assert "--set fourier.frequencies=1,2" in remark
    named = Fourier(frequencies=(1, 2))
    assert named.remarks(named.over(run)) == []


def test_resolved_settings_survive_being_stored():
    resolved = Fourier().resolved(random_run(TASK, 1))
    assert with_settings(Fourier, json.loads(json.dumps(settings_of(resolved))), kind="metric") == resolved


def test_the_spectrum_of_the_transformer_is_that_of_its_whole_output_map():
    task = ModularAddition(p=11, embed=8, width=16, architecture="transformer")
    run = random_run(task, 1)
    state = run.states[0]
    table = (state["blocks.0.mlp_out"] @ state["unembed"])[:, :11].T  # (class, neuron)
    centred = table - table.mean(0)
    found = Fourier().over(run)
    assert float(np.square(found.unembedding_spectrum[0]).sum()) == pytest.approx(np.square(centred).sum(), rel=1e-5)


def test_results_are_read_back_as_they_were_written(tmp_path):
    found = Fourier().over(random_run(TASK, 2))
    found.to_netcdf(tmp_path / "result.h5", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "result.h5", engine="h5netcdf") as stored:
        xr.testing.assert_equal(stored.load(), found)
        assert stored.key_frequencies.attrs["detect"] == 0
        assert stored.excluded_loss.attrs["units"] == "nats"


@pytest.mark.parametrize("task", [Superposition(), ModularAddition(p=5, operation="x²+xy+y²")])
def test_a_task_of_another_kind_is_refused(task):
    with pytest.raises(
        DeviError, match=r"fourier: task .* has p=.* expects an integer p and operation 'add' or 'subtract'"
    ):
        Fourier().over(random_run(task, 1))


def test_a_frequency_that_does_not_exist_is_named():
    with pytest.raises(DeviError, match="frequency 6 does not exist for p=11; expected 1 to 5"):
        Fourier(frequencies=(2, 6)).over(random_run(TASK, 1))


def test_a_frequency_that_is_named_twice_is_refused():
    with pytest.raises(DeviError, match="frequency 2 is named twice; expected each once, e.g. frequencies=2,5"):
        Fourier(frequencies=(2, 5, 2)).over(random_run(TASK, 1))


def test_a_model_without_hidden_activations_is_told_what_to_add():
    class Plain(ModularAddition):
        def model(self):
            return torch.nn.Sequential(torch.nn.Embedding(11, 11), Pooled())

    run = random_run(Plain(p=11), 1)
    with pytest.raises(DeviError, match=r"model of task Plain has no method hidden\(inputs\).*frequencies=3,11"):
        Fourier().over(run)
    assert "gini_embedding" not in Fourier(frequencies=(1,)).over(run)  # its parameters have other names


def test_a_model_with_too_few_outputs_is_named():
    class Narrow(ModularAddition):
        def model(self):
            return torch.nn.Sequential(torch.nn.Embedding(11, 4), Pooled())

    with pytest.raises(DeviError, match=r"outputs of shape \(121, 4\) on all pairs; expected \(121, 11 or more\)"):
        Fourier(frequencies=(1,)).over(random_run(Narrow(p=11), 1))


class Pooled(torch.nn.Module):
    def forward(self, embedded):
        return embedded.sum(1)


@pytest.mark.slow
def test_the_phases_of_grokking_come_in_their_order():
    """Memorization, circuit formation, cleanup (Nanda et al. 2023, section 5.2): hidden progress comes first.

    One seeded training. No false alarm by chance: the order held, with the same bounds, for seeds 0, 1 and 2.
    """
    task = ModularAddition(seed=1)
    run = trained_run(task, range(0, 2501, 50), seed=1)
    losses, norms, fourier = (metric.resolved(run).over(run) for metric in (Losses(), Norms(), Fourier()))

    def first(happened):
        assert happened.any()
        return int(run.steps[np.argmax(happened.values)])

    memorized = first(losses.train_accuracy > 0.99)
    halved = first(fourier.restricted_loss_test < fourier.restricted_loss_test[0] / 2)
    before = fourier.excluded_loss.where((fourier.step >= memorized) & (fourier.step <= 1000))
    lowest = int(fourier.step[before.argmin("step")])
    turned = first((fourier.excluded_loss > 2 * before.min()) & (fourier.step > lowest))
    generalized = first(losses.test_accuracy > 0.95)
    assert memorized < halved < turned < generalized
    assert memorized < lowest < generalized
    # The circuit is there while the network as a whole is far worse than a guess (log 53 = 3.97 nats).
    assert float(losses.test_loss.sel(step=halved)) > 2 * np.log(53)
    # Cleanup: the weights shrink and fewer frequencies remain.
    peak = int(norms.step[norms.weight_norm.argmax("step")])
    assert halved < peak < generalized
    assert float(norms.weight_norm_squared[-1]) < 0.85 * float(norms.weight_norm_squared.sel(step=peak))
    for spread in (fourier.gini_embedding, fourier.gini_unembedding):
        assert float(spread[0]) < 0.1
        assert float(spread.sel(step=halved)) < 0.2
        assert float(spread[-1]) > 0.4
    assert float(fourier.frequency_entropy[-1]) < float(fourier.frequency_entropy[0]) - 0.5
    assert float(fourier.logit_variance_share[-1]) > 0.9
