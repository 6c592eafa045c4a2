import numpy as np
import pytest

from devi.checkpoints.mapped import as_slice


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], slice(0, 0)),
        ([7], slice(7, 8, 1)),
        ([3, 4, 5], slice(3, 6, 1)),
        ([3, 5, 7], slice(3, 8, 2)),
    ],
)
def test_evenly_spaced_places_are_a_slice(places, expected):
    assert as_slice(np.array(places, np.int64)) == expected


@pytest.mark.parametrize("places", [[5, 4, 3], [2, 2, 2], [0, 5, 2, 3], [0, 1, 3], [0, 2, 3, 6], [0, 1, 10**12]])
def test_other_places_stay_as_they_are(places):
    given = np.array(places, np.int64)
    assert as_slice(given) is given
