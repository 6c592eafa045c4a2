"""Recorder and Run: what is written is what is read, whatever happens to the writer."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from devi import Batch, DeviError, Recorder, Task, open_run
from devi.checkpoints.room import Room
from tests.checkpoints.interrupted import interrupted


@dataclasses.dataclass(frozen=True)
class Line(Task):
    """Fits y = Wx with dropout."""

    width: int = 4
    seed: int = 0

    def model(self):
        return nn.Sequential(
            nn.Linear(2, self.width), nn.Dropout(0.5), nn.BatchNorm1d(self.width), nn.Linear(self.width, 1)
        )

    def data(self, split):
        inputs = torch.linspace(-1, 1, 16).reshape(8, 2)
        return Batch(inputs, inputs.sum(1, keepdim=True))

    def loss(self, outputs, targets):
        return ((outputs - targets) ** 2).mean(1)


def quiet(text):
    """Notices are read from Recorder.notices."""


def train(path, steps, *, resume=False, stop_after=None, segment_bytes=4096, every=1):
    """A loop with Adam, dropout and minibatches; `stop_after` raises in the middle of a step."""
    task = Line()
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 7])
    order = torch.Generator().manual_seed(1)
    state = {"optimizer": optimizer, "scheduler": scheduler, "order": order}
    data = task.data("train")
    with Recorder(path, task, state=state, resume=resume, segment_bytes=segment_bytes, notice=quiet) as record:
        start = record.restore(model) if resume else None
        for step in range(start or 0, steps):
            model.eval()
            loss = task.loss(model(data.inputs), data.targets).mean()
            model.train()
            if step % every == 0:
                record(step, model, train_loss=loss)
            chosen = torch.randperm(8, generator=order)[:4]
            optimizer.zero_grad()
            task.loss(model(data.inputs[chosen]), data.targets[chosen]).mean().backward()
            if step == stop_after:
                raise KeyboardInterrupt
            optimizer.step()
            scheduler.step()
    return record


class Odd(nn.Module):
    """Every dtype that torch saves, a scalar, an empty tensor, tied weights, and names the format uses itself."""

    DTYPES = (
        "float16 bfloat16 float32 float64 complex64 complex128 bool int8 int16 int32 int64 uint8 uint16 uint32 uint64"
    )

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        for name in (*self.DTYPES.split(), "float8_e4m3fn", "float8_e5m2"):
            dtype = getattr(torch, name)
            bits = torch.randint(0, 2 if name == "bool" else 256, (3, 2, dtype.itemsize), generator=generator)
            self.register_buffer(f"of_{name}", bits.to(torch.uint8).view(dtype)[..., 0])
        self.W = nn.Parameter(torch.randn(2, 3, generator=generator).T)  # not contiguous
        self.again = self.W
        self.step = nn.Parameter(torch.tensor(2.5))
        self.empty = nn.Parameter(torch.zeros(0, 4))
        self.register_buffer("transient", torch.ones(2), persistent=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_every_dtype_comes_back_bit_for_bit(path):
    model = Odd()

    @dataclasses.dataclass(frozen=True)
    class OddTask(Line):
        def model(self):
            fresh = Odd()
            for tensor in [*fresh.parameters(), *fresh.buffers()]:
                tensor.data.zero_()
            return fresh

    with Recorder(path, OddTask(), notice=quiet) as record:
        record(0, model, x=0.1)
    run = open_run(path, OddTask)
    again = run.model_at(0)
    for (name, old), new in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert bits(old) == bits(new), name
    assert set(run.parameter_shapes) == {"W", "step", "empty"}
    assert run.parameters()["empty"].shape == (1, 0, 4)
    assert run.parameters(0)["step"] == 2.5
    widened = run.buffers(0)["of_bfloat16"]
    assert widened.dtype == np.float32
    np.testing.assert_array_equal(widened, model.of_bfloat16.float().numpy())
    assert not run.problems


def test_h5py_reads_the_same_values_without_devi(path):
    train(path, 30)
    run = open_run(path, Line)
    assert len(run._records.segments) > 1
    rows = []
    for file in sorted(path.glob("segment-*.h5")):
        with h5py.File(file) as handle:
            rows.append(handle["checkpoints"]["0.weight"])
            assert handle["checkpoints"].id.get_offset() == run._records.segments[len(rows) - 1].header.data_offset
    np.testing.assert_array_equal(np.concatenate(rows), run.parameters()["0.weight"])
    np.testing.assert_array_equal(run.steps, np.arange(30))
    assert run.parameters(3)["0.weight"].shape == (4, 2)


def test_a_slice_of_one_segment_is_a_view(path):
    train(path, 20, segment_bytes=1 << 20)
    run = open_run(path, Line)
    weights = run.parameters(slice(2, 9))["0.weight"]
    assert not weights.flags.owndata
    assert not weights.flags.writeable
    assert weights.flags.aligned


def test_blocks_know_where_they_were_cut_and_selections_do_not(path):
    train(path, 20)
    run = open_run(path, Line)
    block = run.block(4, 12)
    assert (len(block), block.start, block.whole) == (8, 4, run)
    assert block.block(2, 5).start == 6
    assert block.block(2, 5).whole is run
    chosen = run.select([1, 5, 9])
    assert chosen.whole is chosen
    np.testing.assert_array_equal(chosen.steps, [1, 5, 9])
    np.testing.assert_array_equal(chosen.scalars.train_loss, run.scalars.train_loss[[1, 5, 9]])
    np.testing.assert_array_equal(chosen.digests, run.digests[[1, 5, 9]])


def test_a_run_travels_to_another_process_by_pickle(path):
    train(path, 20)
    block = open_run(path, Line()).block(4, 12)
    again = pickle.loads(pickle.dumps(block))
    np.testing.assert_array_equal(again.parameters()["3.weight"], block.parameters()["3.weight"])
    assert (again.start, len(again.whole)) == (4, 20)


@pytest.mark.parametrize("index", [20, -21, 3.5, "1"])
@pytest.mark.parametrize("method", ["model_at", "parameters", "buffers"])
def test_a_position_without_a_checkpoint_names_the_range(path, method, index):
    train(path, 20)
    at = getattr(open_run(path, Line), method)
    with pytest.raises(DeviError, match=r"has 20 checkpoints, and none at .* 0 to 19, or -20 to -1 from the end"):
        at(index)


def test_a_selection_beyond_the_last_checkpoint_names_the_range(path):
    train(path, 20)
    with pytest.raises(DeviError, match=r"none at array\(\[20\]\)\. Expected a position, 0 to 19"):
        open_run(path).select([20])


def test_a_selection_by_fractions_is_refused_and_by_a_mask_is_not(path):
    train(path, 20)
    with pytest.raises(DeviError, match=r"none at array\(\[0\. , 9\.5\]\)\. Expected a position, 0 to 19"):
        open_run(path).select(np.linspace(0, 9.5, 2))
    assert open_run(path).select([False, True] * 10).steps.tolist() == open_run(path).steps[1::2].tolist()
    assert len(open_run(path).select([])) == 0


def test_model_at_touches_no_global_generator(path):
    train(path, 3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    open_run(path, Line).model_at(1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()


@pytest.mark.parametrize("stop_after", [0, 1, 6, 13])
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(tmp_path, stop_after):
    train(tmp_path / "straight", 20)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "resumed", 20, stop_after=stop_after)
    train(tmp_path / "resumed", 20, resume=True)
    straight, resumed = open_run(tmp_path / "straight"), open_run(tmp_path / "resumed")
    np.testing.assert_array_equal(straight.steps, resumed.steps)
    for name, values in straight.parameters().items():
        assert values.tobytes() == resumed.parameters()[name].tobytes()
    assert straight.buffers()["2.running_var"].tobytes() == resumed.buffers()["2.running_var"].tobytes()
    assert straight.scalars.train_loss.values.tobytes() == resumed.scalars.train_loss.values.tobytes()


# The number of threads decides the last bits of a sum: the child must use as many as we do.
CHILD = (
    "import sys; sys.path[:0] = [{here!r}]; import test_writer as t; t.torch.set_num_threads({threads});"
    " t.train(t.Path({path!r}), 10**6, resume={resume})"
)


@pytest.mark.slow
def test_kill_9_loses_no_committed_record_and_the_run_goes_on(tmp_path):
    """Exact, no false alarms: three kills at seeded moments, then every record equals the uninterrupted run's."""
    path, generator, known = tmp_path / "killed", random.Random(0), 0
    for attempt in range(3):
        code = CHILD.format(
            here=str(Path(__file__).parent), path=str(path), resume=attempt > 0, threads=torch.get_num_threads()
        )
        child = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if (path / "segment-000000.h5").exists() and len(open_run(path)) > known + 20:
                break
            time.sleep(0.01)
        time.sleep(generator.random() * 0.2)
        seen = len(open_run(path))
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert len(open_run(path)) >= seen > known
        assert all(finding.kind == "torn" for finding in open_run(path).findings)
        known = len(open_run(path))
    train(tmp_path / "straight", known)
    straight, killed = open_run(tmp_path / "straight"), open_run(path).block(0, known)
    for name, values in straight.parameters().items():
        assert values.tobytes() == killed.parameters()[name].tobytes()


