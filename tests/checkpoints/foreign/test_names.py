"""Names of the file and of the model: prefixes, renames, and the words where they do not match."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from devi import DeviError
from devi.checkpoints.foreign.names import Rename, Wanted, is_same_network, missing, parsed_renames, prefix_of, renamed

WANTED = [Wanted(("0.weight",), (2, 3)), Wanted(("0.bias",), (2,))]


def tensors(*names, shape=(2, 3)):
    return {name: torch.zeros(shape) for name in names}


def test_no_prefix_where_the_names_are_the_models():
    assert prefix_of("f.pt", ["0.weight", "0.bias", "model.0.weight", "model.0.bias"], WANTED) == ""


@pytest.mark.parametrize("prefix", ["net.", "_orig_mod.", "lit.inner.net."])
def test_what_stands_before_every_name_is_the_prefix(prefix):
    assert prefix_of("f.pt", [f"{prefix}0.weight", f"{prefix}0.bias", "optimizer.lr"], WANTED) == prefix


def test_the_prefix_is_cut_at_a_dot_only():
    assert prefix_of("f.pt", ["layer0.weight", "layer0.bias"], WANTED) == ""


def test_of_two_prefixes_the_usual_one_is_meant():
    names = [f"{prefix}.{name}" for prefix in ("ema", "model") for name in ("0.weight", "0.bias")]
    assert prefix_of("f.pt", names, WANTED) == "model."


def test_of_several_prefixes_the_one_of_the_files_before_is_meant():
    names = [f"{prefix}.{name}" for prefix in ("ema", "model") for name in ("0.weight", "0.bias")]
    assert prefix_of("f.pt", names, WANTED, "ema.") == "ema."
    assert prefix_of("f.pt", names, WANTED, "module.ema.") == "ema."


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("model.", "", True), ("module.actor.", "actor.", True), ("actor.", "critic.", False), ("", "actor.", False)],
)
def test_a_wrapper_makes_no_other_network(one, other, same):
    assert is_same_network(one, other) == is_same_network(other, one) == same


def test_the_prefix_of_most_names_is_taken_when_some_are_missing():
    assert prefix_of("f.pt", ["net.0.weight", "other.x"], WANTED) == "net."


def test_tied_tensors_need_one_of_their_names():
    assert prefix_of("f.pt", ["m.head"], [Wanted(("embedding", "head"), (2, 3))]) == "m."


@given(st.lists(st.text(max_size=12), max_size=30))
def test_any_names_have_a_prefix_that_some_name_begins_with(names):
    prefix = prefix_of("f.pt", names, WANTED)
    assert prefix == "" or any(name.startswith(prefix) for name in names)


def test_a_whole_name_and_a_beginning_are_renamed():
    given_ = tensors("fc.w", "encoder.0.bias", "rest")
    renames = [Rename.parsed("fc.w=0.weight"), Rename.parsed("encoder.=")]
    assert list(renamed("f.pt", given_, renames)) == ["0.weight", "0.bias", "rest"]


def test_an_empty_beginning_puts_a_prefix_before_all():
    assert list(renamed("f.pt", tensors("a", "b"), [Rename.parsed("=net.")])) == ["net.a", "net.b"]


def test_two_unusual_prefixes_are_an_error_that_says_what_to_type():
    names = [f"{prefix}.{name}" for prefix in ("ema", "student") for name in ("0.weight", "0.bias")]
    with pytest.raises(DeviError, match=r"^f.pt has every parameter under each of ema\., student\..* --rename ema.="):
        prefix_of("f.pt", names, WANTED)


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        ("W", "has no '='"),
        ("wieght=0.weight", "^f.pt: --rename wieght=0.weight fits no name in it. Did you mean 'weight'"),
        ("weight=bias", "^f.pt: two tensors in it would be called 'bias'"),
    ],
)
def test_a_rename_that_cannot_work_is_told(rename, words):
    with pytest.raises(DeviError, match=words):
        renamed("f.pt", tensors("weight", "bias"), [Rename.parsed(rename)])


def test_a_second_rename_of_the_same_is_refused_and_not_left_without_effect():
    with pytest.raises(DeviError, match=r"^--rename b1=bn\.bias and --rename b1=0\.bias rename the same to two names"):
        parsed_renames(["b1=bn.bias", "w=0.weight", "b1=0.bias"])
    assert parsed_renames(["b1=0.bias", "b1=0.bias"]) == [Rename("b1", "0.bias")] * 2


def test_missing_names_stand_beside_the_nearest_of_their_shape_with_the_line_to_type():
    there = {"fc.weights": torch.zeros(2, 3), "fc.other": torch.zeros(7), "fc.bias_": torch.zeros(2)}
    text = str(missing("f.pt", there, WANTED, 2, "See: devi tasks net"))
    assert "f.pt: 2 of the 2 parameters of the task's model are not in the file." in text
    assert "  0.weight (2, 3)       fc.weights (2, 3)\n  0.bias (2,)           fc.bias_ (2,)\n" in text
    assert "--rename fc.weights=0.weight --rename fc.bias_=0.bias" in text
    assert text.endswith("See: devi tasks net")


def test_one_rename_is_suggested_where_it_does_for_all():
    text = str(missing("f.pt", {"enc.w": torch.zeros(2, 3), "enc.b": torch.zeros(2)},
                       [Wanted(("model.w",), (2, 3)), Wanted(("model.b",), (2,))], 2, ""))  # fmt: skip
    assert "If those are the same: --rename enc.=model.\n" in text


def test_the_suggested_renames_lead_to_the_models_names():
    wanted = [Wanted((f"blocks.{i}.{name}",), (i + 1, 2)) for i in range(3) for name in ("W", "V")]
    there = {f"h.{i}.{name}": torch.zeros(i + 1, 2) for i in range(3) for name in ("w", "v")}
    text = str(missing("f.pt", there, wanted, 6, ""))
    renames = [Rename.parsed(part) for part in text.split("the same: ")[1].split("\n")[0].split("--rename ")[1:]]
    assert set(renamed("f.pt", there, [Rename(r.old, r.new.strip()) for r in renames])) == {
        one.names[0] for one in wanted
    }


def test_a_long_list_of_missing_names_is_cut():
    wanted = [Wanted((f"x{number}",), (number + 5,)) for number in range(200)]
    text = str(missing("f.pt", {}, wanted, 200, ""))
    assert "and 190 more" in text
    assert len(text.splitlines()) < 16


def test_a_name_in_the_file_may_have_an_equals_sign():
    rename = Rename("d=b", "2.bias")
    assert Rename.parsed("d=b=2.bias") == rename
    assert renamed("f.pt", tensors("d=b"), [rename]).keys() == {"2.bias"}


def test_a_rename_need_not_fit_where_the_names_are_the_new_ones_already():
    for rename in ("critic.=net.", "critic.w=net.w"):
        assert list(renamed("f.pt", tensors("net.w"), [Rename.parsed(rename)])) == ["net.w"]
    with pytest.raises(DeviError, match="fits no name in it"):
        renamed("f.pt", tensors("net.w"), [Rename.parsed("critic.=")])
