import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from devi.errors import DeviError
from devi.known.memory_run import MemoryRun
from devi.known.monomials import Monomials
from devi.known.regression import Regression
from devi.sampling.chains import sample_posterior
from devi.sampling.posterior import Posterior
from devi.sampling.restriction import restricted, selects_all
from devi.sampling.samplers import kernel_named
from devi.sampling.settings import Settings
from tests.sampling.test_user_tasks import Classification, Frozen, Tied, trained

SETTINGS = Settings(
    "sgld", step_size=1e-3, n_beta=50.0, localization=1.0, burn_in=10, draws=20, most_draws=20, chains=2, batch_size=0
)


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.zeros(3, 2))
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.scale = nn.Parameter(torch.tensor(1.0))


@pytest.mark.parametrize(
    ("restriction", "expected"),
    [
        ("embed", {"embed": None}),
        ("blocks.0.*", {"blocks.0.weight": None, "blocks.0.bias": None}),
        ("blocks.[01].bias", {"blocks.0.bias": None, "blocks.1.bias": None}),
        ("blocks.*.weight[2]", {"blocks.0.weight": [2], "blocks.1.weight": [2]}),
        ("embed[-1]", {"embed": [2]}),
        ("blocks.0.weight[0:2,3]", {"blocks.0.weight": [0, 1, 3]}),
        ("blocks.0.weight[2:]", {"blocks.0.weight": [2, 3]}),
        ("embed[0:3]", {"embed": None}),
        ("blocks.1.bias + embed[1] + embed[0]", {"embed": [0, 1], "blocks.1.bias": None}),
        ("scale", {"scale": None}),
    ],
)
def test_a_restriction_selects_by_name_and_by_entries_of_the_first_axis(restriction, expected):
    assert restricted(Blocks(), restriction) == expected


def test_only_what_leaves_nothing_out_selects_all():
    assert selects_all(Blocks(), "*")
    assert not selects_all(Blocks(), "blocks*")
    assert selects_all(Frozen(), "last*")  # the first layer is never sampled


def test_a_tied_parameter_is_found_by_each_of_its_names():
    assert restricted(Tied(), "unembed.*") == restricted(Tied(), "embed.weight") == {"embed.weight": None}


@pytest.mark.parametrize(
    ("restriction", "message"),
    [
        ("embad", r"no parameter is called 'embad'. Did you mean 'embed'\? Known: blocks.0.bias, .*A pattern such as"),
        (
            "embed[3]",
            r"'3' selects nothing of embed, of shape \(3, 2\); expected .* 0 to 2: embed\[0\] or embed\[0:3\]",
        ),
        ("embed[2:1]", "'2:1' selects nothing of embed"),
        ("embed[0:2:1]", "'0:2:1' selects nothing of embed"),
        ("scale[0]", "'0' selects nothing of scale"),
    ],
)
def test_a_restriction_that_selects_nothing_says_what_there_is(restriction, message):
    with pytest.raises(DeviError, match=message):
        restricted(Blocks(), restriction)


NUMBERS = st.integers(-5, 5)
ENDS = st.one_of(st.just(""), NUMBERS.map(str))
PIECES = st.one_of(NUMBERS.map(str), st.tuples(ENDS, ENDS).map(":".join), st.just("..."))


@given(st.lists(PIECES, min_size=1, max_size=3))
@settings(max_examples=500)
def test_what_is_accepted_is_what_numpy_takes_of_the_first_axis(pieces):
    rows = np.arange(4)
    try:
        found = restricted(Blocks(), f"blocks.0.weight[{','.join(pieces)}]")["blocks.0.weight"]
    except DeviError:
        return
    taken = np.concatenate([np.atleast_1d(eval(f"rows[{piece}]", {"rows": rows})) for piece in pieces])
    assert (list(range(4)) if found is None else found) == sorted(taken)
    assert len(pieces) == 1 or not any(piece.startswith(":") or piece.endswith(":") for piece in pieces)


