"""A user's HDF5 file: both layouts, every kind of number, and what no layout fits. Attacks are in tests/hostile."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devi import DeviError
from devi.checkpoints.foreign.hdf5_file import HDF5File
from devi.checkpoints.foreign.hdf5_rows import Rows

STEPS = [0, 5, 100]
W = np.arange(3 * 2 * 6, dtype="f4").reshape(3, 2, 6)
B = np.arange(3 * 6, dtype="f8").reshape(3, 6)


@pytest.fixture
def made(tmp_path):
    def make(content, **options):
        with h5py.File(tmp_path / "run.h5", "w") as file:
            for name, values in content.items():
                file.create_dataset(name, data=values, **(options if np.ndim(values) > 1 else {}))
        return tmp_path / "run.h5"

    return make


def read_all(path, pattern=None):
    source = HDF5File(path, pattern)
    return {place.step: {k: v.numpy() for k, v in source.read(place).items()} for place in source.places}


def same(found, expected):
    assert found.keys() == expected.keys()
    for step, tensors in expected.items():
        assert found[step].keys() == tensors.keys()
        for name, values in tensors.items():
            assert found[step][name].dtype == values.dtype.newbyteorder("=")
            assert (found[step][name] == values).all()


@pytest.mark.parametrize("axis", ["step", "steps", "global_step", "training/steps"])
def test_one_dataset_a_parameter(made, axis):
    path = made({axis: STEPS, "layers/0/W": W, "layers/0/b": B})
    same(read_all(path), {t: {"layers.0.W": W[i], "layers.0.b": B[i]} for i, t in enumerate(STEPS)})


@pytest.mark.parametrize("form", ["step_{}", "{}", "runs/a/step={}"])
def test_one_group_a_step(made, form):
    path = made({f"{form.format(t)}/{name}": x[i] for i, t in enumerate(STEPS) for name, x in (("0/W", W), ("b", B))})
    same(read_all(path), {t: {"0.W": W[i], "b": B[i]} for i, t in enumerate(STEPS)})


def test_steps_out_of_order_are_put_in_order(made):
    path = made({"step": STEPS[::-1], "W": W})
    assert list(read_all(path)) == STEPS
    same(read_all(path), {t: {"W": W[2 - i]} for i, t in enumerate(STEPS)})


@pytest.mark.parametrize(
    "options",
    [
        *({"compression": "gzip"}, {"compression": "gzip", "shuffle": True, "fletcher32": True}, {"chunks": True}),
        *({"compression": "gzip", "chunks": chunks} for chunks in [(2, 2, 6), (3, 1, 5), (1, 2, 6)]),
    ],
    ids=str,
)
def test_packed_data_are_read(made, options):
    same(read_all(made({"step": STEPS, "W": W}, **options)), {t: {"W": W[i]} for i, t in enumerate(STEPS)})


class Counted:
    """A dataset, and how often it was read."""

    def __init__(self, dataset):
        self._dataset, self.reads = dataset, 0

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def read(self, *arguments):
        self.reads += 1
        self._dataset.read(*arguments)


@pytest.mark.parametrize(("most_bytes", "reads"), [(10_000, 3), (2 * 12 * 4, 5), (0, 9)])
def test_a_chunk_of_many_steps_is_unpacked_once_where_memory_allows(tmp_path, most_bytes, reads):
    values = np.random.default_rng(0).random((9, 2, 6)).astype("f4")
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file.create_dataset("W", data=values, chunks=(4, 2, 5), compression="gzip")
        dataset = Counted(file["W"].id)
        rows = Rows(dataset, range(9), most_bytes)
        assert all((rows[row] == values[row]).all() for row in range(9))
    assert dataset.reads == reads


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i1", "u1", ">i8", "u4"])
def test_every_number_is_read_in_the_machines_order(made, dtype):
    same(
        read_all(made({"step": STEPS, "W": W.astype(dtype)})),
        {t: {"W": W[i].astype(dtype)} for i, t in enumerate(STEPS)},
    )


def test_one_number_a_step_is_a_tensor_without_axes(made):
    same(
        read_all(made({"step": STEPS, "scale": np.arange(3.0)})),
        {t: {"scale": np.float64(i)} for i, t in enumerate(STEPS)},
    )


def test_a_single_group_is_one_checkpoint(made):
    same(read_all(made({"run/step_7/layers/0/W": W[0]})), {7: {"layers.0.W": W[0]}})


def test_a_pattern_names_the_groups(made):
    path = made({f"seed1/phase{t}x/W": W[i] for i, t in enumerate(STEPS)})
    assert list(read_all(path, r"phase(\d+)x")) == STEPS


@pytest.mark.parametrize("names", [("init", "step_100"), ("step_500", "step_1k"), ("epoch_0_batch_2", "step_1")])
def test_a_group_without_a_step_is_refused_as_a_file_would_be_and_a_pattern_leaves_it_out(made, names):
    path = made({f"{name}/W": W[0] for name in (*names, "step_200")})
    with pytest.raises(DeviError, match=r"^\w+: which step is this\?.*leaves out.*--step-pattern 'step_\(") as error:
        HDF5File(path)
    assert "in the file" not in str(error.value)
    source = HDF5File(path, r"step_(\d+)$")
    assert 200 in [place.step for place in source.places]
    assert "1 group does not match the pattern and is left out: " in source.notices[0]


def test_tied_datasets_are_two_names_of_one(made):
    path = made({"step": STEPS, "W": W})
    with h5py.File(path, "a") as file:
        file["head"] = file["W"]
    same(read_all(path), {t: {"W": W[i], "head": W[i]} for i, t in enumerate(STEPS)})


def test_datasets_of_another_length_are_left_out_with_a_notice(made):
    source = HDF5File(made({"step": STEPS, "W": W, "epochs": [1, 2]}))
    assert source.notices == ["without a first axis of 3 steps, and left out: epochs (2,)."]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"W": W}, r"which step each checkpoint is of cannot be told. It has: W \(3, 2, 6\)"),
        ({"a/W": W, "b/W": W}, "which step each checkpoint is of cannot be told"),
        (
            {"step": STEPS, "W": W[:2]},
            r"'step' has 3 steps, and no dataset has a first axis of that length: W \(2, 2, 6\)",
        ),
        ({"step": [0.5, 1, 2], "W": W}, "holds values that are no steps"),
        ({"step": [-1, 1, 2], "W": W}, "holds values that are no steps"),
        ({"step": [3, 3, 4], "W": W}, r"row 0 and .*row 1 are both of step 3"),
    ],
)
def test_what_no_layout_fits_is_told(made, content, words):
    with pytest.raises(DeviError, match=words):
        read_all(made(content))


def test_floats_that_numpy_has_not_are_told(tmp_path):
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(2**20)
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["step"] = [0, 1]
        h5py.h5d.create(file.id, b"W", kind, h5py.h5s.create_simple((2, 3)))
    with pytest.raises(DeviError, match="'W' holds numbers of an odd kind. Expected plain datasets of numbers"):
        HDF5File(tmp_path / "run.h5")


def test_a_flag_by_flag_dataset_says_what_to_store_instead(made):
    with pytest.raises(DeviError, match=r"'W' holds an enumeration \(h5py writes bool so; store them as uint8\)"):
        read_all(made({"step": STEPS, "W": W > 3}))


@settings(deadline=None, max_examples=80)
@given(place=st.integers(0, 10**6), junk=st.binary(min_size=1, max_size=8))
def test_a_damaged_file_gives_numbers_or_an_error_that_names_it(tmp_path_factory, place, junk):
    path = tmp_path_factory.mktemp("damaged") / "run.h5"
    with h5py.File(path, "w") as file:
        file["step"], file["W"] = STEPS, W
        file.create_dataset("b", data=B, compression="gzip")
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place : place + len(junk)] = junk
    path.write_bytes(content)
    try:
        found = {"steps": list(read_all(path))}
    except DeviError as error:
        found = {"error": str(error)}
    assert "steps" in found or str(path) in found["error"]