def test_a_reader_follows_a_live_run(path):
    model = nn.Linear(2, 2)
    with Recorder(path, notice=quiet, segment_bytes=1000) as record:
        record(0, model)
        run = open_run(path)
        assert run.is_live
        assert len(run) == 1
        for step in range(1, 30):
            model.weight.data.fill_(step)
            record(step, model)
        assert run.refresh() == 29
        assert run.refresh() == 0
        np.testing.assert_array_equal(run.parameters()["weight"][1:, 0, 0], np.arange(1, 30))
    assert run.refresh() == 0
    assert not run.is_live
    np.testing.assert_array_equal(run.parameters()["weight"][1:, 0, 0], np.arange(1, 30))
    assert not open_run(path).problems


def test_a_full_disk_loses_nothing_committed(path, monkeypatch):
    model, real, is_full = nn.Linear(2, 2), Room.put, []

    def put(room, content, at):
        if not is_full:
            return real(room, content, at)
        real(room, content[:20], at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Room, "put", put)
    record = Recorder(path, state={}, notice=quiet)
    record(0, model)
    is_full.append(True)
    with pytest.raises(DeviError, match=r"the disk is full. Every checkpoint up to step 0 is safe.*resume=True"):
        record(1, model)
    assert open_run(path).steps.tolist() == [0]
    is_full.clear()
    record.close()
    assert open_run(path).steps.tolist() == [0]


