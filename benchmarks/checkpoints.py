"""How long a checkpoint takes to write and to read, beside two usual ways: python benchmarks/checkpoints.py [--write]

A model of float32 parameters and one scalar is kept at every step: by devi without `state`, by devi with the state of
Adam (the run can then be resumed), by torch.save into one file a step, and by h5py into one resizable dataset a
parameter. Each round does all four in new folders, beginning with another one.

Writing is the time of the loop, without opening and closing; reading is opening what was written and copying every
parameter of every checkpoint into memory. devi hashes each record on both ways and fsyncs; the others do neither.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from tables import put_table
from torch import nn

from devi import Recorder, open_run

ROUNDS = 6
CHUNK_BYTES = 1 << 16  # of an h5py dataset; the size h5py guesses by itself is several times slower for large ones
# layer widths and the number of checkpoints: 18, about 10,000 and about 230,000 parameters
CASES = [((5, 2, 2), 1000), ((64, 100, 32), 500), ((256, 384, 256, 128), 100)]


class Devi:
    def __init__(self, folder: Path, model: nn.Module, state: dict[str, Any] | None) -> None:
        self.folder = folder
        self.recorder = Recorder(folder, state=state, notice=lambda text: None)
        self.recorder(-1, model, loss=0.5)  # the layout is made at the first record

    def write(self, step: int, model: nn.Module) -> None:
        self.recorder(step, model, loss=0.5)

    def close(self) -> None:
        self.recorder.close()

    def read(self) -> dict[str, np.ndarray]:
        return {name: np.array(values) for name, values in open_run(self.folder).parameters(slice(1, None)).items()}


class TorchSave:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def write(self, step: int, model: nn.Module) -> None:
        torch.save({"model": model.state_dict(), "loss": 0.5}, self.folder / f"{step:06d}.pt")

    def close(self) -> None:
        pass

    def read(self) -> dict[str, np.ndarray]:
        states = [torch.load(path, weights_only=True)["model"] for path in sorted(self.folder.iterdir())]
        return {name: np.stack([state[name].numpy() for state in states]) for name in states[0]}


class Append:
    def __init__(self, folder: Path, model: nn.Module) -> None:
        folder.mkdir()
        self.path = folder / "run.h5"
        self.file = h5py.File(self.path, "w")
        for name, tensor in model.state_dict().items():
            shape, several = tuple(tensor.shape), max(1, CHUNK_BYTES // tensor.nbytes)
            self.file.create_dataset(name, (0, *shape), "f4", maxshape=(None, *shape), chunks=(several, *shape))
        self.file.create_dataset("loss", (0,), "f8", maxshape=(None,))

    def write(self, step: int, model: nn.Module) -> None:
        for name, tensor in model.state_dict().items():
            self._append(name, step, tensor.numpy())
        self._append("loss", step, 0.5)

    def _append(self, name: str, step: int, value: Any) -> None:
        dataset = self.file[name]
        dataset.resize(step + 1, axis=0)
        dataset[step] = value

    def close(self) -> None:
        self.file.close()

    def read(self) -> dict[str, np.ndarray]:
        with h5py.File(self.path) as file:
            return {name: dataset[:] for name, dataset in file.items() if name != "loss"}


def measured(way: Any, model: nn.Module, count: int) -> tuple[float, float]:
    """µs per checkpoint written and read; what was read is checked against the model."""
    began = time.perf_counter()
    for step in range(count):
        way.write(step, model)
    written = time.perf_counter() - began
    way.close()
    began = time.perf_counter()
    values = way.read()
    read = time.perf_counter() - began
    for name, tensor in model.state_dict().items():
        assert values[name].shape == (count, *tensor.shape)
        assert np.array_equal(values[name][count // 2], tensor.numpy())
    return 1e6 * written / count, 1e6 * read / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    rows = []
    for widths, count in CASES:
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        model = nn.Sequential(*layers)
        optimizer = torch.optim.Adam(model.parameters())
        sum(parameter.sum() for parameter in model.parameters()).backward()
        optimizer.step()
        ways: dict[str, Callable[[Path], Any]] = {
            "torch.save, a file a step": lambda folder: TorchSave(folder),
            "h5py, a dataset a parameter": lambda folder, model=model: Append(folder, model),
            "devi": lambda folder, model=model: Devi(folder, model, None),
            "devi, with Adam's state": lambda folder, model=model, o=optimizer: Devi(folder, model, {"optimizer": o}),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for round_ in range(ROUNDS + 1):
            names = list(ways)
            for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
                with tempfile.TemporaryDirectory() as scratch:
                    found = measured(ways[name](Path(scratch) / "run"), model, count)
                if round_ > 0:  # the first one warms the caches
                    times[name].append(found)
        number = sum(parameter.numel() for parameter in model.parameters())
        base = np.median(times["torch.save, a file a step"], axis=0)
        for name, pairs in times.items():
            (write, read), low, high = np.median(pairs, axis=0), np.min(pairs, axis=0), np.max(pairs, axis=0)
            rows.append(
                [
                    f"{number:,}",
                    name,
                    f"{write:.0f} ({low[0]:.0f} to {high[0]:.0f})",
                    f"{write / base[0]:.2f}",
                    f"{read:.1f} ({low[1]:.1f} to {high[1]:.1f})",
                    f"{read / base[1]:.3f}",
                ]
            )
    header = ["parameters", "way", "write, µs", "× torch.save", "read, µs", "× torch.save"]
    for row in (header, *rows):
        print(*row, sep=" | ")
    if options.write:
        note = (
            f"µs per checkpoint: median of {ROUNDS} rounds, with minimum and maximum; load {load:.1f} at the start."
            " devi hashes every record, writing and reading, and fsyncs every few seconds; the others do neither."
        )
        put_table("checkpoints", header, rows, note)


if __name__ == "__main__":
    main()
