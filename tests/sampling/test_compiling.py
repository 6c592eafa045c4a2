import dataclasses
import shutil

import pytest
import torch

from devi.metrics.learning_coefficient import LearningCoefficient
from devi.sampling import compiling, walk
from devi.sampling.chains import sample_posterior
from devi.sampling.compiling import compile_gradient
from devi.sampling.posterior import Posterior
from devi.sampling.samplers import kernel_named
from tests.sampling.test_chains import superposition_run
from tests.sampling.test_user_tasks import EXAMPLES, SETTINGS, SHORT, Attention, Batched, Branching, trained

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


@needs_compiler
@pytest.mark.slow  # exact, no false alarms: a compilation takes seconds
@pytest.mark.parametrize("kind", [Batched, Attention])
def test_a_compiled_gradient_is_the_derived_one_at_other_points_too(kind):
    posterior, threads = Posterior(trained(kind)), torch.get_num_threads()
    assert compile_gradient(posterior, 2, EXAMPLES, threads=threads)
    action = posterior.compiled[2, EXAMPLES, threads]
    rows = torch.tensor([1, 0])
    flat, fixed = posterior.centers[rows] * 1.1, posterior.fixed_at(rows)
    found = action(flat, fixed, posterior.data.inputs, posterior.data.targets)
    posterior.compiled.clear()
    for own, other in zip(found, posterior.loss_and_gradient(flat, fixed, posterior.data), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)


@needs_compiler
@pytest.mark.slow  # exact, no false alarms: a compilation takes seconds
def test_compiled_chains_walk_as_the_others_do(monkeypatch):
    taken, compiled = [], compiling._compiled

    def counted(*given):
        action = compiled(*given)
        return lambda *now: (taken.append(len(now[0])), action(*now))[1]

    monkeypatch.setattr(compiling, "_compiled", counted)
    monkeypatch.setattr(walk, "can_fork", lambda: False)  # what another process takes cannot be counted
    run, kernel = trained(Batched), kernel_named("sgld")
    one, other = (
        sample_posterior(Posterior(run), run.steps, SETTINGS, kernel=kernel, seed=0, compile=compile)
        for compile in (False, True)
    )
    assert len(taken) > SETTINGS.draws
    torch.testing.assert_close(
        torch.from_numpy(one["loss"].values), torch.from_numpy(other["loss"].values), rtol=1e-4, atol=1e-6
    )


def test_what_cannot_be_compiled_is_sampled_all_the_same(monkeypatch):
    def refuse(*given, **further):
        raise RuntimeError("No working C++ compiler found\nsee above")

    run, kernel = trained(Batched), kernel_named("sgld")
    expected = sample_posterior(Posterior(run), run.steps, SETTINGS, kernel=kernel, seed=0)
    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.warns(
        UserWarning, match=r"Batched could not be compiled \(No working C\+\+ compiler found\); .* apt in"
    ):
        found = sample_posterior(Posterior(run), run.steps, SETTINGS, kernel=kernel, seed=0, compile=True)
    assert (found["loss"].values == expected["loss"].values).all()


def test_a_compiled_gradient_that_is_another_one_is_not_used(monkeypatch):
    def wrong(posterior, *given):
        def action(*given):
            loss, gradient = posterior.loss_and_gradient(given[0], given[1], posterior.data)
            return loss, gradient * 1.01

        return action

    monkeypatch.setattr(compiling, "_compiled", wrong)
    posterior = Posterior(trained(Batched))
    with pytest.warns(UserWarning, match=r"Batched compiled has another loss or gradient, by 1\.0e-02 of the largest"):
        compile_gradient(posterior, 2, EXAMPLES, threads=1)
    assert not posterior.compiled


def test_a_gradient_that_is_written_out_or_cannot_be_batched_is_left_as_it_is():
    posterior = Posterior(superposition_run())
    with pytest.warns(UserWarning, match="Superposition writes its gradient out, which is quicker"):
        compile_gradient(posterior, 2, 10, threads=1)
    with pytest.warns(UserWarning, match="cannot be batched"):
        unbatched = Posterior(trained(Branching))
    with pytest.warns(UserWarning, match="is sampled one replica after another, and so is not compiled"):
        compile_gradient(unbatched, 2, 10, threads=1)
    assert not posterior.compiled
    assert not unbatched.compiled


def test_the_metric_has_each_size_of_a_group_compiled_once(monkeypatch):
    asked = []
    monkeypatch.setattr(walk, "compile_gradient", lambda posterior, *sizes, threads: not asked.append(sizes))
    metric = LearningCoefficient(step_size=1e-3, compile=True, **{**SHORT, "chains": 3})
    metric.over(trained(Batched))
    assert asked
    assert len(set(asked)) == len(asked)
    asked.clear()
    dataclasses.replace(metric, compile=False).over(trained(Batched))
    assert not asked
