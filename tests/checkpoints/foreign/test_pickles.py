"""Pickles are looked through without being carried out."""

import argparse
import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from devi.checkpoints.foreign.pickles import MOST_NESTED, Unreadable, objects_named_in


def description(content):
    file = io.BytesIO()
    torch.save(content, file)
    with zipfile.ZipFile(file) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


@pytest.mark.parametrize(
    "content",
    [
        {"W": torch.zeros(2, 3), "n": 1, "text": "x", "list": [1.5, None, True]},
        OrderedDict(W=torch.nn.Parameter(torch.zeros(2)), b=torch.zeros(2, dtype=torch.bfloat16)),
        {"a": {1, 2}, "z": 1j, "size": torch.Size([2]), "dtype": torch.float16, "bytes": b"xyz"},
    ],
)
def test_state_dicts_name_no_objects(content):
    assert objects_named_in(description(content)) == []


def test_an_optimizers_state_names_no_objects():
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    assert objects_named_in(description([model.state_dict(), optimizer.state_dict(), scheduler.state_dict()])) == []


def test_objects_are_named_as_python_names_them():
    named = objects_named_in(description({"args": argparse.Namespace(a=1), "best": np.float64(1.0)}))
    assert "argparse.Namespace" in named
    assert any("multiarray.scalar" in name for name in named)


def test_nothing_is_carried_out(tmp_path):
    class Touch:
        def __reduce__(self):
            return open, (str(tmp_path / "harmed"), "w")

    assert objects_named_in(pickle.dumps(Touch(), protocol=2)) != []
    assert not (tmp_path / "harmed").exists()


def test_every_object_that_torch_would_refuse_is_named_here_too():
    for content in ({"a": argparse.Namespace()}, {"p": io.StringIO}, {"m": torch.nn.Linear(1, 1)}):
        file = io.BytesIO()
        torch.save(content, file)
        file.seek(0)
        with pytest.raises(pickle.UnpicklingError):
            torch.load(file, weights_only=True)
        assert objects_named_in(description(content))


def test_tuples_may_be_nested_a_little_and_not_much():
    deep = ()
    for _ in range(MOST_NESTED - 1):
        deep = (deep,)
    assert objects_named_in(pickle.dumps(deep, protocol=2)) == []
    with pytest.raises(Unreadable, match="nested more than 100 deep"):
        objects_named_in(pickle.dumps(((deep,),), protocol=2))


@given(st.binary(max_size=300))
def test_any_bytes_are_looked_through_or_unreadable(data):
    try:
        told = objects_named_in(data)
    except Unreadable as why:
        told = [str(why)]
    assert all(told)


@given(st.recursive(st.none() | st.integers() | st.text() | st.floats(), lambda x: st.lists(x) | st.dictionaries(
    st.text(), x) | st.tuples(x, x)))  # fmt: skip
def test_plain_values_name_nothing(value):
    assert objects_named_in(pickle.dumps(value, protocol=2)) == []


def test_an_older_protocol_is_unreadable_where_it_names_functions_in_another_way():
    with pytest.raises(Unreadable, match="STACK_GLOBAL"):
        objects_named_in(pickle.dumps(argparse.Namespace(), protocol=4))
