"""What a rehearsal changes in the settings chosen from w*."""

from types import SimpleNamespace

import pytest
import torch

from devi.sampling import rehearsal as module
from devi.sampling.choice import Choice
from devi.sampling.curvature import Regular
from devi.sampling.langevin import sgld
from devi.sampling.rehearsal import HOLD, Rehearsal
from devi.sampling.settings import GIVEN
from devi.sampling.step_size import RELAXATION, SHORTER

BURN_IN = 100


class Scripted:
    """Pilots that find what they are told: `heat` of one setting after another, `hold` of one walk after another."""

    def __init__(self, *, heat=(), hold=(), finite=(), dimension=1000):
        self.chains, self.heat, self.hold, self.finite = 4, list(heat), list(hold), list(finite)
        self.posterior, self.kernel = SimpleNamespace(dimension=dimension), sgld
        self.walked = []

    def walk(self, settings, *, burn_in, draws):
        return SimpleNamespace(heat=torch.tensor(self.heat)[:, None])

    def start(self, settings, *, burn_in):
        self.walked.append(settings[0])
        hold = torch.full((len(settings), 1), self.hold.pop(0) if self.hold else 0.5)
        is_finite = self.finite.pop(0) if self.finite else True
        return SimpleNamespace(is_finite=is_finite, told=SimpleNamespace(hold=hold), advance=lambda draws: None)


def rehearsed(pilots, *, soft=None, **given):
    choice = Choice({"n_beta": 1.0, **given})
    choice("burn_in", lambda: (BURN_IN, "planned"))
    if "step_size" not in given:
        choice("step_size", lambda: (0.8, "the largest"))
    return choice, Rehearsal(choice, pilots, soft, draws=10)


def test_the_largest_step_that_stays_cool_is_taken_and_the_localization_follows():
    choice, rehearsal = rehearsed(Scripted(heat=[0.2, 0.1, 0.05, 0.01]))
    assert choice["localization"] == RELAXATION / (0.8 * BURN_IN)
    rehearsal.shorten()
    assert choice["step_size"] == 0.8 * SHORTER[2]
    assert choice["localization"] == RELAXATION / (choice["step_size"] * BURN_IN)
    assert "steeper places" in choice.why["step_size"]


def test_a_step_that_stays_cool_is_kept():
    choice, rehearsal = rehearsed(Scripted(heat=[0.05, 0.04, 0.03, 0.02]))
    rehearsal.shorten()
    assert choice["step_size"] == 0.8
    assert choice.why["step_size"] == "the largest"


@pytest.mark.parametrize("last", [0.3, float("nan")])
def test_where_no_step_stays_cool_the_shortest_is_taken(last):
    choice, rehearsal = rehearsed(Scripted(heat=[float("nan"), 0.5, 0.4, last]))
    rehearsal.shorten()
    assert choice["step_size"] == 0.8 * SHORTER[-1]


def test_what_is_given_is_not_changed():
    choice, rehearsal = rehearsed(Scripted(heat=[1.0] * 4, finite=[False]), step_size=0.5, localization=7.0)
    rehearsal.shorten()
    rehearsal.start()
    assert (choice["step_size"], choice["localization"]) == (0.5, 7.0)
    assert {choice.why[name] for name in ("step_size", "localization", "n_beta")} == {GIVEN}


def test_a_step_whose_chains_leave_the_numbers_in_the_check_is_halved_and_checked_again(monkeypatch):
    monkeypatch.setattr(module, "moves", lambda walk, **rest: {"0": 0.0 if walk.is_finite else 1.0})
    pilots = Scripted(finite=[False, False, True])
    choice, rehearsal = rehearsed(pilots)
    rehearsal.start()
    assert rehearsal.moves(most_draws=10, is_late=lambda: False) == {"0": 0.0}
    assert [one.step_size for one in pilots.walked] == [0.8, 0.4, 0.2]
    assert choice["localization"] == RELAXATION / (0.2 * BURN_IN)


def test_when_time_is_short_no_second_check_is_made(monkeypatch):
    monkeypatch.setattr(module, "moves", lambda walk, **rest: {"0": 1.0})
    choice, rehearsal = rehearsed(Scripted(finite=[False]))
    rehearsal.start()
    assert rehearsal.moves(most_draws=10, is_late=lambda: True) == {"0": 1.0}
    assert choice["step_size"] == 0.8


def test_where_the_loss_holds_nearly_all_of_many_directions_the_localization_gives_way():
    pilots = Scripted(hold=[0.1, 0.002])
    choice, rehearsal = rehearsed(pilots)
    before = choice["localization"]
    rehearsal.start()
    assert choice["localization"] == pytest.approx(before * HOLD / 0.1)
    assert [one.localization for one in pilots.walked] == [before, choice["localization"]]


def test_a_checkpoint_known_to_have_no_flat_direction_has_the_localization_that_suits_its_curvatures():
    choice, _ = rehearsed(Scripted(), soft=Regular(1e-6, 1.0))
    assert choice["localization"] == 1e-6
    assert "no flat directions" in choice.why["localization"]


def test_burn_in_by_the_curvatures_is_that_of_the_step_that_is_taken_at_last():
    choice, rehearsal = rehearsed(Scripted(heat=[0.2, 0.2, 0.01, 0.01]), soft=Regular(1e-6, 1.0))
    assert choice["burn_in"] == 8  # 2·3 / 0.8
    rehearsal.shorten()
    assert choice["step_size"] == 0.8 * SHORTER[2]
    assert choice["burn_in"] == 15
    assert "least curvature" in choice.why["burn_in"]


def test_burn_in_is_as_planned_where_the_curvatures_ask_for_more_or_it_is_given():
    choice, _ = rehearsed(Scripted(), soft=Regular(1e-6, 1e-3))
    assert (choice["burn_in"], choice.why["burn_in"]) == (BURN_IN, "planned")
    choice, _ = rehearsed(Scripted(), soft=Regular(1e-6, 1.0), burn_in=50)
    assert (choice["burn_in"], choice.why["burn_in"]) == (50, GIVEN)
