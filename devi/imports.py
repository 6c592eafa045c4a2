"""Imports: the files behind a module, found by reading the import statements of one after another."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import Any


def files_behind(module: Any) -> set[Path]:
    """The module's file and, followed through its import statements, those of its own folder or below."""
    place = getattr(module, "__file__", None)
    if place is None or not place.endswith(".py"):
        return set()
    first, package = Path(place).resolve(), module.__package__ or ""
    root = first.parent
    top = root.parents[package.count(".")] if package else root  # the folder that absolute imports start from
    found: set[Path] = set()
    ahead = [(first, package)]
    while ahead:
        path, package = ahead.pop()
        if path in found or not path.is_relative_to(root) or "site-packages" in path.relative_to(root).parts:
            continue
        found.add(path)
        for name in imports(path, package):
            ahead += _files_of(name, top)
    return found


def imports(path: Path, package: str) -> Iterator[str]:
    """The modules that a file's import statements may mean, those inside functions too."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError):  # imported later, if at all, and then it says so itself
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            try:
                origin = resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:  # it climbs out of its package, and would fail
                continue
            yield from (origin, *(f"{origin}.{alias.name}" for alias in node.names))


def _files_of(name: str, top: Path) -> list[tuple[Path, str]]:
    """File and package of a module: of an imported one its own; else, as imports may come later, where it would lie."""
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None) or ""
        return [(Path(file).resolve(), sys.modules[name].__package__ or "")] if file.endswith(".py") else []
    return files_beside(name, top)


def files_beside(name: str, top: Path) -> list[tuple[Path, str]]:
    """File and package of the module that folder `top` has by that name."""
    stem = top.joinpath(*name.split("."))
    places = [(stem.with_name(f"{stem.name}.py"), name.rpartition(".")[0]), (stem / "__init__.py", name)]
    return [(path.resolve(), package) for path, package in places if path.is_file()]
