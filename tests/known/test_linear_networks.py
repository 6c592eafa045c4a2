import pytest
import torch

from devi.errors import DeviError
from devi.known.linear_networks import LinearNetwork


def loss(task, model):
    inputs, targets = task.exact_data()
    return task.loss(model(inputs), targets).mean()


def ranks(model):
    return [int(torch.linalg.matrix_rank(layer.detach())) for layer in model.parameters()]


def product(model):
    layers = [layer.detach() for layer in model.parameters()]
    return torch.linalg.multi_dot(layers[::-1])


def gradient(task, model):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss(task, model), list(model.parameters()))])


def test_the_loss_is_half_the_squared_distance_to_the_teacher():
    task = LinearNetwork((6, 4, 5), 2)
    torch.manual_seed(0)
    model = task.model().double()
    expected = 0.5 * (product(model) - task.teacher()).square().sum()
    torch.testing.assert_close(loss(task, model), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("widths", "rank"), [((5, 3, 4), 3), ((6, 4, 6), 2), ((3, 2, 3), 0), ((5, 5, 4, 5), 2)])
def test_at_the_most_singular_point_every_layer_has_the_teachers_rank(widths, rank):
    task = LinearNetwork(widths, rank)
    model = task.most_singular()
    assert ranks(model) == [rank] * (len(widths) - 1)
    torch.testing.assert_close(product(model), task.teacher(), rtol=0, atol=1e-14)
    assert loss(task, model) < 1e-28


def test_a_point_with_extra_rank_has_the_ranks_asked_for_and_no_loss():
    task = LinearNetwork((6, 4, 6), 2)
    for first, second in ((3, 2), (2, 3), (3, 3), (4, 2)):
        model = task.with_extra_rank(first, second)
        assert ranks(model) == [first, second]
        assert loss(task, model) < 1e-28


def test_with_noise_the_point_is_the_minimum_of_the_noisy_loss():
    task = LinearNetwork((5, 3, 4), 3, noise=1.0)
    model = task.most_singular()
    assert ranks(model) == [3, 3]
    assert float(gradient(task, model).abs().max()) < 1e-13
    # a minimum, and a strict one up to the 9 directions of the fibre A → G·A, B → B·G⁻¹
    layers = [layer.detach() for layer in model.parameters()]

    def at(flat):
        parts = [p.view_as(w) for p, w in zip(flat.split([w.numel() for w in layers]), layers, strict=True)]
        inputs, targets = task.exact_data()
        return task.loss(inputs @ (parts[1] @ parts[0]).T, targets).mean()

    flat = torch.cat([w.flatten() for w in layers])
    curvatures = torch.linalg.eigvalsh(torch.autograd.functional.hessian(at, flat))
    assert int((curvatures > 1e-3).sum()) == 27 - 9 == 2 * 9  # λ = 9
    assert float(curvatures[0]) > -1e-12


def test_the_data_in_single_precision_leave_no_loss_worth_sampling():
    task = LinearNetwork((5, 3, 4), 3)
    inputs, targets = task.data("train")
    assert inputs.dtype == torch.float32
    model = task.most_singular()
    assert task.loss(model(inputs.double()), targets.double()).mean() < 1e-13


def test_what_has_no_known_coefficient_is_refused():
    with pytest.raises(DeviError, match="linear network 3-2-3: rank 3 is not possible; expected 0 to 2"):
        LinearNetwork((3, 2, 3), 3)
    with pytest.raises(DeviError, match="its minimum has rank 3, since noise is fitted too"):
        LinearNetwork((5, 3, 4), 2, noise=1.0).most_singular()
    with pytest.raises(DeviError, match="expected ranks of at least 2 that add up to 6 or less"):
        LinearNetwork((6, 4, 6), 2).with_extra_rank(4, 3)
