"""How much faster could a sampler's step be with the same operations? python benchmarks/sampling_limit.py [--write]

Every operation of torch in one step of a group of replicas is caught with the tensors that it was given, and done again
by itself, over and over, so that its operands are in the cache and nothing else is: what it takes then is the least it
takes here. The whole step is timed beside it, on one thread as sampling runs (a group of replicas a thread).

products        matrix products;  at the peak: as many multiplications and additions at the rate of the fastest square
                product on one thread
softmax, GELU   exponentials and the like, which a processor has no instruction for
rest            gathering, adding, noise: passes over memory; views, which pass over none, count as nothing
between         the step less all of these: Python, torch's dispatch, operands that have left the cache
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from roofline import best
from sampling_cases import ROWS, Row
from sampling_profile import chunk_of
from tables import put_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ROUNDS, STEPPED, CALLED = 5, 0.2, 1e-3  # seconds of a round: of steps, of one call
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "dot")
CURVED = ("exp", "log", "softmax", "gelu", "tanh", "erf", "sigmoid", "sqrt", "rsqrt", "logsumexp")
HEADER = (
    "row", "replicas", "step, µs", "products", "at the peak", "softmax, GELU", "rest", "between",
    "× if nothing were between", "× if products ran at the peak too",
)  # fmt: skip
Call = Callable[[], object]


class Caught(TorchDispatchMode):
    """Keeps every operation with its operands."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Call, Call, float]] = []  # name, the call, its operands anew, operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        own, own_named = tree_map(_copied, (args, kwargs or {}))  # before it works in place on one of them
        made = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not func.is_view:
            operations = 0.0
            if name.strip("_") in PRODUCTS:
                factors = [each for each in args if isinstance(each, torch.Tensor)][-2:]
                operations = 2.0 * factors[0].numel() * factors[1].shape[-1]
            written = [each for each in tree_leaves((own if name.endswith("_") else (), own_named)) if _is_own(each)]
            kept = [each.clone() for each in written]

            def anew() -> None:
                for one, other in zip(written, kept, strict=True):
                    one.copy_(other)

            self.calls.append((name, lambda: func(*own, **own_named), anew, operations))
        return made


def _copied(thing: Any) -> Any:
    """A tensor of its own with the same strides: what works in place must not change what the others are given."""
    if not _is_own(thing):
        return thing
    return torch.empty_strided(thing.size(), thing.stride(), dtype=thing.dtype).copy_(thing)


def _is_own(thing: Any) -> bool:
    return isinstance(thing, torch.Tensor) and 0 not in thing.stride()


def rate(sizes: tuple[int, ...] = (128, 256, 512, 1024)) -> float:
    """Operations/s of the fastest float32 product, one thread."""
    found = []
    for size in sizes:
        one, other, out = (torch.randn(size, size) for _ in range(3))
        found.append(2 * size**3 / best(lambda a=one, b=other, c=out: torch.mm(a, b, out=c)))
    return max(found)


def alone(call: Call, anew: Call) -> float:
    """Seconds of a call at its quickest, on the same values each time: exponentials of exponentials end as infinity,
    which takes longer."""

    def both() -> None:
        anew()
        call()

    return max(min(seconds(both, CALLED)) - min(seconds(anew, CALLED)), 0.0)


def seconds(action: Call, each: float) -> list[float]:
    """What `action` takes, in several rounds of about `each` seconds."""
    action()
    began = time.perf_counter()
    action()
    times = max(1, int(each / max(time.perf_counter() - began, 1e-7)))
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            action()
        found.append((time.perf_counter() - began) / times)
    return found


def measured(name: str, row: Row, folder: Path, top: float) -> list[str]:
    posterior, chunk = chunk_of(row, folder)
    replicas = len(chunk.center)
    step = float(np.median(seconds(lambda: chunk._step(posterior), STEPPED)))
    with torch.no_grad(), Caught() as caught:
        chunk._step(posterior)
    taken = {"products": 0.0, "curved": 0.0, "rest": 0.0}
    operations = 0.0
    with torch.no_grad():
        for called, call, anew, count in caught.calls:
            is_curved = any(word in called for word in CURVED)
            kind = "products" if called.strip("_") in PRODUCTS else "curved" if is_curved else "rest"
            taken[kind] += alone(call, anew)
            operations += count
    products, curved, rest = taken.values()
    peak, least_of_all = operations / top, products + curved + rest
    micro = [1e6 * each / replicas for each in (step, products, peak, curved, rest, step - least_of_all)]
    return [
        name, str(replicas), *(f"{each:,.3g}" for each in micro),
        f"{step / least_of_all:.2f}", f"{step / (peak + curved + rest):.2f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    top = rate()
    print(f"fastest product {top / 1e9:.0f} GFLOP/s on one thread")
    print(*HEADER, sep=" | ")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, row in ROWS.items():
            rows.append(measured(name, row, Path(scratch), top))
            print(*rows[-1], sep=" | ", flush=True)
    if options.write:
        put_table(
            "sampling limit", HEADER, rows,
            f"µs of one replica's step on one thread, median of {ROUNDS} rounds; its operations alone at their"
            f" quickest. The fastest product runs at {top / 1e9:.0f} GFLOP/s on one thread. Noise, update and gradient;"
            " without the sums of visited draws.",
        )  # fmt: skip


if __name__ == "__main__":
    main()
