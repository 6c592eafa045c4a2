import pytest
import torch
from torch.autograd.functional import hessian

from devi.known.cases import POLYGON, cases
from devi.known.polygons import EvenSuperposition, descended, loss_of
from devi.metrics.polygon import polygon

CASES = {case.name.removeprefix("superposition "): case for case in cases() if case.kind == POLYGON}


@pytest.fixture(scope="module")
def points():
    """Name -> loss of the flat parameters, and the point (18,)."""
    return {
        name: (loss_of(case.task), torch.cat([p.detach().flatten() for p in case.point().parameters()]))
        for name, case in CASES.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_each_point_is_a_critical_point_with_the_shape_of_its_name(points, name):
    loss, w = points[name]
    here = w.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(here), here)
    assert float(gradient.abs().max()) < 1e-8
    # random data are not symmetric: the polygon is then regular to a tenth
    tolerance = 0.15 if "random" in name else 1e-5
    columns, bias = w[:12].view(2, 6).numpy(), w[12:].numpy()
    assert polygon(columns, bias, minimum_norm=0.1, tolerance=tolerance).label == name.split(",")[0]


@pytest.mark.parametrize("name", [name for name in CASES if name != "4-gon"])
def test_the_hessian_is_not_negative_and_has_twice_lambda_as_its_rank(points, name):
    loss, w = points[name]
    curvatures = torch.linalg.eigvalsh(hessian(loss, w))
    assert float(curvatures[0]) > -1e-8
    rank = int((curvatures > 1e-2).sum())
    assert rank == int((curvatures > 1e-6).sum()) == 2 * CASES[name].truth


@pytest.mark.parametrize("name", ["6-gon", "5-gon", "5-gon+"])
def test_evenly_spaced_data_leave_no_other_minimum_nearby(points, name):
    loss, w = points[name]
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        noise = torch.randn(18, generator=generator, dtype=torch.float64)
        assert float(loss(descended(loss, w + 0.02 * noise))) == pytest.approx(float(loss(w)), abs=1e-12)


def test_random_data_cut_the_basin_into_minima_and_the_point_is_the_lowest_of_those_found(points):
    loss, w = points["6-gon, random data"]
    generator = torch.Generator().manual_seed(1)
    noises = [torch.randn(18, generator=generator, dtype=torch.float64) for _ in range(6)]
    others = [float(loss(descended(loss, w + 0.02 * noise)) - loss(w)) for noise in noises]
    assert min(others) > -1e-9
    assert max(others) > 1e-6


def test_what_is_free_at_the_pentagon_leaves_the_loss_as_it_is(points):
    """The dead feature's weights and its bias, as long as it stays dead, besides the rotation: 18 − 14 directions."""
    loss, w = points["5-gon"]
    moved = w.clone().view(3, 6)
    moved[:, 5] += torch.tensor([0.05, -0.03, 0.2])
    assert float(loss(moved.flatten()) - loss(w)) == pytest.approx(0, abs=1e-15)


def test_at_the_square_the_loss_is_homogeneous_of_degree_2_and_positive_in_15_directions(points):
    """λ = 15/2 follows: ∫ exp(−nβ·K) scales as nβ^(−15/2) when K(t·v) = t²·K(v) > 0."""
    loss, w = points["4-gon"]
    free = torch.zeros(3, 18, dtype=torch.float64)
    free[0, :6], free[0, 6:12] = -w[6:12], w[:6]  # the rotation
    free[1, 16] = free[2, 17] = 1.0  # the biases of the dead features
    basis = torch.linalg.qr(free.T).Q  # (18, 3)
    assert all(float((loss(w + 1e-3 * direction) - loss(w)).abs()) < 1e-11 for direction in basis.T)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        v = torch.randn(18, generator=generator, dtype=torch.float64)
        v -= basis @ (basis.T @ v)
        v /= v.norm()
        small, large = (float(loss(w + t * v) - loss(w)) / t**2 for t in (1e-5, 2e-5))
        assert small > 1e-3
        assert large == pytest.approx(small, rel=1e-2)


def test_the_data_are_every_feature_at_every_size():
    data = EvenSuperposition(sizes=4).data("train")
    assert data.inputs.shape == (24, 6)
    assert data.inputs.sum(0).tolist() == [2.0] * 6
    assert (data.inputs.count_nonzero(dim=1) == 1).all()
