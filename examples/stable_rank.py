"""A metric of your own in one file: devi analyze RUN --metric examples/stable_rank.py:StableRank"""

import torch

from devi import Metric


class StableRank(Metric):
    """‖W‖_F² / ‖W‖₂² of the product of a network's linear layers: how many modes it uses."""

    units = "1"
    long_name = "stable rank of the end-to-end map"
    source = "Rudelson & Vershynin 2007, section 1"

    def at(self, model, task):
        product = None
        for layer in model.modules():
            if isinstance(layer, torch.nn.Linear):
                product = layer.weight if product is None else layer.weight @ product
        singular = torch.linalg.svdvals(product)
        return float(singular.square().sum() / singular.max().square())
