"""devi show: what is in a run."""

from __future__ import annotations

import json
import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from devi.cli.answer import print_document
from devi.errors import counted, quoted, shown

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

WIDTH = 80
MOST_ROWS = 20  # of the parameter table: a screen holds them
MOST_TEXT = 2000  # characters of one stored value


def show(
    run: Annotated[Path, Argument(help="Directory of a run")],
    everything: Annotated[bool, Option("--all", help="Every parameter and finding, however many")] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON document and nothing else")] = False,
) -> None:
    """What is in a run: task, settings, provenance, steps, parameters, size, damage.

    Example: devi show checkpoints/superposition-seed0
    """
    from devi.checkpoints.reader import open_run

    summary = summarized(open_run(run))
    if as_json:
        print_document(json.dumps(summary))
        return
    print("\n".join(lines(summary, everything=everything)))


def summarized(run: Run) -> dict[str, Any]:
    """What is printed, as JSON values. `damage` and `torn` are null where too much would have to be read to know."""
    is_checked = run.is_checked
    findings = run.findings if is_checked else []
    files = [path for path in run.path.iterdir() if path.is_file()]
    layout = run.layout
    return {
        "run": str(run.path),
        "steps": {
            "first": int(run.steps[0]) if len(run) else None,
            "last": int(run.steps[-1]) if len(run) else None,
            "count": len(run),
        },
        "parameters": _table(layout.tensors, is_buffer=False),
        "buffers": _table(layout.tensors, is_buffer=True),
        "parameter_count": run.parameter_count,
        "scalars": list(layout.scalars),
        "bytes": sum(path.stat().st_size for path in files),
        "files": len(files),
        "is_live": run.is_live,
        "writer": None if run.writer is None else str(run.writer),
        "is_repaired": run.is_repaired,
        "damage": [str(each) for each in findings if each.kind != "torn"] if is_checked else None,
        "torn": [str(each) for each in findings if each.kind == "torn"] if is_checked else None,
        "metadata": run.metadata,
    }


def _table(tensors: Any, *, is_buffer: bool) -> dict[str, dict[str, Any]]:
    return {
        tensor.name: {"shape": list(tensor.shape), "dtype": tensor.dtype, "count": math.prod(tensor.shape)}
        for tensor in tensors
        if tensor.is_buffer == is_buffer
    }


def lines(summary: dict[str, Any], *, everything: bool) -> list[str]:
    """The summary for a screen 80 characters wide."""
    steps, metadata = summary["steps"], dict(summary["metadata"])
    span = f", steps {steps['first']:,} to {steps['last']:,}" if steps["count"] else ""
    told = [f"{summary['run']}: {counted(steps['count'], 'checkpoint')}{span}"]
    told += _entry("task", metadata.pop("task", None))
    told += _entry("settings", metadata.pop("settings", None))
    told += _entry("scalars", summary["scalars"])
    told += _entry("on disk", f"{_size(summary['bytes'])} in {counted(summary['files'], 'file')}")
    told += _entry("being written", f"yes, by {summary['writer']}" if summary["is_live"] else "no")
    told += _damage(summary, MOST_ROWS if not everything else None)
    for key, value in metadata.items():
        told += _entry(key.replace("_", " "), value)
    rows = [(name, entry, "") for name, entry in summary["parameters"].items()]
    rows += [(name, entry, "  buffer") for name, entry in summary["buffers"].items()]
    told += ["", *_rows(rows if everything else rows[:MOST_ROWS])]
    if len(rows) > MOST_ROWS and not everything:
        told.append(f"  and {len(rows) - MOST_ROWS:,} more. All of them: devi show {quoted(summary['run'])} --all")
    tensors = counted(len(summary["parameters"]), "tensor")
    return [*told, f"  {counted(summary['parameter_count'], 'parameter')} in {tensors}"]


def _entry(key: str, value: Any) -> list[str]:
    """One value beside its name, wrapped; what is nested in it stands on one line as JSON."""
    if isinstance(value, dict):
        pairs = (f"{name} {item if isinstance(item, str) else json.dumps(item)}" for name, item in value.items())
        text = ", ".join(pairs) or "none"
    elif isinstance(value, list):
        text = ", ".join(str(item) for item in value) or "none"
    else:
        text = "none" if value is None else str(value)
    label = f"  {shown(key, 16):<16}  "
    return textwrap.wrap(shown(text, MOST_TEXT), WIDTH, initial_indent=label, subsequent_indent=" " * len(label))


def _damage(summary: dict[str, Any], most: int | None) -> list[str]:
    if summary["damage"] is None:
        told = _entry("damage", f"not looked for: there is much to read. devi verify {quoted(summary['run'])}")
    else:
        told = _entry("damage", counted(len(summary["damage"]), "finding") if summary["damage"] else "none")
        for sentence in [*summary["damage"], *summary["torn"]][:most]:
            told += _entry("", sentence)
        if most is not None and len(summary["damage"]) + len(summary["torn"]) > most:
            told += _entry("", f"and more. All of them: devi verify {quoted(summary['run'])}")
    return told + (_entry("repaired", "yes; repair.json names what was lost") if summary["is_repaired"] else [])


def _rows(rows: list[tuple[str, dict[str, Any], str]]) -> list[str]:
    """The parameter table: name, shape, dtype, count."""
    cells = [
        (shown(name, 36), "×".join(map(str, entry["shape"])) or "one number", entry["dtype"], f"{entry['count']:,}")
        for name, entry, _ in rows
    ]
    widths = [max((len(row[column]) for row in cells), default=0) for column in range(4)]
    return [
        f"  {name:<{widths[0]}}  {shape:<{widths[1]}}  {dtype:<{widths[2]}}  {count:>{widths[3]}}{kind}"
        for (name, shape, dtype, count), (_, _, kind) in zip(cells, rows, strict=True)
    ]


def _size(count: int) -> str:
    """Bytes for people: 84.1 KiB."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{count} bytes" if units[0] == "bytes" else f"{size:,.1f} {units[0]}"
