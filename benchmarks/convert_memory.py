"""How much memory a conversion takes: python benchmarks/convert_memory.py [--write] [--parameters 100_000_000]

Three checkpoints of a model are written in each of the forms that `devi convert` reads, and converted in a process of
its own. What counts is that process's peak resident memory, mapped files included, less the peak of converting a model
of a few parameters in the same form; in copies of the checkpoint's parameters. Goal: under 3.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import torch
from safetensors.torch import save_file
from tables import put_table
from torch import Tensor, nn

from devi import Batch, Task

STEPS = (0, 10, 20)
LAYERS = 4


@dataclass(frozen=True)
class Wide(Task):
    """A stack of square linear maps without bias."""

    width: int = 8

    def model(self) -> nn.Module:
        return nn.Sequential(*(nn.Linear(self.width, self.width, bias=False) for _ in range(LAYERS)))

    def data(self, split: str) -> Batch:
        return Batch(torch.zeros(1, self.width), torch.zeros(1, self.width))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(-1)


def state(width: int, step: int) -> dict[str, Tensor]:
    return {f"{layer}.weight": torch.full((width, width), float(step)) for layer in range(LAYERS)}


def as_pt(folder: Path, width: int) -> Path:
    for step in STEPS:
        torch.save(state(width, step), folder / f"step_{step}.pt")
    return folder


def as_lightning(folder: Path, width: int) -> Path:
    """With Adam's two moments beside the weights, as trainers write it."""
    for step in STEPS:
        moments = {i: {"exp_avg": t, "exp_avg_sq": t + 1} for i, t in enumerate(state(width, step).values())}
        content = {"global_step": step, "state_dict": state(width, step), "optimizer_states": [{"state": moments}]}
        torch.save(content, folder / f"epoch=0-step={step}.ckpt")
    return folder


def as_safetensors(folder: Path, width: int) -> Path:
    for step in STEPS:
        save_file(state(width, step), folder / f"step_{step}.safetensors")
    return folder


def as_shards(folder: Path, width: int) -> Path:
    for step in STEPS:
        place = folder / f"checkpoint-{step}"
        place.mkdir()
        shards = {name: f"model-{i}.safetensors" for i, name in enumerate(state(width, step))}
        for name, tensor in state(width, step).items():
            save_file({name: tensor}, place / shards[name])
        (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return folder


def as_hdf5(folder: Path, width: int) -> Path:
    with h5py.File(folder / "run.h5", "w") as file:
        file["step"] = STEPS
        for name in state(width, 0):
            values = file.create_dataset(name.replace(".", "/"), (len(STEPS), width, width), "f4")
            for row, step in enumerate(STEPS):
                values[row] = state(width, step)[name].numpy()
    return folder / "run.h5"


FORMS: dict[str, Callable[[Path, int], Path]] = {
    ".pt, a state dict a file": as_pt,
    "Lightning .ckpt with Adam's state": as_lightning,
    ".safetensors": as_safetensors,
    "Hugging Face, 4 shards": as_shards,
    "HDF5, a dataset a parameter": as_hdf5,
}


def converted(source: Path, width: int) -> dict[str, float]:
    """Peak memory, MiB, and seconds of a conversion in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, __file__, "--convert", str(source), "--out", f"{out}/run", "--width", str(width)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def convert_here(source: Path, out: Path, width: int) -> None:
    from devi.checkpoints.foreign.convert import convert

    torch.set_num_threads(1)
    began = time.perf_counter()
    convert(source, out, Wide(width))
    seconds = time.perf_counter() - began
    # not getrusage: its peak includes the parent's memory from before this program was started
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"mib": int(peak.split()[1]) / 1024, "seconds": seconds}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--parameters", type=int, default=100_000_000)
    parser.add_argument("--convert", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.convert:
        convert_here(options.convert, options.out, options.width)
        return
    width = round((options.parameters / LAYERS) ** 0.5)
    copy = LAYERS * width**2 * 4 / 2**20
    rows = []
    for form, make in FORMS.items():
        found = {}
        for size in (8, width):
            with tempfile.TemporaryDirectory() as folder:
                found[size] = converted(make(Path(folder), size), size)
        beyond = found[width]["mib"] - found[8]["mib"]
        seconds = found[width]["seconds"] / len(STEPS)
        rows.append([form, f"{copy:.0f}", f"{beyond:.0f}", f"{beyond / copy:.2f}", f"{seconds:.1f}"])
        print(*rows[-1], sep=" | ")
    if options.write:
        header = ["form", "one copy, MiB", "peak beyond a tiny model's, MiB", "copies", "seconds a checkpoint"]
        put_table("convert memory", header, rows, f"{LAYERS * width**2:,} parameters, {len(STEPS)} checkpoints.")


if __name__ == "__main__":
    main()
