"""Names: those of a foreign checkpoint matched with the model's, and the words where they do not match."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from devi.errors import DeviError, shown

Shape = tuple[int, ...]

MOST_SHOWN = 10
MOST_COMPARED = 300  # names of the file that one missing name is compared with
# Where a state with all names stands under several prefixes, the network itself is meant, not an average of it.
USUAL_PREFIXES = ("", "model.", "module.", "_orig_mod.", "net.", "network.", "state_dict.")


class Wanted(NamedTuple):
    """One tensor of the model. Tied tensors have several names; one of them is enough."""

    names: tuple[str, ...]
    shape: Shape


class Rename(NamedTuple):
    """'old=new': a whole name; or, if it ends with a dot or is empty, how names begin."""

    old: str
    new: str

    @classmethod
    def parsed(cls, text: str) -> Rename:
        old, equals, new = text.rpartition("=")  # the last one: strangers put more into names than models do
        if not equals:
            raise DeviError(
                f"--rename {text!r} has no '='. Expected 'old=new', e.g. --rename 'fc.weight=W'; for the beginnings of"
                " names, which end with a dot: --rename 'encoder.=model.'"
            )
        return cls(old.strip(), new.strip())

    @property
    def is_prefix(self) -> bool:
        return not self.old or self.old.endswith(".")

    def fits(self, name: str) -> bool:
        return name.startswith(self.old) if self.is_prefix else name == self.old

    def gives(self, name: str) -> bool:
        """Whether it could have made this name: in some files of a run the names may be the new ones already."""
        return bool(self.new) and (name.startswith(self.new) if self.is_prefix else name == self.new)

    def __str__(self) -> str:
        return f"--rename {shlex.quote(f'{self.old}={self.new}')}"


def parsed_renames(texts: Iterable[str]) -> list[Rename]:
    """Raises DeviError for two that give the same names other ones: the later would be without effect."""
    renames: list[Rename] = []
    for rename in map(Rename.parsed, texts):
        other = next((one for one in renames if one.old == rename.old and one.new != rename.new), None)
        if other is not None:
            raise DeviError(f"{other} and {rename} rename the same to two names. Leave one of them out.")
        renames.append(rename)
    return renames


def renamed(place: object, tensors: Mapping[str, Tensor], renames: Sequence[Rename]) -> dict[str, Tensor]:
    """Each name after the first rename that fits it.

    Raises DeviError if one fits none, and what it would give is not there either, or if two names become one.
    """
    for rename in renames:
        if not any(map(rename.fits, tensors)) and not any(map(rename.gives, tensors)):
            near = difflib.get_close_matches(rename.old, list(tensors)[:MOST_COMPARED], n=1, cutoff=0)
            raise DeviError(
                f"{place}: {rename} fits no name in it. Did you mean '{shown(near[0]) if near else ''}'?"
                f" It has: {_list(tensors)}."
            )
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        fitting = [rename for rename in renames if rename.fits(name)]
        new = fitting[0].new + name[len(fitting[0].old) :] if fitting else name
        if new in result:
            raise DeviError(
                f"{place}: two tensors in it would be called '{shown(new)}' by --rename. Give one another name."
            )
        result[new] = tensor
    return result


def prefix_of(place: object, names: Iterable[str], wanted: Sequence[Wanted], before: str | None = None) -> str:
    """What stands before the wanted names in the file, '' or 'model.': what does so before most of them.

    before   what did in the files before it; of several prefixes that one is meant
    Raises DeviError where several do before all of them, none of them did before and none is usual.
    """
    of = {name: index for index, one in enumerate(wanted) for name in one.names}
    found: dict[str, set[int]] = {"": set()}
    for name in names:
        start = 0
        while start < len(name):
            if name[start:] in of:
                found.setdefault(name[:start], set()).add(of[name[start:]])
            start = name.find(".", start) + 1 or len(name)
    most = max(map(len, found.values()))
    best = [prefix for prefix, indices in found.items() if len(indices) == most]
    if before in best:
        return before
    if before is not None:
        best = [prefix for prefix in best if is_same_network(prefix, before)] or best
    usual = [prefix for prefix in USUAL_PREFIXES if prefix in best]
    if not usual and len(best) > 1 and most == len(wanted):
        raise DeviError(
            f"{place} has every parameter under each of {_list(best)}; which is meant cannot be told."
            f" Say it: {Rename(best[0], '')}"
        )
    return [*usual, *best][0]


def is_same_network(one: str, other: str) -> bool:
    """Whether two prefixes differ by nothing but the usual ones, which say how a network was wrapped and not which."""
    usual = {prefix.removesuffix(".") for prefix in USUAL_PREFIXES}
    ours, theirs = ([part for part in prefix.split(".") if part not in usual] for prefix in (one, other))
    return ours == theirs


def other_prefix(place: object, prefix: str, first: object, before: str) -> DeviError:
    """The error for a file that has the parameters under another prefix than the first one had."""
    # '=model.' would stand before the names of all files, and 'critic.=' fit none in those before
    say = f": {Rename(prefix, before)}" if prefix and before else ", save all with the same names."
    return DeviError(
        f"{place} has the parameters under {_under(prefix)}, and {first} under {_under(before)}: they may be two"
        " networks, of which one run holds one. Move the files of one of them into a folder of their own; or, if they"
        f" are the same{say}"
    )


def _under(prefix: str) -> str:
    return f"'{shown(prefix)}'" if prefix else "their own names"


def missing(path: object, unused: Mapping[str, Tensor], lacking: Sequence[Wanted], total: int, hint: str) -> DeviError:
    """The error for parameters that the file lacks, each beside the nearest of the names that are not used yet."""
    free = {name: tuple(tensor.shape) for name, tensor in unused.items()}
    rows, pairs = [("the task's model has", "nearest in the file")], []
    for one in lacking[:MOST_SHOWN]:
        near = _nearest(one, free)
        rows.append((_told(one.names[0], one.shape), "-" if near is None else _told(near, free[near])))
        if near is not None and free.pop(near) == one.shape:
            pairs.append((near, one.names[0]))
    width = max(len(left) for left, _ in rows)
    table = "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)
    more = f"\n  and {len(lacking) - MOST_SHOWN} more" if len(lacking) > MOST_SHOWN else ""
    say = f"\nIf those are the same: {' '.join(map(str, _renames(pairs)))}" if pairs else ""
    return DeviError(
        f"{path}: {len(lacking)} of the {total} parameters of the task's model are not in the file.\n{table}{more}{say}"
        f"\nElse the task's model is another one. {hint}"
    )


def _nearest(one: Wanted, there: Mapping[str, Shape]) -> str | None:
    """The name most alike among those of the same shape, else among all if it is much alike."""
    same = [name for name, shape in there.items() if shape == one.shape]
    pool, least = (same, 0.0) if same else (list(there), 0.5)
    scored = [
        (difflib.SequenceMatcher(None, one.names[0][-80:], name[-80:]).ratio(), name) for name in pool[:MOST_COMPARED]
    ]
    best = max(scored, default=(-1.0, ""), key=lambda pair: pair[0])
    return best[1] if best[0] >= least else None


def _renames(pairs: list[tuple[str, str]]) -> list[Rename]:
    """One rename of the beginning if that does it for all pairs, else one a pair."""
    beginnings = set()
    for old, new in pairs:
        tail = new
        while tail and not old.endswith(tail):
            tail = tail.partition(".")[2]
        beginnings.add(Rename(old.removesuffix(tail), new.removesuffix(tail)))
    if len(pairs) > 1 and len(beginnings) == 1 and all(rename.is_prefix for rename in beginnings):
        return list(beginnings)
    return [Rename(old, new) for old, new in pairs]


def _told(name: str, shape: Shape) -> str:
    return f"{shown(name)} {shape}"


def _list(names: Iterable[str]) -> str:
    each = list(names)
    some = ", ".join(shown(name) for name in each[:MOST_SHOWN])
    return some + (f" and {len(each) - MOST_SHOWN} more" if len(each) > MOST_SHOWN else "")
