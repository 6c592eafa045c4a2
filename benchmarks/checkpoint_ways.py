"""Five ways to keep every checkpoint of a run, each with its usual good settings, behind one small interface.

    way.write(step, model)         one checkpoint: every tensor of the model, and one number (a loss)
    way.close()
    reader = way.open()            all that must be done before the first value can be had
    reader.one(i)                  {name: (*shape)} tensors of checkpoint i
    reader.over(name)              (T, *shape) one parameter over all checkpoints
    reader.stack(a, b)             {name: (b - a, *shape)} what batched sampling needs

Every answer is contiguous float32 torch tensors in memory of their own, whatever the way has to do for it.
`checks` says what damage the way would notice when the checkpoint is read: devi hashes each record and fsyncs every few
seconds and at each segment's end; none of the others syncs, and none of them verifies what it reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import safetensors
import safetensors.torch
import torch
import zarr
from torch import Tensor, nn

from devi import Recorder, open_run

# Of an h5py chunk: 16 KiB to 1 MiB were tried; the size h5py guesses by itself is several times slower for large ones.
CHUNK_BYTES = 1 << 16
LOSS = 0.5


class Way:
    """One folder with the checkpoints of one run."""

    checks: ClassVar[str] = "nothing"

    def __init__(self, folder: Path, model: nn.Module, count: int) -> None:
        self.folder, self.count = folder, count

    def write(self, step: int, model: nn.Module) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class Devi(Way):
    checks = "every record"

    def __init__(self, folder: Path, model: nn.Module, count: int) -> None:
        super().__init__(folder, model, count)
        self.recorder = Recorder(folder, expected=count, notice=lambda text: None)

    def write(self, step: int, model: nn.Module) -> None:
        self.recorder(step, model, loss=LOSS)

    def close(self) -> None:
        self.recorder.close()

    def open(self) -> DeviReader:
        return DeviReader(self.folder)


class DeviReader:
    def __init__(self, folder: Path) -> None:
        self.run = open_run(folder)

    def one(self, i: int) -> dict[str, Tensor]:
        return {name: _copied(values) for name, values in self.run.parameters(i).items()}

    def over(self, name: str) -> Tensor:
        return _copied(self.run.parameters(slice(None), [name])[name])

    def stack(self, a: int, b: int) -> dict[str, Tensor]:
        return {name: _copied(values) for name, values in self.run.parameters(slice(a, b)).items()}


def _copied(view: np.ndarray) -> Tensor:
    return torch.from_numpy(view.copy())


class TorchSave(Way):
    suffix = "pt"

    def __init__(self, folder: Path, model: nn.Module, count: int) -> None:
        super().__init__(folder, model, count)
        folder.mkdir()

    def path(self, step: int) -> Path:
        return self.folder / f"{step:06d}.{self.suffix}"

    def write(self, step: int, model: nn.Module) -> None:
        torch.save({"model": model.state_dict(), "loss": LOSS}, self.path(step))

    def open(self) -> TorchSave:
        return self

    def one(self, i: int) -> dict[str, Tensor]:
        return torch.load(self.path(i), weights_only=True)["model"]

    def over(self, name: str) -> Tensor:
        return torch.stack([self.one(i)[name] for i in range(self.count)])

    def stack(self, a: int, b: int) -> dict[str, Tensor]:
        states = [self.one(i) for i in range(a, b)]
        return {name: torch.stack([state[name] for state in states]) for name in states[0]}


class SafeTensors(TorchSave):
    suffix = "safetensors"

    def write(self, step: int, model: nn.Module) -> None:
        safetensors.torch.save_file(model.state_dict(), self.path(step), metadata={"loss": str(LOSS)})

    def open(self) -> SafeTensors:
        return self

    def one(self, i: int) -> dict[str, Tensor]:
        return safetensors.torch.load_file(self.path(i))

    def over(self, name: str) -> Tensor:
        values = []
        for i in range(self.count):
            with safetensors.safe_open(self.path(i), "pt") as file:
                values.append(file.get_tensor(name))
        return torch.stack(values)


class Columns(Way):
    """Both HDF5 and zarr keep an array (step, *shape) a parameter."""

    def open(self) -> ColumnsReader:
        return ColumnsReader(self._arrays())

    def _arrays(self) -> dict[str, Any]:
        raise NotImplementedError


class ColumnsReader:
    def __init__(self, arrays: dict[str, Any]) -> None:
        self.arrays = arrays

    def one(self, i: int) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array[i]) for name, array in self.arrays.items()}

    def over(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name][:])

    def stack(self, a: int, b: int) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array[a:b]) for name, array in self.arrays.items()}


class Zarr(Columns):
    """A chunk a checkpoint, made at full length and not compressed: larger chunks are rewritten at every step, an
    appended array rewrites its JSON, and compression costs more time than it saves space."""

    def __init__(self, folder: Path, model: nn.Module, count: int) -> None:
        super().__init__(folder, model, count)
        group = zarr.open_group(folder, mode="w", zarr_format=3)
        self.arrays = {
            name: group.create_array(
                name, shape=(count, *tensor.shape), chunks=(1, *tensor.shape), dtype="f4", compressors=None
            )
            for name, tensor in model.state_dict().items()
        }
        self.loss = group.create_array("loss", shape=(count,), chunks=(1,), dtype="f8", compressors=None)

    def write(self, step: int, model: nn.Module) -> None:
        for name, tensor in model.state_dict().items():
            self.arrays[name][step] = tensor.numpy()
        self.loss[step] = LOSS

    def _arrays(self) -> dict[str, Any]:
        group = zarr.open_group(self.folder, mode="r")
        return {name: array for name, array in group.arrays() if name != "loss"}


class H5py(Columns):
    """Resizable datasets, one a parameter, grown by one at every step."""

    def __init__(self, folder: Path, model: nn.Module, count: int) -> None:
        super().__init__(folder, model, count)
        folder.mkdir()
        self.file = h5py.File(folder / "run.h5", "w")
        for name, tensor in model.state_dict().items():
            shape, several = tuple(tensor.shape), max(1, CHUNK_BYTES // tensor.nbytes)
            self.file.create_dataset(name, (0, *shape), "f4", maxshape=(None, *shape), chunks=(several, *shape))
        self.file.create_dataset("loss", (0,), "f8", maxshape=(None,))

    def write(self, step: int, model: nn.Module) -> None:
        for name, tensor in model.state_dict().items():
            self._append(name, step, tensor.numpy())
        self._append("loss", step, LOSS)

    def _append(self, name: str, step: int, value: Any) -> None:
        dataset = self.file[name]
        dataset.resize(step + 1, axis=0)
        dataset[step] = value

    def close(self) -> None:
        self.file.close()

    def _arrays(self) -> dict[str, Any]:
        file = h5py.File(self.folder / "run.h5")
        names = list(file)
        return {name: file[name] for name in names if name != "loss"}


WAYS: dict[str, type[Way]] = {
    "devi": Devi,
    "torch.save": TorchSave,
    "safetensors": SafeTensors,
    "zarr v3": Zarr,
    "h5py append": H5py,
}
