"""Progress on stderr: a bar with what is being done, how much of it, and the time left; quiet when not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Progress:
    """Bars by description. `tell(what, share)` moves one; `steps(what)` gives the callback that counts steps."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._known: dict[str, Any] = {}

    def tell(self, what: str, share: float) -> None:
        """What is being done and how much of it, 0 to 1."""
        if self._bars is None:
            return
        if what not in self._known:
            self._known[what] = self._bars.add_task(what, total=1.0, rate="")
        self._bars.update(self._known[what], completed=share)

    def count(self, what: str, unit: str) -> Any:
        """A callback (done, total) that also shows the rate."""

        def tell(done: int, total: int) -> None:
            if self._bars is None:
                return
            if what not in self._known:
                self._known[what] = self._bars.add_task(what, total=total, rate="")
            # A hundred looks are enough for a bar, and looking costs more than a small training step.
            if done % max(1, total // 100) == 0 or done == total:
                speed = next(task.speed for task in self._bars.tasks if task.id == self._known[what])
                rate = f"{speed:,.0f} {unit}/s" if speed else ""
                self._bars.update(self._known[what], completed=done, total=total, rate=rate)

        return tell

    def note(self, message: str) -> None:
        """A line for the user, above the bars."""
        if self._bars is None:
            print(f"devi: {message}", file=sys.stderr)
        else:
            self._bars.console.print(f"devi: {message}", markup=False, highlight=False)


@contextmanager
def progress() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Progress(None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console) as bars:
        yield Progress(bars)
