"""Settings from the command line: defaults < a TOML file (--config) < --set key=value."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from devi.errors import DeviError


def read_settings(config: Path | None, assignments: list[str], *, example: str = "features = 5") -> dict[str, Any]:
    """One mapping of what the user gave; later words win. Raises DeviError for what cannot be read.

    example   a line that the file could hold, for the message
    """
    return {**_from_file(config, example), **dict(_assigned(text, example) for text in assignments)}


def by_metric(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`tickets.kept_fraction=0.3` (or a TOML table [tickets]) -> {"tickets": {"kept_fraction": …}}."""
    grouped: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        metric, _, setting = key.partition(".")
        if isinstance(value, dict):
            grouped.setdefault(key, {}).update(value)
        elif setting:
            grouped.setdefault(metric, {})[setting] = value
        else:
            raise DeviError(
                f"setting '{key}' names no metric. Expected METRIC.SETTING=VALUE, e.g. --set tickets.kept_fraction=0.3"
            )
    return grouped


def _assigned(text: str, example: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise DeviError(f"--set {text!r} is not a setting. Expected KEY=VALUE, e.g. --set {example.replace(' ', '')}")
    return key.strip(), value


def _from_file(config: Path | None, example: str) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error  # of a file that cannot be read, without its number
        raise DeviError(f"--config {config}: {reason}. Expected a TOML file of lines like: {example}") from None
