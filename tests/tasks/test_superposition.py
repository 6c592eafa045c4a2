import math

import pytest
import torch

from devi.errors import DeviError
from devi.tasks.superposition import EVALUATION_EXAMPLES, Superposition


def test_zero_weights_give_the_second_moment_of_the_data():
    # one-hot data with λ ~ U(0, 1) has E[λ²] = 1/3 on the one feature that is on; here b = 0 and W = 0
    task = Superposition(init_scale=0.0, bias_init=0.0, importance_decay=1.0, examples=100_000)
    x, y = task.data("train")
    loss = task.loss(task.model()(x), y).mean().item()
    assert abs(loss - 1 / 3) < 4 * math.sqrt((1 / 5 - 1 / 9) / 100_000)


def test_identity_with_linear_output_and_no_bias_has_no_loss():
    task = Superposition(features=4, hidden=4, output="linear", bias_init=0.0)
    model = task.model()
    with torch.no_grad():
        model.W.copy_(torch.eye(4))
    x, y = task.data("test")
    assert torch.equal(task.loss(model(x), y), torch.zeros(len(x)))


def test_relu_cuts_what_the_linear_output_keeps():
    x = torch.tensor([[1.0, 0.0]])
    outputs = {}
    for kind in ("relu", "linear"):
        model = Superposition(features=2, hidden=1, output=kind, bias_init=0.0).model()
        with torch.no_grad():
            model.W.copy_(torch.tensor([[1.0, -1.0]]))
            outputs[kind] = model(x)
    assert torch.equal(outputs["linear"], torch.tensor([[1.0, -1.0]]))
    assert torch.equal(outputs["relu"], torch.tensor([[1.0, 0.0]]))


def test_importance_weighs_each_feature_as_a_series_or_a_list():
    series = Superposition(features=3, importance_decay=0.5).importances()
    assert torch.equal(series, torch.tensor([1.0, 0.5, 0.25]))
    listed = Superposition(features=3, importance=(3.0, 2.0, 1.0))
    zero, one = torch.zeros(1, 3), torch.ones(1, 3)
    assert listed.loss(zero, one).item() == 6.0


def test_one_hot_data_has_one_feature_and_sparse_data_the_density_asked_for():
    x = Superposition(examples=1000).data("train").inputs
    assert torch.equal((x > 0).sum(1), torch.ones(1000, dtype=torch.long))
    sparse = Superposition(distribution="sparse", density=0.2, features=10, examples=10_000).data("train").inputs
    share = (sparse > 0).double().mean().item()
    assert abs(share - 0.2) < 4 * math.sqrt(0.2 * 0.8 / 1e5)  # false alarm: 6e-5, and the seed is fixed


def test_the_polygon_start_is_a_regular_polygon():
    weight = Superposition(start_polygon=4, init_scale=0.0).model().W.detach()
    gram = weight.T @ weight
    expected = torch.zeros(6, 6)
    expected[:4, :4] = torch.tensor([[1.0, 0, -1, 0], [0, 1, 0, -1], [-1, 0, 1, 0], [0, -1, 0, 1]])
    assert torch.allclose(gram, expected, atol=1e-6)


def test_fixed_examples_are_fixed_and_fresh_ones_come_from_the_generator():
    fresh = Superposition(batch_size=7)
    first, again = (fresh.batch(0, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.inputs, again.inputs)
    assert first.inputs.shape == (7, 6)
    assert len(fresh.data("train").inputs) == EVALUATION_EXAMPLES
    assert Superposition(examples=50).batch(0, torch.Generator()) is None
    assert len(Superposition(examples=50).data("train").inputs) == 50
    assert torch.equal(fresh.data("train").inputs, fresh.data("train").inputs)
    assert not torch.equal(fresh.data("train").inputs, fresh.data("test").inputs)


def test_settings_that_do_not_fit_together_are_refused():
    with pytest.raises(DeviError, match="importance lists 2 values for features=6"):
        Superposition(importance=(1.0, 2.0))
    with pytest.raises(DeviError, match="start_polygon=7 needs hidden=2 and at least as many features"):
        Superposition(start_polygon=7)
