import errno

import pytest

from devi.errors import system_error, unknown_name


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("superpostion", "superposition"), ("kept", "kept_fraction"), ("lerning_rate", "learning_rate")],
)
def test_the_nearest_name_is_suggested(typed, meant):
    message = str(unknown_name("thing", typed, ["superposition", "kept_fraction", "learning_rate"]))
    assert message.startswith(f"no thing is called '{typed}'. Did you mean '{meant}'? Known: kept_fraction, ")


def test_a_name_like_none_of_them_suggests_nothing():
    assert str(unknown_name("thing", "xyz", ["width"])) == "no thing is called 'xyz'. Known: width."


def test_the_systems_refusal_is_found_behind_libhdf5():
    hidden = RuntimeError("Can't decrement id ref count (unable to extend file properly, errno = 28, error message = …")
    assert system_error(hidden).errno == errno.ENOSPC
    assert system_error(RuntimeError("anything else")) is None
    plain = PermissionError(errno.EACCES, "Permission denied", "place")
    assert system_error(plain) is plain
