"""One group a step: numbers of the optimizer are no axis of steps, and a group may say its step itself."""

import h5py
import numpy as np
import pytest

from devi import DeviError
from devi.checkpoints.foreign.hdf5_file import HDF5File


@pytest.fixture
def made(tmp_path):
    def make(content):
        with h5py.File(tmp_path / "run.h5", "w") as file:
            for name, values in content.items():
                file[name] = values
        return tmp_path / "run.h5"

    return make


def weights(path):
    """W of each step; what was filled in says which group it came from."""
    source = HDF5File(path)
    return {place.step: source.read(place)["W"][0, 0].item() for place in source.places}


def groups(form, numbers, **more):
    each = {form.format(number): number for number in numbers}
    filled = {f"{group}/W": np.full((4, 3), float(number)) for group, number in each.items()}
    return filled | {f"{group}/{name}": value(number) for group, number in each.items() for name, value in more.items()}


@pytest.mark.parametrize("form", ["step_{}", "runs/a/checkpoint-{}"])
@pytest.mark.parametrize("numbers", [[10], [10, 9]])
@pytest.mark.parametrize("name", ["step", "optimizer/step", "adam/state/steps"])
@pytest.mark.parametrize("shape", [(1,), (2,), (5,)])
def test_a_dataset_called_step_in_a_group_of_one_step_is_no_axis(made, form, numbers, name, shape):
    path = made(groups(form, numbers, **{name: lambda number: np.full(shape, 7)}))
    assert weights(path) == {number: float(number) for number in sorted(numbers)}


@pytest.mark.parametrize("name", ["step", "global_step"])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_what_a_group_says_counts_rather_than_a_number_in_its_name_and_a_word_in_that_counts_first(made, name, shape):
    said = {name: lambda number: np.full(shape, 100 * number)}
    assert weights(made(groups("ck{}", [10, 9], **said))) == {900: 9.0, 1000: 10.0}
    assert weights(made(groups("step{}", [10, 9], **said))) == {9: 9.0, 10: 10.0}


@pytest.mark.parametrize("form", ["ck{}", "checkpoint_{}", "runs/a/step-{}"])
@pytest.mark.parametrize("value", [np.int32, np.uint64, lambda number: np.array([number])])
def test_an_attribute_of_each_group_counts_first(made, form, value):
    path = made(groups(form, [10, 9]))
    with h5py.File(path, "a") as file:
        for number in (10, 9):
            file[form.format(number)].attrs["step"] = value(100 * number)
    assert weights(path) == {900: 9.0, 1000: 10.0}


@pytest.mark.parametrize("odd", ["100", 100.0, [1, 2], -1, h5py.Empty("i8")])
def test_attributes_that_are_no_steps_or_that_not_all_groups_have_leave_it_to_the_names(made, odd):
    path = made(groups("step_{}", [10, 9]))
    with h5py.File(path, "a") as file:
        file["step_9"].attrs["step"], file["step_10"].attrs["step"] = 5, odd
    assert weights(path) == {9: 9.0, 10: 10.0}


def test_groups_whose_step_is_no_whole_number_are_told_by_their_names(made):
    assert weights(made(groups("ck{}", [10, 9], step=lambda number: 0.5))) == {9: 9.0, 10: 10.0}


def test_a_group_that_says_no_step_beside_those_that_do_is_refused(made):
    content = groups("ck{}", [10, 9], step=lambda number: 100 * number)
    del content["ck9/step"]
    with pytest.raises(
        DeviError, match=r"^ck9: which step is this\?.*, or a whole number 'step' in the group or its attributes\."
    ):
        HDF5File(made(content))


def test_rows_in_a_group_with_a_number_in_its_name_stay_rows(made):
    path = made({"checkpoints_2024/steps": [5, 9], "checkpoints_2024/W": np.arange(12.0).reshape(2, 2, 3)})
    source = HDF5File(path)
    assert [place.step for place in source.places] == [5, 9]
    assert source.read(source.places[1])["checkpoints_2024.W"][0, 0] == 6.0
