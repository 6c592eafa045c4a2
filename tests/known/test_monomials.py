import numpy as np
import pytest
import torch

from devi.known.monomials import Cusp, Monomials, Product


def loss_at(task, w):
    model = task.model()
    model.load_state_dict({"w": torch.tensor(w)})
    inputs, targets = task.data("train")
    return task.loss(model(inputs), targets)


@pytest.mark.parametrize(
    ("task", "w", "expected"),
    [
        (Monomials((2, 4)), [3.0, 2.0], 12.5),
        (Monomials((2, 4), scales=(10.0, 0.5)), [3.0, 2.0], 49.0),
        (Product((2, 4)), [3.0, 2.0], 72.0),
        (Cusp(), [3.0, 2.0], 0.5),
        (Cusp(), [8.0, 4.0], 0.0),
    ],
)
def test_the_loss_is_its_formula_for_every_example(task, w, expected):
    losses = loss_at(task, w)
    assert losses.shape == (task.examples,)
    assert (losses == expected).all()


def test_the_run_is_at_the_origin_where_the_loss_is_0():
    run = Monomials((2, 2, 4)).run(3)
    assert len(run) == 3
    assert (run.parameters()["w"] == np.zeros((3, 3))).all()
    assert (loss_at(run.task, [0.0, 0.0, 0.0]) == 0).all()


def test_the_exact_expectation_is_a_sum_over_the_parameters_and_d_over_2_without_pull():
    assert Monomials((2,) * 7).exact_at(100.0, 0.0) == 3.5
    assert Monomials((2,) * 7).exact_at(100.0, 1.0) == pytest.approx(3.5 * 100 / 101, rel=1e-12)
    apart = Monomials((2,), scales=(3.0,)).exact_at(50.0, 1.0) + Monomials((6,), scales=(0.1,)).exact_at(50.0, 1.0)
    assert Monomials((2, 6), scales=(3.0, 0.1)).exact_at(50.0, 1.0) == pytest.approx(apart, rel=1e-12)
