import subprocess
import sys

import pytest

from devi import plugins
from devi.errors import DeviError
from devi.tasks.superposition import Superposition

LINE = "examples/line.py"


def test_built_in_names_are_found_and_named_back():
    for kind, known in plugins.BUILT_IN.items():
        for name in known:
            cls = plugins.load(kind, name)
            assert plugins.name_of(kind, cls) == name


def test_a_module_and_a_file_give_their_class():
    assert plugins.load("task", "devi.tasks.superposition:Superposition") is Superposition
    line = plugins.load("task", f"{LINE}:Line")
    assert line.__name__ == "Line"
    assert plugins.load("task", LINE) is line
    assert plugins.name_of("task", line) == "line"


def test_two_files_of_one_name_do_not_shadow_each_other(tmp_path):
    for folder, width in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        text = f"from devi import Metric\nclass Mine(Metric):\n    width = {width}\n"
        (tmp_path / folder / "mine.py").write_text(text)
    widths = [plugins.load("metric", f"{tmp_path / folder / 'mine.py'}:Mine").width for folder in ("a", "b")]
    assert widths == [1, 2]


def test_a_stored_name_is_imported_only_if_built_in(tmp_path):
    trap = tmp_path / "trap.py"
    trap.write_text("raise SystemExit('imported')")
    assert plugins.builtin_task("superposition") is Superposition
    assert plugins.builtin_task(f"{trap}:Trap") is None
    assert plugins.builtin_task("os:path") is None


def test_an_entry_point_is_found_by_its_bare_name(monkeypatch):
    from importlib.metadata import EntryPoint, EntryPoints

    entry = EntryPoint("mine", "devi.tasks.superposition:Superposition", "devi.tasks")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **wanted: EntryPoints([entry]).select(**wanted))
    assert plugins.load("task", "mine") is Superposition
    assert "mine" in plugins.names("task")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "superpostion",
            r"no task is called 'superpostion'\. Did you mean 'superposition'\? Known: modular_addition, super",
        ),
        ("nowhere.py:X", r"nowhere\.py: there is no such file"),
        ("no_such_module:X", r"no module is called 'no_such_module'"),
        (f"{LINE}:Lin", r"Did you mean 'Line'\?"),
        ("devi.errors:DeviError", "expected a class that subclasses devi.Task"),
    ],
)
def test_a_name_that_means_nothing_says_what_was_expected(name, message):
    with pytest.raises(DeviError, match=message):
        plugins.load("task", name)


def test_a_file_that_fails_says_how(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    with pytest.raises(DeviError, match=r"running this file failed with ZeroDivisionError: division by zero"):
        plugins.load("task", f"{broken}:X")


def test_a_task_without_its_methods_says_which(tmp_path):
    half = tmp_path / "half.py"
    half.write_text("from devi import Task\nclass Half(Task):\n    def model(self): ...\n")
    with pytest.raises(DeviError, match=r"lacks data\(\), loss\(\)"):
        plugins.load("task", f"{half}:Half")


def test_help_imports_neither_torch_nor_matplotlib():
    code = (
        "import sys; from devi.cli.main import run; code = run(['--help']);"
        "heavy = [m for m in ('torch', 'matplotlib', 'numpy', 'xarray') if m in sys.modules];"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "analyze" in done.stdout
