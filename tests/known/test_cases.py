import pytest
import torch

from devi.errors import DeviError
from devi.known.cases import cases, named
from devi.sampling.posterior import Posterior

ALL = cases()
IDS = [case.name for case in ALL]


def test_names_are_unique_and_every_kind_has_several_cases():
    assert len(set(IDS)) == len(ALL) > 40
    kinds = [case.kind for case in ALL]
    assert {
        "regular",
        "monomial",
        "normal crossing",
        "cusp",
        "two-layer linear",
        "deep linear",
        "superposition",
    } == set(kinds)
    assert any(case.multiplicity > 1 for case in ALL)


@pytest.mark.parametrize("case", ALL, ids=IDS)
def test_the_point_is_a_minimum_in_the_samplers_precision(case):
    """No gradient beyond single precision, and no lower loss nearby: true minima must not be flagged as headroom."""
    posterior = Posterior(case.run(), dtype=torch.float64)
    fixed = posterior.fixed_at(torch.zeros(1, dtype=torch.long))
    center = posterior.centers
    loss, gradient = posterior.loss_and_gradient(center, fixed, posterior.data)
    assert float(gradient.abs().max()) < 1e-6
    torch.manual_seed(0)
    nearby = center + 1e-3 * torch.randn(20, center.shape[1], dtype=center.dtype)
    assert float(posterior.loss_and_gradient(nearby, fixed, posterior.data)[0].min() - loss) > -1e-10


@pytest.mark.parametrize("case", [case for case in ALL if case.exact], ids=lambda case: case.name)
def test_the_exact_expectation_goes_to_lambda_as_n_beta_grows(case):
    """From below, and by about (m − 1)/log nβ where the multiplicity m is above 1."""
    near, far = case.exact(1e3, 1.0), case.exact(1e10, 1.0)
    assert near < far < case.truth * (1 + 1e-9)
    if case.multiplicity == 1:
        assert far == pytest.approx(case.truth, rel=0.05)
    else:
        assert far < 0.99 * case.truth


def test_an_unknown_name_is_answered_with_the_nearest():
    assert [case.name for case in named(["cusp", "quadratic d=2"])] == ["cusp", "quadratic d=2"]
    with pytest.raises(DeviError, match="no case is called 'superposition 6gon'. Did you mean 'superposition 6-gon'"):
        named(["superposition 6gon"])