def test_a_recomputed_checkpoint_must_equal_the_stored_one(path):
    train(path, 5)
    model = Line().model()
    with (
        Recorder(path, Line(), resume=True, notice=quiet) as record,
        pytest.raises(DeviError, match="differs from what"),
    ):
        record(2, model, train_loss=0.0)


def test_other_hardware_makes_a_difference_a_notice(path, monkeypatch):
    train(path, 5)
    monkeypatch.setattr("devi.checkpoints.provenance._processor", lambda: "another processor")
    with Recorder(path, Line(), resume=True, notice=quiet) as record:
        record(2, Line().model(), train_loss=0.0)
    assert "hardware" in record.notices[-1]
    assert "The stored one is kept" in record.notices[-1]


def test_changed_settings_are_refused_on_resume(path):
    train(path, 5)
    with (
        Recorder(path, Line(seed=7), resume=True, notice=quiet) as record,
        pytest.raises(DeviError, match="seed = 0; now it is 7"),
    ):
        record(5, Line().model(), train_loss=0.0)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda r, m: r(0, m, loss=1.0), "step 0 was recorded after step 0. Steps must increase"),
        (lambda r, m: r(-1, m, loss=1.0), "Steps must increase"),
        (lambda r, m: r(1, m), r"got scalars \[\]; the first checkpoint fixed them as \['loss'\]"),
        (lambda r, m: r(1, nn.Linear(3, 2), loss=1.0), r"'weight' is float32 \(2, 3\) now and float32 \(2, 2\)"),
        (lambda r, m: r(1, m.double(), loss=1.0), "is now float64"),
        (lambda r, m: r.restore(m), "resume=True"),
        (lambda r, m: r.keep(1, m), "keep\\(\\) needs `state`"),
        (lambda r, m: Recorder(r.path, resume=True), "this process is already writing this run"),
        (lambda r, m: open_run(r.path).task, "names no task"),
        (lambda r, m: r(1, m.state_dict(), loss=1.0), r"of class OrderedDict; expected a torch\.nn\.Module"),
        (lambda r, m: Recorder(r.path, Line), r"the task is the class Line; expected an instance of .*: Line\(\)\."),
        (lambda r, m: Recorder(r.path, "line"), "the task is 'line', of class str; expected an instance"),
        (lambda r, m: Recorder(r.path, state={"o": torch.optim.SGD}), r"state\['o'\] is the class SGD; .* SGD\(...\)"),
        (
            lambda r, m: Recorder(r.path, state=torch.optim.SGD(m.parameters())),
            r"state is SGD .*, of class SGD; expected names for what to keep: state={'optimizer': optimizer}\.",
        ),
        (lambda r, m: Recorder(r.path, state={1: m}), r"a name in `state` is 1, of class int; .* state={'1': ...}\."),
        (
            lambda r, m: Recorder(r.path, metadata=["note"]),
            r"metadata is \['note'\], of class list; expected names and",
        ),
        (
            lambda r, m: Recorder(r.path, metadata={5: 1}),
            r"a key of metadata is 5, of class int; .* metadata={'5': ...",
        ),
        (lambda r, m: Recorder(f"{r.path}-2", state={})(0, m, **{"": 1.0}), "a scalar is called '', which no file"),
        (
            lambda r, m: Recorder(f"{r.path}-3", state={})(0, m, **{"\udcff": 1.0}),
            r"a scalar is called '\\udcff', which",
        ),
        (lambda r, m: open_run(r.path, "line"), r"expected its class, open_run\(path, MyTask\)"),
    ],
)
def test_misuse_is_told_in_words(path, call, text):
    model = nn.Linear(2, 2)
    with Recorder(path, notice=quiet) as record:
        record(0, model, loss=1.0)
        with pytest.raises(DeviError, match=text):
            call(record, model)


