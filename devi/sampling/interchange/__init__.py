"""Interchange: the draws of `devi.sample` as the trees that devinterp 2 and ArviZ read, and back.

    tree = to_devinterp(draws, step=1200)      devinterp.slt.llc.compute_llc(tree), compute_bif(tree), tree.to_zarr(...)
    draws = from_devinterp(tree, step=1200)    learning_coefficient(draws), with its error and its flags
    tree = to_arviz(draws)                     arviz_stats.summary(tree), arviz_plots.plot_trace_dist(tree)
    draws = from_arviz(tree)

Both are `xarray.DataTree`s: neither package is imported here, nor needed to make or to read one.
"""

from devi.sampling.interchange.arviz_tree import from_arviz, to_arviz
from devi.sampling.interchange.devinterp_tree import from_devinterp, to_devinterp

__all__ = ["from_arviz", "from_devinterp", "to_arviz", "to_devinterp"]
