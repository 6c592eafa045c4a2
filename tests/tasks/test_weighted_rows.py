import pytest
import torch
from torch.func import functional_call, grad, vmap

from devi.tasks.modular_addition import ModularAddition
from devi.tasks.weighted_rows import weighted_rows


def written_out(table, place, weights):
    return (weights[..., None] * table[place]).sum(1)


def example(*replicas):
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(*replicas, 7, 3, dtype=torch.float64, generator=generator)
    place = torch.randint(7, (5, 4), generator=generator)
    weights = torch.rand(*replicas, 5, 4, dtype=torch.float64, generator=generator)
    return table, place, weights


def test_the_sum_and_both_gradients_equal_the_formula_written_out():
    table, place, weights = example()
    assert torch.allclose(weighted_rows(table, place, weights), written_out(table, place, weights), rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(
        lambda t, w: weighted_rows(t, place, w), (table.requires_grad_(), weights.requires_grad_())
    )


@pytest.mark.parametrize("axes", [(0, None, 0), (0, None, None), (None, None, 0)])
def test_a_batch_of_replicas_gives_the_rows_of_each_alone(axes):
    table, place, weights = example(6)
    given = [x if axis == 0 else x[0] for x, axis in zip((table, weights), axes[::2], strict=True)]
    one = lambda t, w: weighted_rows(t, place, w).square().sum()  # noqa: E731
    reference = lambda t, w: written_out(t, place, w).square().sum()  # noqa: E731
    for gradient in (lambda f: f, lambda f: grad(f, argnums=(0, 1))):  # as sampling may call it: plain, and grad inside
        found = vmap(gradient(one), in_dims=axes[::2])(*given)
        expected = vmap(gradient(reference), in_dims=axes[::2])(*given)
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def test_replicas_of_the_transformer_get_the_gradients_of_one_alone():
    torch.manual_seed(0)
    task = ModularAddition(p=7, architecture="transformer", embed=8, width=12, heads=2)
    model = task.model().double()
    x, y = task.data("train")
    many = {name: torch.randn(3, *p.shape, dtype=torch.float64) for name, p in model.named_parameters()}
    leaves = {name: value.requires_grad_() for name, value in many.items()}

    def loss(parameters):
        return task.loss(functional_call(model, parameters, (x,)), y).mean()

    vmap(loss)(leaves).sum().backward()
    for row in range(3):
        alone = {name: value[row].detach().requires_grad_() for name, value in leaves.items()}
        loss(alone).backward()
        for name, value in alone.items():
            assert torch.allclose(leaves[name].grad[row], value.grad, rtol=1e-10, atol=1e-13), name


def test_a_second_derivative_is_refused_in_words():
    table, place, weights = example()
    table.requires_grad_()
    (first,) = torch.autograd.grad(weighted_rows(table, place, weights).square().sum(), table, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only; for a Hessian"):
        torch.autograd.grad(first.sum(), table)