@pytest.mark.parametrize("expected", [1e1, 100 / 10, np.int64(10), np.float32(10), torch.tensor(10)])
def test_a_number_of_checkpoints_is_a_whole_number_of_any_kind(path, expected):
    with Recorder(path, notice=quiet, expected=expected, segment_bytes=expected * 50) as record:
        for step in range(10):
            record(step, nn.Linear(2, 2))
    assert open_run(path).steps.tolist() == list(range(10))


@pytest.mark.parametrize("name", ["expected", "segment_bytes"])
@pytest.mark.parametrize("value", [2.5, float("inf"), float("nan"), -1, "many", [3]])
def test_what_is_no_number_of_checkpoints_or_bytes_is_refused_before_training_begins(path, name, value):
    with pytest.raises(
        DeviError, match=rf"{name}=.*; expected a whole number .* Leave it out, or say: .*{name}=1000\)"
    ):
        Recorder(path, notice=quiet, **{name: value})
    assert not path.exists()


def test_a_replaced_layer_is_the_one_that_is_recorded(path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with Recorder(path, notice=quiet) as record:
        record(0, model)
        model[1] = nn.Linear(2, 2)
        model[0].weight = nn.Parameter(torch.full((2, 2), 7.0))
        record(1, model)
    last = open_run(path).parameters(1)
    np.testing.assert_array_equal(last["1.weight"], model[1].weight.detach())
    np.testing.assert_array_equal(last["0.weight"], 7.0)


def test_a_layer_added_below_a_layer_without_any_is_refused(path):
    model = nn.Sequential(nn.Linear(2, 2))
    with Recorder(path, notice=quiet) as record:
        record(0, model)
        model[0].more = nn.Linear(2, 2)
        with pytest.raises(DeviError, match=r"'0.more.weight' is float32 \(2, 2\) now and absent in the run so far"):
            record(1, model)


def test_lazily_conjugated_and_negated_buffers_are_stored_as_their_values(path):
    model = nn.Linear(1, 1)
    number = torch.tensor([1 + 2j])
    model.register_buffer("conjugated", number.conj())
    model.register_buffer("negated", number.conj().imag)
    with Recorder(path, notice=quiet) as record:
        record(0, model)
    buffers = open_run(path).buffers(0)
    assert (buffers["conjugated"].item(), buffers["negated"].item()) == (1 - 2j, -2.0)


def test_a_step_may_be_recorded_again_after_a_ctrl_c_whether_it_is_stored_or_not(tmp_path):
    model, moment, is_within = nn.Linear(2, 2), 0, True
    while is_within:
        moment += 1
        with Recorder(tmp_path / f"run-{moment}", notice=quiet) as record:
            record(0, model)
            is_within = interrupted(lambda record=record: record._record(1, model, {}), moment)
            for step in (1, 2):
                if is_within or step == 2:
                    record(step, model)
            assert open_run(record.path).steps.tolist() == [0, 1, 2]
    assert moment > 50


@pytest.mark.parametrize("size", [2, 100, 300])  # a segment, its room and its records in several ways
def test_a_forked_process_neither_records_nor_closes(path, size):
    model, told = nn.Linear(size, size), path.parent / "told"
    with Recorder(path, state={}, notice=quiet, segment_bytes=1 << 20) as record:
        for step in range(5):
            record(step, model, loss=0.0)
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # ends a child that waits for a thread of its parent
            try:
                record(5, model, loss=0.0)
            except DeviError as error:
                told.write_text(str(error))
            record.close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert f"process {os.getpid()} opened this Recorder, and this is process {child}, forked" in told.read_text()
        for step in range(5, 30):
            record(step, model, loss=0.0)
        seen = open_run(path)
        assert seen.is_live
        assert seen.steps.tolist() == list(range(30))
    assert open_run(path).problems == []


def test_a_process_forked_while_another_thread_records_is_refused_and_does_not_wait_for_it(path):
    model = nn.Linear(3, 2)
    with Recorder(path, state={}, notice=quiet) as record:
        record(0, model)
        inside, over = threading.Event(), threading.Event()

        def slowly():
            with record._opener.turn:
                inside.set()
                over.wait()

        thread = threading.Thread(target=slowly)
        thread.start()
        inside.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # ends a child that waits
            with contextlib.suppress(DeviError):
                record(1, model)
            os._exit(0)
        over.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_that_record_at_once_wait_for_each_other(path):
    model, numbers, taken, threads = nn.Linear(3, 2), itertools.count(), [], 4
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns within a record
    try:
        with Recorder(path, state={}, notice=quiet, segment_bytes=1 << 14) as record:

            def work():
                for _ in range(500):
                    step = next(numbers)
                    with contextlib.suppress(DeviError):  # another thread was quicker with a later step
                        record(step, model, loss=float(step))
                        taken.append(step)

            with ThreadPoolExecutor(threads) as pool:
                for done in [pool.submit(work) for _ in range(threads)]:
                    done.result()
    finally:
        sys.setswitchinterval(switch)
    run = open_run(path)
    assert run.problems == []
    assert len(taken) > 100
    assert run.steps.tolist() == sorted(taken)
    assert run.scalars["loss"].values.tolist() == sorted(taken)


def test_a_closed_recorder_records_nothing(path):
    model = nn.Linear(2, 2)
    with Recorder(path, notice=quiet) as record:
        record(0, model)
    with pytest.raises(DeviError, match=r"this Recorder is closed. To go on: Recorder\(path, ..., resume=True\)"):
        record(1, model)
    assert open_run(path).steps.tolist() == [0]


def test_a_closed_recorder_keeps_nothing_in_a_run_that_another_one_writes(path):
    model = nn.Linear(2, 2)
    with Recorder(path, state={}, notice=quiet) as closed:
        closed(0, model)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(DeviError, match="this Recorder is closed"):
        closed.keep(9, model)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_a_path_that_holds_something_is_left_alone(path):
    train(path, 3)
    with pytest.raises(
        DeviError, match=r"To go on with it: Recorder\(path, \.\.\., resume=True\)\. To keep it: give another path"
    ):
        Recorder(path)
    (path.parent / "notes").mkdir()
    (path.parent / "notes" / "thesis.txt").write_text("x")
    with pytest.raises(DeviError, match=r"holds something that is no run \(thesis.txt\). Nothing was touched"):
        Recorder(path.parent / "notes")
    assert [entry.name for entry in (path.parent / "notes").iterdir()] == ["thesis.txt"]
    with pytest.raises(DeviError, match="is a file; a run is a directory"):
        Recorder(path.parent / "notes" / "thesis.txt")


def test_more_tensors_than_a_compound_type_holds_is_said(path):
    model = nn.ParameterDict({f"{number:040d}": nn.Parameter(torch.zeros(2)) for number in range(1500)})
    with Recorder(path, notice=quiet) as record, pytest.raises(DeviError, match="1500 parameters and buffers"):
        record(0, model)


def test_metadata_that_no_segment_holds_is_refused_by_name(path):
    about = {"note": "short", "config": list(range(450_000))}
    with (
        Recorder(path, metadata=about, notice=quiet) as record,
        pytest.raises(DeviError, match=r"its JSON takes .* Most of it is metadata\['config'\]"),
    ):
        record(0, nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("about", "text"),
    [
        ({"versions": "v3"}, r"metadata\['versions'\] is 'v3', expected a dict.* Call yours something else"),
        ({"settings": "lr=3"}, r"metadata\['settings'\] is 'lr=3', expected a dict"),
        ({"training": None}, r"metadata\['training'\] is None, expected a dict"),
        ({"model": nn.Linear}, r"metadata\['model'\] cannot be stored: .* not JSON serializable"),
        ({"loss": float("nan")}, r"metadata\['loss'\] cannot be stored"),
    ],
)
def test_metadata_that_could_not_be_read_again_are_refused_at_the_start(path, about, text):
    with pytest.raises(DeviError, match=text):
        Recorder(path, metadata=about)
    assert not path.exists()


def test_a_loop_may_change_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    model = nn.Linear(2, 2)
    with Recorder("run", state={}, notice=quiet, segment_bytes=1000) as record:
        record(0, model)
        monkeypatch.chdir("elsewhere")
        for step in range(1, 30):
            record(step, model)
        record.keep(29, model)
        with pytest.raises(DeviError, match="^run: step 3 was recorded after step 29"):
            record(3, model)
    monkeypatch.chdir(tmp_path)
    with Recorder("run", state={}, resume=True, notice=quiet) as record:
        monkeypatch.chdir("elsewhere")
        assert record.restore(model) == 29
        record(29, model)
        record(30, model)
    assert open_run(tmp_path / "run").steps.tolist() == list(range(31))
    assert not list(tmp_path.glob("run/writer.lock"))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_objects_without_a_state_are_refused_by_name(path):
    with pytest.raises(DeviError, match=r"state\['schedule'\] is a function"):
        Recorder(path, state={"schedule": lambda step: step})


def test_a_shape_that_differs_from_the_task_is_told_with_the_setting(path):
    train(path, 3)
    with pytest.raises(DeviError, match=r"step 0 has weight '0.weight' of shape \(4, 2\); .* expects \(6, 2\)"):
        open_run(path, Line(width=6)).model_at(0)


def test_a_model_that_is_not_the_tasks_is_told_at_the_first_record(path):
    told = []
    with Recorder(path, Line(), state={}, notice=told.append) as record:
        record(0, nn.Linear(2, 2))
        assert len(told) == 1
        record(1, nn.Linear(2, 2))
    assert "the run has 'weight', the task 'line' has not" in told[0]
    assert "Give Recorder the task of this very model." in told[0]
    assert len(told) == 1


def test_an_averaged_model_is_told_how_what_it_holds_is_recorded(path):
    averaged = torch.optim.swa_utils.AveragedModel(Line().model())
    with Recorder(path, Line(), state={}, notice=quiet) as record:
        record(0, averaged)
    assert (
        "of this very model. Of an AveragedModel, record what it holds: record(step, averaged.module)."
        in (record.notices[0])
    )
    with Recorder(path.with_name("held"), Line(), state={}, notice=quiet) as record:
        record(0, averaged.module)
    assert not record.notices


def test_a_model_of_other_settings_than_the_tasks_is_told_with_the_setting(path):
    with Recorder(path, Line(), state={}, notice=quiet) as record:
        record(0, Line(width=5).model())
    assert "'0.weight' of shape (5, 2)" in record.notices[0]
    assert "expects (4, 2). Was the run made with width=5?" in record.notices[0]


def test_to_compare_the_models_takes_no_memory_for_a_second_one(path):
    """A model of 40 GB is built to be compared, of shapes alone."""

    class Large(Line):
        def model(self):
            return nn.Linear(100_000, 100_000, bias=False)

    with Recorder(path, Large(), state={}, notice=quiet) as record:
        record(0, nn.Linear(2, 2, bias=False))
    assert "'weight' of shape (2, 2)" in record.notices[0]
    assert "(100000, 100000)" in record.notices[0]


def test_a_task_that_looks_at_values_while_it_builds_is_compared_all_the_same(path):
    class Looking(Line):
        def model(self):
            model = super().model()
            assert all(float(each.detach().sum()) < 1e9 for each in model.parameters())
            return model

    with Recorder(path, Looking(), state={}, notice=quiet) as record:
        record(0, Line().model())
        record(1, Line().model())
    assert record.notices == []


def test_a_task_whose_model_fails_is_told_and_the_run_recorded(path):
    class Broken(Line):
        def model(self):
            raise KeyError("layers")

    with Recorder(path, Broken(), state={}, notice=quiet) as record:
        record(0, nn.Linear(2, 2))
    assert "task Broken: model() failed with KeyError" in record.notices[0]
    assert len(open_run(path)) == 1


def test_a_stored_task_name_is_never_imported(path):
    train(path, 3)
    with pytest.raises(DeviError, match=r"names the task '[Ll]ine', which is not built in.*--task"):
        _ = open_run(path).task


def test_a_folder_without_checkpoints_says_what_was_found(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DeviError, match=r"holds no checkpoints: .* found 1 entries \(a.txt\)"):
        open_run(tmp_path)
