import pytest

from devi.devices import device_of
from devi.errors import DeviError


def test_the_cpu_is_always_there():
    assert device_of("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["cuda:99", "toaster", "", "meta"])
def test_a_device_that_is_not_here_says_what_to_type(name):
    with pytest.raises(DeviError, match="Try: --device cpu"):
        device_of(name)
