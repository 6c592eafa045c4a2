"""Which of the curves that move a sentence tells, and in which order: the same on the screen and on the page."""

from __future__ import annotations

import re

from devi.transitions.detector import Change
from devi.transitions.events import Event
from devi.transitions.labels import in_telling_order

FEATURES = re.compile(r"features? \d")  # 'feature 3 enters', 'features 2 and 4 enter'; not 'features represented'


def told_order(event: Event, label: str) -> list[Change]:
    """The event's changes in telling order; where features enter or leave, the norms that do so come first."""
    order = in_telling_order(event)
    if FEATURES.match(label):
        largest = max(change.share for change in order if change.curve.metric == "feature_norm")
        order.sort(key=lambda change: change.curve.metric != "feature_norm" or change.share < 0.5 * largest)
    return order
