"""Waves, spectra, and the votes of neurons whose frequency is known."""

import numpy as np
import pytest
import torch

from devi.metrics.frequencies import all_frequencies, key_frequencies, spectrum, votes, waves
from devi.tasks.modular_addition import ModularAddition


@pytest.mark.parametrize("p", [2, 3, 4, 5, 8, 11, 53])
def test_waves_of_all_frequencies_and_the_constant_are_an_orthonormal_basis(p):
    table = waves(p, all_frequencies(p))
    assert table.shape == (p, p - 1)
    full = np.column_stack([np.full(p, p**-0.5), table])
    assert np.allclose(full.T @ full, np.eye(p))


def test_no_frequency_has_no_wave():
    assert waves(7, []).shape == (7, 0)


@pytest.mark.parametrize(("p", "k"), [(11, 3), (8, 2), (8, 4)])
def test_the_spectrum_of_one_wave_is_one_line(p, k):
    table = np.cos(2 * np.pi * k * np.arange(p) / p)[:, None] * [3.0, 4.0]  # (residue, column)
    norms = spectrum(table)
    assert norms[k - 1] == pytest.approx(5 * np.sqrt(p if 2 * k == p else p / 2))
    assert np.allclose(np.delete(norms, k - 1), 0, atol=1e-12)


def test_the_spectrum_holds_everything_but_the_constant():
    table = np.random.default_rng(0).normal(size=(4, 9, 5))  # (step, residue, column)
    centred = table - table.mean(1, keepdims=True)
    assert np.allclose(np.square(spectrum(table)).sum(-1), np.square(centred).sum((1, 2)))


def neurons_of(p, k, count):
    """ReLU(cos(w a + φ) + cos(w b + φ)): the neurons of a network that has learned the task."""
    phase = torch.arange(count) + 0.1
    angle = 2 * np.pi * k * torch.arange(p)[:, None] / p + phase  # (p, neuron)
    return torch.relu(angle.cos()[:, None] + angle.cos()[None])


def test_neurons_vote_for_the_frequency_they_compute():
    activations = torch.cat([neurons_of(23, 3, 30), neurons_of(23, 7, 10)], dim=-1)
    share = votes(activations)
    assert share[2] == 0.75
    assert share[6] == 0.25
    assert key_frequencies(activations) == (3, 7)


def test_fewer_than_one_in_twenty_make_no_key_frequency():
    activations = torch.cat([neurons_of(23, 3, 96), neurons_of(23, 7, 4)], dim=-1)
    assert key_frequencies(activations) == (3,)


@pytest.mark.parametrize("p", [5, 11, 23])
def test_votes_that_every_frequency_gets_alike_make_none_a_key_one(p):
    alike = torch.cat([neurons_of(p, int(k), 8) for k in all_frequencies(p)], dim=-1)
    assert votes(alike).min() >= 0.05
    assert key_frequencies(alike) == ()


def test_a_frequency_beside_strong_ones_is_measured_by_the_votes_that_they_leave():
    """8 of 128 are no more than chance among 26 frequencies, but they are where 10 are left for 24."""
    strong, weak = [neurons_of(53, k, 59) for k in (3, 7)], neurons_of(53, 11, 8)
    rest = [neurons_of(53, k, 1) for k in (20, 21)]
    assert key_frequencies(torch.cat([*strong, weak, *rest], dim=-1)) == (3, 7, 11)
    others = [neurons_of(53, int(k), 5) for k in all_frequencies(53) if k != 11]
    assert key_frequencies(torch.cat([weak, *others], dim=-1)) == ()


def test_untrained_networks_have_few_key_frequencies_or_none():
    """Seeded. Of 10 networks with p = 53 each has 5 to 9 with 5% of the votes."""
    found = []
    for seed in range(10):
        task = ModularAddition(seed=seed)
        torch.manual_seed(seed)
        with torch.no_grad():
            found.append(len(key_frequencies(task.model().hidden(task.pairs().inputs).reshape(53, 53, -1))))
    assert np.mean(found) < 1
    assert max(found) <= 2


def test_constant_neurons_do_not_vote():
    dead = torch.cat([torch.zeros(23, 23, 9), torch.full((23, 23, 9), 0.3)], dim=-1)
    assert key_frequencies(torch.cat([dead, neurons_of(23, 3, 9)], dim=-1)) == (3,)
    assert key_frequencies(dead) == ()


@pytest.mark.parametrize("p", [2, 3, 5, 6, 8])
def test_votes_are_those_of_an_explicit_projection(p):
    activations = torch.randn(p, p, 200, generator=torch.Generator().manual_seed(p), dtype=torch.float64)
    flat = activations.reshape(p * p, -1).numpy()
    explained = []
    for k in all_frequencies(p):
        one = np.column_stack([np.full(p, p**-0.5), waves(p, [k])])
        block = np.kron(one, one)[:, 1:]  # without the constant
        explained.append(np.square(block.T @ (flat - flat.mean(0))).sum(0))
    expected = np.bincount(np.argmax(explained, axis=0), minlength=p // 2) / 200
    assert np.allclose(votes(activations), expected)


def test_the_order_and_the_unit_of_neurons_do_not_matter():
    activations = torch.cat([neurons_of(23, 3, 30), 5 * neurons_of(23, 7, 10)], dim=-1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(votes(activations), votes(1e-6 * activations[..., order]))
