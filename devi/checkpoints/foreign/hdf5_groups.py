"""Groups: those of an HDF5 file of which each is one step's, and which step that is.

ck1.attrs["step"] = 100                                       an attribute of each group says it
step_0/W (2, 6)   step_0/optimizer/step (2,)   step_100/W …   else a word in its name does
ck1/W (2, 6)      ck1/step ()                  ck2/W …        else a number in the group
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import h5py
import numpy as np

from devi.checkpoints.foreign.source import as_step
from devi.checkpoints.foreign.steps import steps_by_name, steps_said

STEP_NAMES = ("global_step", "step", "steps")
_ONE_STEP = re.compile(r"[0-9]+|.*(step|iter|checkpoint|ckpt).*[0-9].*", re.I)  # a group that is the only step's

Datasets = Mapping[str, h5py.h5d.DatasetID]


def read_dataset(dataset: h5py.h5d.DatasetID) -> np.ndarray:
    """A dataset in the machine's byte order."""
    values = np.empty(dataset.shape, dataset.dtype.newbyteorder("="))
    if values.size:
        space = dataset.get_space()
        dataset.read(space, space, values)
    return values


def axes(found: Datasets) -> list[str]:
    """The datasets that could say which step each row is of: none that stands in a group of one step, as Adam's do."""
    named = [name for name in found if name.rpartition("/")[2] in STEP_NAMES and len(found[name].shape) == 1]
    if len(named) > 1 and all("/" in name and found[name].shape == (1,) for name in named):
        return []  # one number a group
    inside: dict[str, set[str]] = {}  # by group, 'runs/a/': what stands in it
    lengths: dict[str, set[tuple[int, ...]]] = {}  # by group: the first axes of all datasets in and below it
    for name, dataset in found.items():
        parts = name.split("/")
        for level in range(len(parts)):
            group = "".join(f"{part}/" for part in parts[:level])
            inside.setdefault(group, set()).add(parts[level])
            lengths.setdefault(group, set()).add(dataset.shape[:1])
    steps = {group: sum(step is not None for step in steps_said(list(names))) for group, names in inside.items()}
    return [name for name in named if not _is_of_one_step(name, found[name].shape, steps, lengths)]


def by_group(found: Datasets) -> tuple[str, dict[str, dict[str, h5py.h5d.DatasetID]]]:
    """What the paths of all datasets begin with, 'runs/a/', and they by the part after it: the group of one step."""
    parts = {name: name.split("/") for name in found}
    shared = 0
    while parts and all(len(part) > shared + 2 for part in parts.values()):
        heads = {part[shared] for part in parts.values()}
        if len(heads) > 1 or _ONE_STEP.fullmatch(heads.pop()):
            break
        shared += 1
    groups: dict[str, dict[str, h5py.h5d.DatasetID]] = {}
    for name, dataset in found.items():
        if len(parts[name]) > shared + 1:
            groups.setdefault(parts[name][shared], {})[".".join(parts[name][shared + 1 :])] = dataset
    return "".join(f"{part}/" for part in next(iter(parts.values()), [])[:shared]), groups


def steps_of(file: h5py.h5f.FileID, above: str, groups: Mapping[str, Datasets]) -> list[int | None]:
    """The attribute 'step' if every group has one; else as of files: after the word in the name, else the number in the
    group, else that in its name.

    above  what `by_group` gave with the groups
    """
    names = list(groups)
    attributes = [
        _attribute(h5py.h5g.open(file, f"{above}{name}".encode("utf-8", "surrogateescape"))) for name in names
    ]
    if None not in attributes:
        return attributes
    said = steps_said(names)
    steps = [_stated(groups[name]) if step is None else step for name, step in zip(names, said, strict=True)]
    return steps_by_name(names) if steps == said else steps


def _stated(group: Datasets) -> int | None:
    """The whole number that a group has beside its parameters."""
    for name in STEP_NAMES:
        if name in group and group[name].shape in ((), (1,)):
            value = read_dataset(group[name]).reshape(-1)[0]
            step = as_step(int(value)) if isinstance(value, np.integer) else None
            if step is not None:
                return step
    return None


def _attribute(group: h5py.h5g.GroupID) -> int | None:
    """The whole number that stands on a group itself."""
    for name in STEP_NAMES:
        if h5py.h5a.exists(group, name.encode()):
            attribute = h5py.h5a.open(group, name.encode())
            if attribute.shape in ((), (1,)) and attribute.get_type().get_class() == h5py.h5t.INTEGER:
                value = np.empty(attribute.shape, attribute.dtype)
                attribute.read(value)
                return as_step(int(value.reshape(-1)[0]))
    return None


def _is_of_one_step(
    name: str, shape: tuple[int, ...], steps: Mapping[str, int], lengths: Mapping[str, set[tuple[int, ...]]]
) -> bool:
    """Whether it stands in a group whose name says a step, of which there are several, or that holds no rows."""
    parts = name.split("/")[:-1]
    level = next((level for level, step in enumerate(steps_said(parts)) if step is not None), None)
    if level is None:
        return False
    above = "".join(f"{part}/" for part in parts[:level])
    # 'checkpoints_2024/steps' beside rows of as many steps says them all
    return steps[above] > 1 or shape == (1,) or lengths[f"{above}{parts[level]}/"] != {shape}
