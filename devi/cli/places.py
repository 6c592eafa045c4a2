"""Places: the runs that a path means, and the directory that the report of each goes to."""

from __future__ import annotations

from pathlib import Path

from devi.errors import DeviError, quoted

MARK = ".devi-report"  # in every output directory: which run it reports on


def found_runs(paths: list[Path]) -> list[Path]:
    """The runs meant by `paths`: each a run, or a folder of runs."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(child for child in path.iterdir() if is_run(child)) if path.is_dir() else []
        if not is_run(path) and inside:
            found += inside
        else:
            found.append(path)  # a run; or nothing of the kind, which opening it explains
    return found


def is_run(path: Path) -> bool:
    return path.is_dir() and any(path.glob("segment-*.h5"))


def output_places(found: list[Path], out: Path | None) -> list[Path]:
    """A directory for each run's report; runs of the same name get their parent's name too."""
    if len(found) == 1:
        return [out or Path("reports") / found[0].resolve().name]
    names = [path.resolve().name for path in found]
    unique = [
        name if names.count(name) == 1 else f"{path.resolve().parent.name}-{name}"
        for name, path in zip(names, found, strict=True)
    ]
    if len(set(unique)) < len(unique):
        raise DeviError(
            f"two of the {len(found)} runs would have the same report directory; analyze them one by one with --out."
        )
    return [(out or Path("reports")) / name for name in unique]


def claim(place: Path, run_id: str, path: Path) -> None:
    """Make `place` the report directory of this run. Raises DeviError if it holds something else."""
    mark = place / MARK
    if place.exists() and not place.is_dir():
        raise DeviError(f"{place} is a file; the report needs a directory. Try: --out {quoted(f'{place}-report')}")
    if mark.is_file():
        if mark.read_text().strip() != run_id:
            raise DeviError(
                f"{place} holds the report of another run than {path}. Give this one another place:"
                f" --out {quoted(f'{place}-2')}"
            )
        return
    if place.is_dir() and any(place.iterdir()):
        raise DeviError(
            f"{place} is not empty and holds no devi report; nothing was written."
            f" Give an empty or new directory: --out {quoted(f'{place}-report')}"
        )
    place.mkdir(parents=True, exist_ok=True)
    mark.write_text(run_id + "\n")


def unclaim(place: Path) -> None:
    """Remove a report directory in which nothing but the claim was made."""
    if place.is_dir() and [file.name for file in place.iterdir()] == [MARK]:
        (place / MARK).unlink()
        place.rmdir()
