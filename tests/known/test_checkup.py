import pickle

import pytest

from devi.known.cases import cases, named
from devi.known.checkup import CASES, examined
from devi.metrics.learning_coefficient import LearningCoefficient

# Fixed settings, so that nothing is searched for: a fast test of the checkup, not of the sampler's own choices.
QUICK = LearningCoefficient(
    sampler="sgld", chains=4, draws=600, burn_in=100, step_size=2e-3, n_beta=100.0, localization=0.5, batch_size=0
)


def test_the_doctors_cases_are_of_every_kind_and_one_must_be_unresolved():
    chosen = named(CASES)
    assert len(chosen) >= 12
    assert {case.kind for case in chosen} == {case.kind for case in cases()}
    assert [case.name for case in chosen if case.must_be_unresolved] == ["crossing 2,2"]


def test_a_finding_carries_the_estimate_its_settings_and_what_they_lead_to():
    shares = []
    case = named(["quadratic d=5"])[0]
    finding = examined(case, QUICK, progress=shares.append)
    assert (finding.n_beta, finding.localization) == (100.0, 0.5)
    assert finding.expected == pytest.approx(2.5 * 100 / 100.5, rel=1e-12)
    assert finding.deviation == pytest.approx((finding.estimate - finding.expected) / finding.error)
    assert finding.verdict.word == "right"
    assert finding.flags == ""
    assert shares[-1] == 1.0


def test_a_case_goes_to_another_process_and_back():
    for case in cases():
        there = pickle.loads(pickle.dumps(case))
        assert (there.name, there.task, there.truth) == (case.name, case.task, case.truth)


def test_a_step_far_too_small_is_wrong_or_flagged_and_never_right():
    import dataclasses

    stuck = dataclasses.replace(QUICK, step_size=1e-8)
    finding = examined(named(["quadratic d=5"])[0], stuck)
    assert finding.verdict.word == "flagged"
    assert finding.estimate < 0.1
