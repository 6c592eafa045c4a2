import pytest
import torch

from devi.tasks.one_hot import OneHot, is_one_hot
from devi.tasks.superposition import Superposition

IMPORTANCES = torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64)


def by_examples(inputs, weight, bias):
    """The sums of `OneHot.loss_and_gradients` by going through the examples, with autograd."""
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    outputs = torch.relu(inputs @ (weight.mT @ weight) + bias[:, None])
    loss = ((outputs - inputs).square() * IMPORTANCES).sum(dim=(1, 2))
    return (loss, *torch.autograd.grad(loss.sum(), (weight, bias)))


def models(count=50):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(count, 2, 3, generator=generator, dtype=torch.float64)
    return weight, 0.3 * torch.randn(count, 3, generator=generator, dtype=torch.float64)


def sized(*sizes):
    """Examples (feature, size) as rows."""
    inputs = torch.zeros(len(sizes), 3, dtype=torch.float64)
    for row, (feature, size) in enumerate(sizes):
        inputs[row, feature] = size
    return inputs


@pytest.mark.parametrize(
    "inputs",
    [
        Superposition(features=3, examples=500).data("train").inputs.double(),
        sized((0, 0.5)),  # features that never occur
        sized((0, 0.5), (0, 0.5), (2, 0.25), (2, 0.5), (1, 1.0)),  # equal sizes
        sized((0, -0.5), (1, 2.0), (2, 0.0), (1, -1.0)),  # of either sign, and an empty example
        torch.zeros(4, 3, dtype=torch.float64),
    ],
    ids=["drawn", "one example", "equal sizes", "signs", "empty"],
)
def test_sums_over_sizes_are_sums_over_examples(inputs):
    weight, bias = models()
    for own, other in zip(
        OneHot(inputs).loss_and_gradients(weight, bias, IMPORTANCES), by_examples(inputs, weight, bias), strict=True
    ):
        torch.testing.assert_close(own, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_outputs_that_stand_still_are_active_for_a_bias_above_0_only(zero, sign):
    weight, bias = models(4)
    weight[:2], weight[2:, :, 1] = zero, zero
    bias = sign * bias.abs()
    inputs = sized((0, 0.5), (1, 0.75), (2, 0.25))
    for own, other in zip(
        OneHot(inputs).loss_and_gradients(weight, bias, IMPORTANCES), by_examples(inputs, weight, bias), strict=True
    ):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-13)


def test_the_order_of_the_examples_changes_nothing():
    inputs = Superposition(features=3, examples=300).data("train").inputs.double()
    shuffled = inputs[torch.randperm(300, generator=torch.Generator().manual_seed(1))]
    for own, other in zip(
        OneHot(inputs).loss_and_gradients(*models(), IMPORTANCES),
        OneHot(shuffled).loss_and_gradients(*models(), IMPORTANCES),
        strict=True,
    ):
        assert torch.equal(own, other)


def test_only_examples_of_one_feature_or_none_are_one_hot():
    assert is_one_hot(sized((0, 0.5), (2, 0.0)))
    assert not is_one_hot(torch.tensor([[0.5, 0.0, 0.0], [0.5, 0.1, 0.0]]))
