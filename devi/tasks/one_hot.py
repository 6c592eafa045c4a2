"""One-hot: superposition's loss over examples that hold one feature each, at a cost that does not grow with them.

Of an example a·e_k, output i is ReLU(P_ik a + b_i) with P = WᵀW, so over the examples of feature k its loss is one
quadratic function of a where −b_i/P_ik makes it active and another where it does not. With the sizes a sorted, their
sums of a⁰, a¹ and a² up to each of them, and from each of them on, give

    loss = Σ_ik I_i·(Σ_active (D_ik a + b_i)² + δ_ik·Σ_inactive a²),   D = P − 1

and its gradient, all in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor


class OneHot:
    """The examples as sums over their sizes."""

    def __init__(self, inputs: Tensor) -> None:
        """inputs (example, feature), at most one entry of each example other than 0; see `is_one_hot`."""
        features = inputs.shape[1]
        which, size = inputs.abs().argmax(dim=1), inputs.sum(dim=1).double()
        size, order = size.sort()
        which, again = which[order].sort(stable=True)
        size = size[again]
        counts = torch.bincount(which, minlength=features)
        place = torch.arange(len(size)) - (counts.cumsum(0) - counts)[which]  # of each example among its feature's
        most = int(counts.max())
        self.sizes = size.new_full((features, most), torch.inf)  # sorted, (feature, rank)
        self.sizes[which, place] = size
        powers = size.new_zeros(3, features, most + 1)
        powers[:, which, place + 1] = torch.stack([torch.ones_like(size), size, size.square()])
        below = powers.cumsum(2)
        self.squares = below[2, :, -1].clone()  # Σ a² of each feature
        # Rows of sums over the active sizes: those up to a rank where P < 0, those from there on where not.
        self.sums = torch.stack([below, below[..., -1:] - below], dim=1).flatten(1)  # (power, side · feature · rank)
        self.first = (most + 1) * torch.arange(features)[:, None, None]
        self.side = features * (most + 1)

    def loss_and_gradients(self, weight: Tensor, bias: Tensor, importances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over all examples: loss (replica,), and its gradients by W (replica, hidden, feature) and b."""
        weight, bias = weight.double(), bias.double()
        product = (weight.mT @ weight).permute(2, 0, 1).contiguous()  # (k, replica, i); symmetric in i and k
        product += 0.0  # no −0: what stands still is active for a bias above 0
        edge = torch.searchsorted(self.sizes, (-bias / product).flatten(1), right=True).view_as(product)
        edge += torch.where(product >= 0, self.side + self.first, self.first)
        zeroth, first, second = self.sums.index_select(1, edge.flatten()).view(3, *product.shape)
        inactive = self.squares[:, None] - second.diagonal(dim1=0, dim2=2).T  # of k = i, (feature, replica)
        off = product
        off.diagonal(dim1=0, dim2=2).sub_(1)
        by_product = (off * second).addcmul_(first, bias)  # Σ_active r a, r = D a + b
        by_bias = zeroth.mul_(bias).addcmul_(first, off).sum(dim=0)  # Σ_active r, of all features (replica, i)
        loss = (off.mul_(by_product).sum(dim=0).addcmul_(by_bias, bias) + inactive.T) @ importances
        by_product = (by_product * (2 * importances)).permute(1, 2, 0)  # (replica, i, k)
        return loss, weight @ (by_product + by_product.mT), by_bias * (2 * importances)


def is_one_hot(inputs: Tensor) -> bool:
    """Whether no example (example, feature) holds more than one feature."""
    return bool((inputs.count_nonzero(dim=1) <= 1).all())
