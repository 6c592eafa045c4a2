"""Names to classes: 'name' | 'pkg.mod:Name' | 'file.py:Name'. Only what the user typed is ever imported."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import uuid
from collections.abc import Callable
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, Literal

from devi.errors import DeviError, unknown_name
from devi.imports import files_behind, files_beside, imports

Kind = Literal["task", "metric"]

# The built-ins. A name stored inside a checkpoint is looked up here and nowhere else.
BUILT_IN: dict[Kind, dict[str, str]] = {
    "task": {
        "superposition": "devi.tasks.superposition:Superposition",
        "modular_addition": "devi.tasks.modular_addition:ModularAddition",
    },
    "metric": {
        "losses": "devi.metrics.losses:Losses",
        "norms": "devi.metrics.norms:Norms",
        "tickets": "devi.metrics.tickets:Tickets",
        "feature_dimensionality": "devi.metrics.feature_dimensionality:FeatureDimensionality",
        "fourier": "devi.metrics.fourier:Fourier",
        "llc": "devi.metrics.learning_coefficient:LearningCoefficient",
    },
}

_FILE_MODULE = "devi_plugin_"  # the user's files are imported under names that begin so


def load(kind: Kind, name: str) -> type:
    """The class that the user's `name` means.

    Raises DeviError if there is none, if importing it fails, or if it is not a class of that kind.
    """
    if ":" in name:
        place, attribute = name.rsplit(":", 1)
        module = _file_module(Path(place)) if place.endswith(".py") else _module(place)
        return _checked(kind, name, _attribute(kind, module, attribute, place))
    if name in BUILT_IN[kind]:
        return _built_in(kind, name)
    if name.endswith(".py"):
        return _only_class_of(kind, Path(name))
    for entry in importlib.metadata.entry_points(group=f"devi.{kind}s", name=name):
        try:
            found = entry.load()
        except (Exception, SystemExit) as error:  # the package is somebody else's: it may lack the name, or fail
            raise DeviError(
                f"{kind} '{name}': {entry.value} could not be imported: {type(error).__name__}: {error}."
                f" An installed package names it as an entry point in the group devi.{kind}s; upgrade or remove it."
            ) from error
        return _checked(kind, name, found)
    raise unknown_name(kind, name, names(kind))


def load_function(name: str) -> Callable[[], Any]:
    """The function without arguments that 'file.py:name' or 'pkg.mod:name' means."""
    place, attribute = name.rsplit(":", 1)
    module = _file_module(Path(place)) if place.endswith(".py") else _module(place)
    found = getattr(module, attribute, None)
    if found is None:
        own = [n for n, value in vars(module).items() if inspect.isfunction(value) and _is_of(module, value)]
        raise unknown_name(f"function in {place}", attribute, own)
    if not callable(found):
        raise DeviError(f"'{name}' is a {type(found).__name__}; expected a function without arguments.")
    return found


def names(kind: Kind) -> list[str]:
    """Names that `load` takes without a colon: built-ins and entry points."""
    entries = importlib.metadata.entry_points(group=f"devi.{kind}s")
    return sorted({*BUILT_IN[kind], *(entry.name for entry in entries)})


def builtin_task(name: str) -> type | None:
    """The built-in task of that name; None for any other name, which is not imported."""
    return _built_in("task", name) if name in BUILT_IN["task"] else None


def name_of(kind: Kind, cls: type) -> str:
    """The short name of a built-in class, else its class name in snake case."""
    place = f"{cls.__module__}:{cls.__name__}"
    return next((name for name, home in BUILT_IN[kind].items() if home == place), snake_case(cls.__name__))


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def source_digest(cls: type) -> str:
    """Digest of the code behind `cls`, so that results of edited code are not taken from the cache.

    devi's own tasks, metrics and sampling; of a plug-in, the file that defines it and those it imports from beside it.
    Of a class in no file, as of a notebook's cell, another one each time: nobody can see whether it was edited.
    """
    is_own = cls.__module__.startswith("devi.")
    files = _own_files() if is_own else set(files_behind(sys.modules.get(cls.__module__)))
    whole = hashlib.sha256(b"" if files else uuid.uuid4().bytes)
    for path in sorted(files):
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


@cache
def _own_files() -> frozenset[Path]:
    home = Path(__file__).parent
    return frozenset(path for part in ("tasks", "metrics", "sampling") for path in (home / part).glob("*.py"))


def _built_in(kind: Kind, name: str) -> type:
    place, attribute = BUILT_IN[kind][name].split(":")
    return getattr(importlib.import_module(place), attribute)


def _module(place: str) -> Any:
    """The module of that name; one in the working directory too, if nothing installed has the name."""
    top = place.partition(".")[0]
    try:
        if top not in sys.modules and importlib.util.find_spec(top) is None and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))  # last: what lies here by chance must not pass for what is installed
        return importlib.import_module(place)
    except (Exception, SystemExit) as error:  # a script that was written to be run may end with sys.exit()
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{place}.".startswith(f"{missing}."):
            raise DeviError(
                f"no module is called '{missing}', neither installed nor here ({Path.cwd()})."
                f" A file is named by its path: '{place.replace('.', '/')}.py:Name'."
            ) from error
        raise DeviError(f"importing '{place}' failed with {type(error).__name__}: {error}") from error


class _AsItStands(SourceFileLoader):
    """Python takes its compiled code for a file that was changed within the second, to as many bytes; this reads it."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _file_module(path: Path) -> Any:
    if not path.is_file():
        raise DeviError(f"{path}: there is no such file. Expected 'file.py:Name', the path as seen from {Path.cwd()}.")
    # A name of its own per file: two files called model.py must not shadow each other.
    name = f"{_FILE_MODULE}{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise DeviError(f"{path}: Python cannot load this as a module. Expected a .py file.")
    if isinstance(spec.loader, SourceFileLoader):
        spec.loader = _AsItStands(name, str(path.resolve()))
    _check_neighbours(path.resolve())
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as Python does for a script; for good, since its functions may import more
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pydantic look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = f". A module must be installed here ({sys.executable}) or lie beside the file, in {folder}"
        raise DeviError(f"{path}: running this file failed with {type(error).__name__}: {error}{hint}") from error
    return module