@pytest.mark.parametrize("entries", [":,0", ":,9", "0,:", "1:,0", "0:2,0:2", "1,1", "...,0", "0,", ":,:", " : , 0"])
def test_what_looks_like_a_second_axis_is_refused_with_how_to_type_several_entries(entries):
    with pytest.raises(DeviError, match=r"could mean several axes of embed, of shape \(3, 2\); .* embed\[0,2\] or"):
        restricted(Blocks(), f"embed[{entries}]")


def test_a_frozen_parameter_cannot_be_sampled():
    with pytest.raises(
        DeviError, match=r"first.weight, first.bias is frozen .* Those that are: last.weight, last.bias"
    ):
        restricted(Frozen(), "first*")


def test_the_gradient_of_some_entries_is_that_part_of_the_whole_one_and_the_others_stay():
    run = trained(Tied)
    whole, some = (
        Posterior(run, dtype=torch.float64),
        Posterior(run, dtype=torch.float64, restriction="embed.weight[1:]"),
    )
    rows = torch.tensor([1, 0])
    loss, gradient = whole.loss_and_gradient(whole.centers[rows], whole.fixed_at(rows), whole.data)
    own_loss, own = some.loss_and_gradient(some.centers[rows], some.fixed_at(rows), some.data)
    assert (whole.dimension, some.dimension) == (12, 8)
    assert torch.equal(loss, own_loss)
    torch.testing.assert_close(own, gradient.view(2, 3, 4)[:, 1:].reshape(2, 8))
    assert torch.equal(whole.base_loss, some.base_loss)


def test_restricted_to_all_parameters_the_chains_are_those_of_all_bit_for_bit():
    run = Regression(5).run(2)
    draws = [
        sample_posterior(Posterior(run, restriction=each), run.steps, SETTINGS, kernel=kernel_named("sgld"), seed=0)
        for each in ("", "weight", "*", "weight[0]")
    ]
    for other in draws[1:]:
        for name in draws[0].data_vars:
            np.testing.assert_array_equal(draws[0][name], other[name])


def test_hmc_and_devinterp_take_restrictions_and_devinterp_only_of_whole_parameters():
    run = MemoryRun(Monomials((2,) * 4), {"w": np.zeros((1, 4), np.float32)})
    hmc = sample_posterior(
        Posterior(run, restriction="w[0:2]"), run.steps, SETTINGS, kernel=kernel_named("hmc"), seed=0
    )
    assert hmc.attrs["dimension"] == 2
    with pytest.raises(DeviError, match=r"'w\[0:2\]': the devinterp sampler moves whole parameters.*--sampler sgld"):
        sample_posterior(
            Posterior(run, restriction="w[0:2]"), run.steps, SETTINGS, kernel=kernel_named("devinterp"), seed=0
        )
    two = trained(Frozen)
    draws = sample_posterior(
        Posterior(two, restriction="last.bias"), two.steps, SETTINGS, kernel=kernel_named("devinterp"), seed=0
    )
    assert draws.attrs["dimension"] == 3
    assert np.isfinite(draws["loss"]).all()
    assert isinstance(two.task, Classification)


class WithoutUse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(16, 3), nn.Parameter(torch.ones(2))

    def forward(self, inputs):
        return self.used(inputs.flatten(1))


@pytest.mark.parametrize("sampler", ["sgld", "hmc", "devinterp"])
def test_parameters_that_have_no_say_in_the_loss_move_and_leave_it_as_it_is(sampler):
    run = trained(WithoutUse)
    draws = sample_posterior(
        Posterior(run, restriction="unused"), run.steps, SETTINGS, kernel=kernel_named(sampler), seed=0
    )
    assert (draws["loss"] == draws["base_loss"]).all()
    assert (draws["virial_loss"] == 0).all()
    assert (draws["virial_localization"] > 0).all()
