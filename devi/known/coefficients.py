"""Closed forms of the learning coefficient of linear networks, with its multiplicity.

    two layers M → H → N, true rank r              Aoyagi & Watanabe 2005, Neural Networks 18 (7)
    any depth H_0 → … → H_L, true rank r           Aoyagi 2024, Neural Networks 172: where all layers have rank r
    two layers where rank A = a, B = b, BA = r     local: (N·a + b·(M − a))/2 + λ₀(M − a, H − a − b + r, N − b)

The first two are the values at the most singular points of the fibre; λ₀ in the third is the first at rank 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from devi.errors import DeviError


class Coefficient(NamedTuple):
    """λ and its multiplicity m: the free energy is nL + λ·log n − (m − 1)·log log n."""

    value: Fraction
    multiplicity: int


def reduced_rank(inputs: int, hidden: int, outputs: int, rank: int) -> Coefficient:
    """λ of y = B·A·x, A (hidden, inputs), B (outputs, hidden), where the true map has `rank`.

    Source: Aoyagi & Watanabe 2005, main theorem.
    """
    m, h, n, r = inputs, hidden, outputs, rank
    _check_rank((m, h, n), r)
    if m + h < n + r:
        return Coefficient(Fraction(h * m - h * r + n * r, 2), 1)
    if n + h < m + r:
        return Coefficient(Fraction(h * n - h * r + m * r, 2), 1)
    if m + n < h + r:
        return Coefficient(Fraction(m * n, 2), 1)
    quadratic = -((h + r) ** 2) - m**2 - n**2 + 2 * (h + r) * (m + n) + 2 * m * n
    is_odd = (m + h + n + r) % 2
    return Coefficient(Fraction(quadratic + is_odd, 8), 1 + is_odd)


def deep_linear(widths: Sequence[int], rank: int) -> Coefficient:
    """λ of y = W_L ⋯ W_1·x with W_k (widths[k], widths[k − 1]), where every W_k and their product have `rank`.

    With M_i = H_i − r there is a set Σ of l + 1 layers with
    max_Σ M < min outside,  S = Σ_Σ M ≥ l·max_Σ M,  S < l·min outside;  c = ⌈S/l⌉, a = S − (c − 1)·l, and
        λ = (r(H_0 + H_L) − r²)/2 + a(l − a)/(4l) − (l(l − 1)/4)(S/l)² + ½ Σ_{i<j in Σ} M_i M_j,   m = a(l − a) + 1

    Source: Aoyagi 2024, Consideration on the learning efficiency of multiple-layered neural networks with linear units,
    Neural Networks 172.
    """
    _check_rank(widths, rank)
    excess = sorted(width - rank for width in widths)
    for layers in range(1, len(excess)):  # l
        chosen, outside = excess[: layers + 1], excess[layers + 1 :]
        total = sum(chosen)  # S
        if total >= layers * chosen[-1] and (not outside or total < layers * outside[0]):
            break
    ceiling = -(-total // layers)
    a = total - (ceiling - 1) * layers
    pairs = (total**2 - sum(m * m for m in chosen)) // 2
    regular = Fraction(rank * (widths[0] + widths[-1]) - rank**2, 2)
    singular = (
        Fraction(a * (layers - a), 4 * layers)
        - Fraction(layers * (layers - 1), 4) * Fraction(total, layers) ** 2
        + Fraction(pairs, 2)
    )
    return Coefficient(regular + singular, a * (layers - a) + 1)


def two_layer_at(
    inputs: int, hidden: int, outputs: int, *, rank_first: int, rank_second: int, rank_product: int
) -> Coefficient:
    """λ of y = B·A·x at a point where A has rank a, B has rank b and B·A has rank r.

    a of the hidden directions carry A and b carry B, r of them both. The N·a entries of B that A reads and the
    b·(M − a) entries of A that B reads are seen to first order, and what is left is a two-layer network at 0.
    """
    m, h, n, a, b, r = inputs, hidden, outputs, rank_first, rank_second, rank_product
    if not (r <= min(a, b) and a <= min(m, h) and b <= min(h, n) and a + b - r <= h):
        raise DeviError(
            f"no two matrices {h}×{m} of rank {a} and {n}×{h} of rank {b} have a product of rank {r};"
            f" expected r ≤ min(a, b), a ≤ min({m}, {h}), b ≤ min({h}, {n}) and a + b − r ≤ {h}."
        )
    rest = reduced_rank(m - a, h - a - b + r, n - b, 0)
    return Coefficient(Fraction(n * a + b * (m - a), 2) + rest.value, rest.multiplicity)


def _check_rank(widths: Sequence[int], rank: int) -> None:
    if min(widths) < 0 or not 0 <= rank <= min(widths):
        raise DeviError(
            f"widths {'-'.join(map(str, widths))} with rank {rank}: expected widths of 0 or more"
            f" and a rank from 0 to the smallest of them."
        )
