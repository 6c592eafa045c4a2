"""Progress measures of modular addition: how much of the network is the trigonometric algorithm.

With logits L(a, b, c), s = a ± b mod p, w_k = 2πk/p and P the projection of each class's logits, as a function of
(a, b), on cos w_k s and sin w_k s of the key frequencies k:

    restricted = P L + mean over (a, b) of (L − P L)      excluded = L − P L

Source: Nanda et al. 2023, arXiv:2301.05217, section 5.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from devi.errors import DeviError
from devi.metrics.frequencies import all_frequencies, key_frequencies, spectrum, waves
from devi.metrics.inequality import entropy, gini
from devi.metrics.metric import Metric, labels
from devi.metrics.outputs import outputs
from devi.metrics.residues import Residues, residues_of

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

PAPER = "Nanda et al. 2023, arXiv:2301.05217"
SMALLEST = 1e-280  # a sum of products of numbers up to 1 that is smaller may have lost some to underflow


@dataclass(frozen=True)
class Fourier(Metric):
    """Key frequencies are those of the run's last checkpoint, unless given, or found anew `per_checkpoint`.

    Without any, what is measured by them is NaN, and a remark says so.

    restricted_loss, restricted_loss_train, restricted_loss_test  (step,)  nats; on all pairs, on each split
    excluded_loss               (step,)            nats; all key frequencies removed, on the training pairs
    excluded_loss_by_frequency  (step, frequency)  nats; one removed, on the training pairs; NaN if it is no key one
    logit_variance_share        (step,)            of the class-centred logits' variance, in the key frequencies
    key_frequencies             (step, frequency)  bool
    embedding_spectrum, unembedding_spectrum  (step, frequency)  √(cos² + sin²), over tokens and over classes
    gini_embedding, gini_unembedding          (step,)  Gini coefficient of these norms over frequencies
    frequency_entropy                         (step,)  nats; of the embedding's norms over frequencies
    """

    frequencies: tuple[int, ...] | None = None  # None: from the last checkpoint
    per_checkpoint: bool = False
    device: str = "cpu"

    name: ClassVar[str] = "fourier"
    long_name: ClassVar[str] = "Fourier progress measures of modular addition"
    source: ClassVar[str] = PAPER
    gives: ClassVar[tuple[str, ...]] = (
        "restricted_loss", "restricted_loss_train", "restricted_loss_test", "excluded_loss",
        "excluded_loss_by_frequency", "logit_variance_share", "key_frequencies", "gini_embedding", "gini_unembedding",
        "frequency_entropy", "embedding_spectrum", "unembedding_spectrum",
    )  # fmt: skip
    units_of: ClassVar[Mapping[str, str]] = dict.fromkeys((*gives[:5], "frequency_entropy"), "nats")

    def resolved(self, run: Run) -> Self:
        if self.frequencies is not None or self.per_checkpoint:
            return self
        # A run that diverged has no frequencies at its end: the last checkpoint with finite weights says them.
        for place in reversed(range(len(run.whole))):
            if all(np.isfinite(values).all() for values in run.whole.parameters(place).values()):
                return dataclasses.replace(self, frequencies=self._keys(run.whole, place, residues_of(run.task)))
        return dataclasses.replace(self, frequencies=())

    def over(self, run: Run) -> xr.Dataset:
        settings = self.resolved(run)
        residues = residues_of(run.task)
        allowed = all_frequencies(residues.p)
        unknown = sorted(set(settings.frequencies or ()) - set(allowed.tolist()))
        if unknown:
            raise DeviError(
                f"fourier: frequency {unknown[0]} does not exist for p={residues.p}; expected 1 to {residues.p // 2},"
                f" e.g. frequencies=1,{residues.p // 2}"
            )
        twice = sorted(k for k, times in Counter(settings.frequencies).items() if times > 1)
        if twice:  # it would be taken out of the logits twice
            once = ",".join(str(k) for k in dict.fromkeys(settings.frequencies or ()))
            raise DeviError(
                f"fourier: frequency {twice[0]} is named twice; expected each once, e.g. frequencies={once}"
            )
        rows = []
        key = np.zeros((len(run), len(allowed)), dtype=bool)
        for chunk in outputs(run, residues.inputs, device=self.device, split_examples=False):
            if chunk.values.ndim != 3 or chunk.values.shape[2] < residues.p:
                raise DeviError(
                    f"fourier: the model of task {type(run.task).__name__} gives outputs of shape"
                    f" {tuple(chunk.values.shape[1:])} on all pairs; expected ({residues.p**2}, {residues.p} or more),"
                    f" a logit for each residue. Leave the metric 'fourier' out."
                )
            for place, logits in enumerate(chunk.values, start=chunk.checkpoints.start):
                keys = settings.frequencies
                if keys is None:
                    keys = self._keys(run, place, residues)
                key[place] = np.isin(allowed, keys)
                rows.append(progress(logits, residues, keys))
        found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        for values in found.values():
            values[~key.any(1)] = np.nan
        data = {name: _labelled(name, values) for name, values in found.items()}
        attributes = labels("1", "key frequencies", f"{PAPER}, section 4", detect=False)
        data["key_frequencies"] = (("step", "frequency"), key, attributes)
        data |= _spectra(run.parameters(slice(0, len(run))), residues.p)
        return xr.Dataset(data, coords={"step": run.steps, "frequency": allowed})

    def remarks(self, result: xr.Dataset) -> list[str]:
        if result["key_frequencies"].any():
            return []
        example = ",".join(str(k) for k in result["frequency"].values[:2])
        return [
            "fourier: no frequency has clearly more of the neurons' votes than chance gives it, so restricted and"
            f" excluded losses are left out. To measure them for others: --set fourier.frequencies={example}"
        ]

    def _keys(self, run: Run, place: int, residues: Residues) -> tuple[int, ...]:
        model: Any = run.model_at(place).to(self.device)
        if not hasattr(model, "hidden"):
            raise DeviError(
                f"fourier: the model of task {type(run.task).__name__} has no method hidden(inputs) giving the MLP"
                f" activations (example, neuron), from which key frequencies are found. Add it, or name the frequencies"
                f" yourself, e.g. frequencies=3,11."
            )
        with torch.no_grad():
            activations = model.hidden(residues.inputs[residues.grid].to(self.device))  # (pair, neuron), a then b
        return key_frequencies(activations.reshape(residues.p, residues.p, -1))


def progress(logits: Tensor, residues: Residues, keys: Sequence[int]) -> dict[str, float | np.ndarray]:
    """The measures that logits (pair, class) on all pairs of one checkpoint give; the first p classes are residues.

    An average over the p pairs that share s, then p-vectors: the p² × p² transform is never formed.
    """
    p = residues.p
    logits = logits.cpu()
    s, targets, train = residues.sums, residues.targets, residues.train
    by_sum = logits.reshape(p, p, -1).mean(1, dtype=torch.float64)  # (s, class)
    mean = by_sum.mean(0)

    def part(frequencies: Sequence[int]) -> Tensor:
        """P L, (s, class), which is what it is at every pair with that s."""
        basis = torch.from_numpy(waves(p, frequencies))  # (s, wave)
        return basis @ (basis.T @ by_sum)

    key_part = part(keys)
    # The waves have mean 0 over s, so what P removed has the mean of the logits themselves.
    restricted = -(key_part + mean).log_softmax(-1)[s, targets.clamp(min=0)]  # (pair,)
    excluded = _losses_without(torch.stack([key_part, *(part([k]) for k in keys)]), logits, residues)
    by_frequency = np.full(p // 2, np.nan)
    by_frequency[np.array(keys, int) - 1] = excluded[1:]

    # Softmax ignores a shift common to all classes, so variance along it is no part of what the network says.
    classes = logits[:, :p] - logits[:, :p].mean(1, keepdim=True)
    variance = (classes - classes.mean(0)).square().sum(dtype=torch.float64)
    key_classes = key_part[:, :p] - key_part[:, :p].mean(1, keepdim=True)
    share = p * key_classes.square().sum() / variance
    return {
        "restricted_loss": _mean(restricted[targets >= 0]),
        "restricted_loss_train": _mean(restricted[train]),
        "restricted_loss_test": _mean(restricted[residues.test]),
        "excluded_loss": float(excluded[0]),
        "excluded_loss_by_frequency": by_frequency,
        "logit_variance_share": float(share),
    }


def _losses_without(removed: Tensor, logits: Tensor, residues: Residues) -> Tensor:
    """Mean loss on the training pairs with each part (part, s, class) taken from the logits (pair, class): (part,).

    exp(L − removed) = exp(L) · exp(−removed), and what is removed is the same for all pairs of one s: so each pair is
    exponentiated once, not once a part.
    """
    p, train = residues.p, residues.train
    s, targets = residues.sums[train], residues.targets[train]
    # float64: with one of many frequencies removed the loss stays near 1e-5, the rounding of float32 logits.
    trained = logits[train].double()  # (example, class)
    top, bottom = trained.amax(-1, keepdim=True), removed.amin(-1, keepdim=True)  # so that no factor is above 1
    weights = trained.new_zeros(logits.shape)
    weights[train] = (trained - top).exp()
    factors = (bottom - removed).exp().permute(1, 2, 0)  # (s, class, part)
    sums = (weights.view(p, p, -1) @ factors).view(p * p, -1)[train].T  # (part, example)
    normalizers = sums.log() + top[:, 0] - bottom[:, s, 0]
    part, example = (sums < SMALLEST).nonzero(as_tuple=True)
    normalizers[part, example] = (trained[example] - removed[part, s[example]]).logsumexp(-1)
    return (normalizers - trained.gather(1, targets[:, None])[:, 0] + removed[:, s, targets]).mean(-1)


def _mean(losses: Tensor) -> float:
    return float(losses.mean()) if len(losses) else float("nan")


def _labelled(name: str, values: np.ndarray) -> tuple:
    units, words, section = {
        "restricted_loss": ("nats", "loss with the key frequencies only, all pairs", "5.1"),
        "restricted_loss_train": ("nats", "loss with the key frequencies only, training pairs", "5.1"),
        "restricted_loss_test": ("nats", "loss with the key frequencies only, test pairs", "5.1"),
        "excluded_loss": ("nats", "training loss without the key frequencies", "5.1"),
        "excluded_loss_by_frequency": ("nats", "training loss without one key frequency", "5.1"),
        "logit_variance_share": ("1", "share of the class-centred logit variance in the key frequencies", "4"),
    }[name]
    dims = ("step", "frequency") if values.ndim == 2 else ("step",)
    return dims, values, labels(units, words, f"{PAPER}, section {section}")


def _spectra(parameters: Mapping[str, np.ndarray], p: int) -> dict:
    """Spectra over the tokens of the embedding and over the classes of the output map, and how uneven they are.

    Left out for a model whose parameters are not named like those of the built-in ones.
    """
    data: dict = {}
    section = f"{PAPER}, section 5"
    tables = {"embedding": _embedding(parameters, p), "unembedding": _output_map(parameters, p)}
    for name, table in tables.items():
        if table is None:
            continue
        norms = spectrum(table.astype(np.float64))
        words = {"embedding": "the embedding", "unembedding": "the output map"}[name]
        attributes = labels("1", f"norm of each frequency in {words}", section, detect=False)
        data[f"{name}_spectrum"] = (("step", "frequency"), norms, attributes)
        data[f"gini_{name}"] = (
            "step",
            gini(norms),
            labels("1", f"Gini coefficient of frequencies in {words}", section),
        )
        if name == "embedding":
            attributes = labels("nats", "entropy of the embedding's norms over frequencies", section)
            data["frequency_entropy"] = ("step", entropy(norms), attributes)
    return data


def _embedding(parameters: Mapping[str, np.ndarray], p: int) -> np.ndarray | None:
    """(step, residue, embedding)."""
    for name in ("embed.weight", "embed"):
        if name in parameters and parameters[name].ndim == 3:
            return parameters[name][:, :p]
    return None


def _output_map(parameters: Mapping[str, np.ndarray], p: int) -> np.ndarray | None:
    """From neurons to logits, (step, class, neuron): U, or the transformer's W_out W_U with any LayerNorm ignored."""
    if "unembed.weight" in parameters:
        return parameters["unembed.weight"][:, :p]
    if "unembed" not in parameters:
        return None
    blocks = [name for name in parameters if name.endswith("mlp_out")]
    unembed = parameters["unembed"][:, :, :p]
    table = parameters[blocks[-1]] @ unembed if blocks else unembed
    return np.swapaxes(table, 1, 2)
