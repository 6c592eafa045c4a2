import numpy as np
import pytest
from arviz_stats.base import array_stats

from devi.sampling.mixing import effective_draws, rank_rhat


def traces(chains, draws, count=20):
    """Chains from independent to slow, some apart from others, one drifting, one in few values."""
    rng = np.random.default_rng(chains * draws)
    noise = rng.standard_normal((count, chains, draws))
    for row, memory in enumerate(np.linspace(-0.9, 0.99, count)):
        for draw in range(1, draws):
            noise[row, :, draw] += memory * noise[row, :, draw - 1]
    noise[1] += np.arange(chains)[:, None]
    noise[2] += np.linspace(0, 5, draws)
    noise[3] = np.round(noise[3])
    noise[4] = 1e-17 * noise[4]
    return noise


@pytest.mark.parametrize("shape", [(1, 4), (1, 101), (2, 5), (4, 50), (4, 200), (3, 37)])
def test_the_numbers_are_those_of_arviz_stats(shape):
    values = traces(*shape)
    expected = array_stats.ess(values, chain_axis=1, draw_axis=2, method="mean")
    np.testing.assert_allclose(effective_draws(values), expected, rtol=1e-9)
    if shape[0] > 1:
        expected = array_stats.rhat(values, chain_axis=1, draw_axis=2)
        np.testing.assert_allclose(rank_rhat(values), expected, rtol=1e-9)


def test_traces_together_give_the_numbers_of_each_alone():
    values = traces(4, 60)
    np.testing.assert_array_equal(rank_rhat(values), np.concatenate([rank_rhat(each[None]) for each in values]))
    alone = np.concatenate([effective_draws(each[None]) for each in values])
    np.testing.assert_allclose(effective_draws(values), alone, rtol=1e-12)
