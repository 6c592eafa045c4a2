"""devi demo: the whole job once, on both built-in models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option


def demo(
    out: Annotated[Path, Option(help="Where checkpoints/ and reports/ go")] = Path(),
) -> None:
    """Train the two built-in models, analyze both, print where the reports are.

    Example: devi demo --out /tmp/devi
    """
    from devi.cli.analyze import print_summary, report_on, summary
    from devi.cli.progress import progress
    from devi.plan import planned
    from devi.plugins import load
    from devi.training import train as train_run

    done = []
    with progress() as shown:
        for name in ("superposition", "modular_addition"):
            task, plan = planned(load("task", name), {})
            path = out / "checkpoints" / f"{name}-seed{plan.seed}"
            # A demo that was interrupted goes on; one that was finished is not trained again.
            started = any(path.glob("segment-*.h5"))
            train_run(
                task, path, plan=plan, name=name, resume=started,
                progress=shown.count(f"train {name}", "steps"), notice=shown.note,
            )  # fmt: skip
            place = out / "reports" / path.name
            done.append(summary(report_on(path, place, shown=shown), path, place))
    for entry in done:
        print_summary(entry)
    print("open these in a browser:")
    for entry in done:
        print(f"  {entry['report']}")
