import numpy as np
import pytest
import torch

from devi.known.regression import Regression


def test_the_solution_has_no_gradient_and_the_hessian_its_condition():
    task = Regression(5, condition=100.0, examples=5000)
    model = task.solution()
    inputs, targets = (part.double() for part in task.data("train"))
    task.loss(model(inputs), targets).mean().backward()
    assert float(model.weight.grad.abs().max()) < 1e-12
    curvatures = np.linalg.eigvalsh((inputs.T @ inputs / len(inputs)).numpy())
    assert curvatures[-1] / curvatures[0] == pytest.approx(100, rel=0.15)  # 5,000 random examples


def test_the_exact_expectation_is_half_the_parameters_without_pull_and_the_integral_with_it():
    task = Regression(1, examples=50)
    assert task.exact_at(20.0, 0.0) == pytest.approx(0.5, rel=1e-12)
    model = task.solution()
    inputs, targets = (part.double() for part in task.data("train"))
    best = model.weight.item()
    offsets = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    with torch.no_grad():
        excess = (0.5 * (inputs * (best + offsets) - targets[:, None]).square()).mean(0)
        excess -= task.loss(model(inputs), targets).mean()
    weight = torch.exp(-20 * excess - 3.0 / 2 * offsets.square())
    expected = float((20 * excess * weight).sum() / weight.sum())
    assert task.exact_at(20.0, 3.0) == pytest.approx(expected, rel=1e-10)