def _check_neighbours(path: Path) -> None:
    """Raises DeviError if a file imports a neighbour whose name is that of another user's file's: Python keeps one."""
    others = {Path(file).parent for file in imported_files()} - {path.parent}
    for name in imports(path, ""):
        known = getattr(sys.modules.get(name), "__file__", None)
        is_theirs = known is not None and any(Path(known).is_relative_to(other) for other in others)
        mine = {file for file, _ in files_beside(name, path.parent)}
        if known is not None and is_theirs and mine and Path(known).resolve() not in mine:
            raise DeviError(
                f"{path} imports '{name}', and {known} has that name already; Python keeps one module of a name."
                f" Rename one of the two, or put both files into one folder."
            )


def _attribute(kind: Kind, module: Any, attribute: str, place: str) -> Any:
    if not hasattr(module, attribute):
        raise unknown_name(f"{kind} in {place}", attribute, [cls.__name__ for cls in _classes(kind, module)])
    return getattr(module, attribute)


def _classes(kind: Kind, module: Any) -> list[type]:
    """The tasks or metrics that a module defines; what it imports to subclass it is none of them."""
    base = _base(kind)
    return [c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, base) and _is_of(module, c)]


def _is_of(module: Any, thing: Any) -> bool:
    """Whether the module defines it; a package gives also what its modules define."""
    return f"{thing.__module__}.".startswith(f"{module.__name__}.")


def _base(kind: Kind) -> type:
    place, attribute = {"task": ("devi.task", "Task"), "metric": ("devi.metrics.metric", "Metric")}[kind]
    return getattr(importlib.import_module(place), attribute)


def _checked(kind: Kind, name: str, cls: Any) -> type:
    base = _base(kind)
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        other: Kind = "metric" if kind == "task" else "task"
        if inspect.isclass(cls) and issubclass(cls, _base(other)):
            raise DeviError(f"'{name}' is a {other}, not a {kind}. Where a {other} is meant: --{other} {name}")
        found = "class of another kind" if inspect.isclass(cls) else type(cls).__name__
        raise DeviError(f"'{name}' is a {found}, not a {kind}: expected a class that subclasses devi.{base.__name__}.")
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise DeviError(
            f"'{name}' lacks {', '.join(f'{method}()' for method in missing)}, which every {kind} must define."
        )
    return cls


def _only_class_of(kind: Kind, path: Path) -> type:
    found = _classes(kind, _file_module(path))
    if not found:
        raise DeviError(f"{path} defines no {kind}: expected a class that subclasses devi.{_base(kind).__name__}.")
    if len(found) > 1:
        listed = ", ".join(f"{path}:{cls.__name__}" for cls in found)
        raise DeviError(f"{path} defines {len(found)} {kind}s; name the one you mean: {listed}.")
    return _checked(kind, str(path), found[0])


def imported_files() -> list[str]:
    """The user's own files imported so far, for `import_files` in another process."""
    modules = [module for name, module in sys.modules.items() if name.startswith(_FILE_MODULE)]
    return [str(module.__file__) for module in modules if module.__file__]


def import_files(paths: list[str]) -> None:
    for path in paths:
        _file_module(Path(path))
