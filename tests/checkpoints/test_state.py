"""State: what a resume slot cannot hold is refused, or told, by the name of what holds it."""

import random
import re

import numpy as np
import pytest
import torch
from torch import nn

from devi import DeviError, Recorder, open_run


class Holder:
    """An object with a state."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return {"v": self.state}

    def load_state_dict(self, state):
        self.state = state["v"]


class Masked(torch.Tensor):
    """A tensor that keeps its values to itself."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError(".numpy() is not supported for tensor subclasses.")


def cyclic():
    items = [1]
    items.append(items)
    return items


def nested(levels):
    items = []
    for _ in range(levels):
        items = [items]
    return items


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (cyclic, "state['mine'] is nested without end or too deep, so that a resume slot cannot hold it. Does a list"),
        (lambda: [10**5000], "state['mine']['v'][0] is a whole number of 16,610 bits, which a resume slot cannot hold"),
        (lambda: np.ones(2, np.longdouble), f"state['mine']['v'] is an array of {np.dtype(np.longdouble)}, which"),
        (lambda: np.clongdouble(1), f"state['mine']['v'] is an array of {np.dtype(np.clongdouble)}, which a resume"),
        (lambda: np.array(["word"]), "state['mine']['v'] is an array of <U4, which a resume slot cannot hold."),
        (lambda: torch.ones(2).as_subclass(Masked), "state['mine']['v'] is a tensor without plain values (a Masked)"),
        (lambda: torch.zeros([1] * 33), "state['mine']['v'] has 33 axes; a file holds at most 32"),
        (lambda: {1, 2}, "state['mine']['v'] is a builtins.set, which a resume slot cannot hold"),
    ],
    ids=["cyclic", "digits", "longdouble", "clongdouble", "text", "subclass", "axes", "set"],
)
def test_what_a_slot_cannot_hold_is_refused_by_its_place(tmp_path, make, text):
    record = Recorder(tmp_path / "run", state={"mine": Holder(make())}, notice=lambda text: None)
    with record, pytest.raises(DeviError, match=re.escape(text)):
        record(0, nn.Linear(2, 2))


def test_a_generator_without_a_state_is_refused_before_training_begins(tmp_path):
    with pytest.raises(DeviError, match=r"state\['luck'\] is a SystemRandom, whose state cannot be kept: expected"):
        Recorder(tmp_path / "run", state={"luck": random.SystemRandom()})


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (nested(90), "state['mine'] is nested too deep: give it in fewer levels, or leave it out."),
        (nested(300), "state['mine'] is nested too deep: give it in fewer levels, or leave it out."),
        ("a\ud800", "state['mine'] holds text with half of a surrogate pair: give it as bytes, or leave it out."),
        ({"a\ud800": 1}, "state['mine'] holds text with half of a surrogate pair: give it as bytes"),
    ],
    ids=["deep", "deeper", "text", "key"],
)
def test_what_the_reader_of_a_slot_would_refuse_is_told_by_its_name_and_recording_goes_on(tmp_path, state, text):
    notices, objects = [], {"mine": Holder(state), "other": Holder([0.5])}
    with Recorder(tmp_path / "run", state=objects, notice=notices.append) as record:
        for step in range(3):
            record(step, nn.Linear(2, 2))
            record.keep(step, nn.Linear(2, 2))
    [notice] = notices
    assert "does not fit into a resume slot" in notice
    assert text in notice
    assert "Most of it" not in notice
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2]
