import pytest

from devi.errors import Notice
from devi.sampling.choice import ONE_BY_ONE, OVERHEAD_PARAMETERS, work
from devi.sampling.posterior import Posterior
from tests.sampling.test_user_tasks import EXAMPLES, Branching, Convolution, trained


def test_the_work_of_a_gradient_goes_by_examples_and_parameters():
    posterior = Posterior(trained(Convolution))
    assert work(posterior, EXAMPLES) == EXAMPLES * (posterior.weight_count + OVERHEAD_PARAMETERS)


def test_what_goes_one_replica_after_another_takes_as_much_time_however_small_it_is():
    with pytest.warns(Notice, match="one after another"):
        posterior = Posterior(trained(Branching))
    assert work(posterior, EXAMPLES) == work(posterior, 1) == ONE_BY_ONE
    assert work(posterior, 10**6) > ONE_BY_ONE
