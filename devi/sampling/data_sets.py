"""Data sets by name: a split of the task, or what a function of the user's own returns.

train · test             a split of the task
file.py:name · pkg.mod:name   a function without arguments that returns a devi.Batch
"""

from __future__ import annotations

from devi.contract import examples
from devi.errors import DeviError, Unsuitable, unknown_name
from devi.plugins import load_function
from devi.task import Batch, Task

SPLITS = ("train", "test")


def data_set(task: Task, name: str) -> Batch:
    """The examples of that name. Raises DeviError if there are none, or if what there is is no Batch."""
    if ":" in name:
        return own_data_set(name)
    if name not in SPLITS:
        raise DeviError(f"{unknown_name('split', name, SPLITS)} A data set of your own: file.py:name.")
    batch = examples(task, "test" if name == "test" else "train")
    if batch is None:
        raise Unsuitable(
            f"task {type(task).__name__}: data('{name}') has no examples, and the learning coefficient is"
            f" defined by them; return a Batch(inputs, targets) from it."
        )
    return batch


def described(name: str, examples: int) -> str:
    """The data set as a reason says it: '1000 training examples', '500 examples of far.py:shifted'."""
    words = {"train": "training examples", "test": "test examples"}
    return f"{examples} {words.get(name, f'examples of {name}')}"


def own_data_set(name: str) -> Batch:
    """What the user's function returns, checked."""
    made = load_function(name)()
    if not (isinstance(made, tuple) and len(made) == 2 and all(hasattr(part, "shape") for part in made)):
        raise DeviError(
            f"{name}() returned a {type(made).__name__}; expected a devi.Batch(inputs, targets) of two tensors."
        )
    batch = Batch(*made)
    if not len(batch.targets) or len(batch.inputs) != len(batch.targets):
        raise DeviError(
            f"{name}() returned {len(batch.inputs)} inputs and {len(batch.targets)} targets; expected as many of"
            f" one as of the other, and at least one."
        )
    return batch
