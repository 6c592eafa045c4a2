"""Which polygon the features of a superposition model form over a stretch of checkpoints, and what it turns into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

MOSTLY = 0.8  # of the checkpoints: a polygon seen less often is none


def polygon_of(labels: Sequence[str]) -> str | None:
    """The regular polygon ('4-gon', '4-gon+') that most of the checkpoints show; None where there is none."""
    if not labels:
        return None
    label, count = Counter(labels).most_common(1)[0]
    return label if "gon" in label and count >= MOSTLY * len(labels) else None


def polygons_turn(before: Sequence[str], after: Sequence[str]) -> str | None:
    """'4-gon → 5-gon', or None where either is none or both are the same."""
    first, last = polygon_of(before), polygon_of(after)
    return f"{first} → {last}" if first is not None and last is not None and first != last else None
