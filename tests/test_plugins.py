import importlib
import subprocess
import sys

import pytest

from devi import plugins
from devi.errors import DeviError
from devi.tasks.superposition import Superposition

LINE = "examples/line.py"
MINE = "from devi import Metric\nclass Mine(Metric):\n    def at(self, model, task): return {}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for a user's files; what its imports leave behind in Python is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


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


def test_a_file_may_import_its_neighbours_when_it_runs_and_later(folder):
    (folder / "early_neighbour.py").write_text("from devi import Metric\nclass Base(Metric): ...\n")
    (folder / "late_neighbour.py").write_text("VALUE = 3.0\n")
    text = "def at(self, model, task):\n        from late_neighbour import VALUE\n        return VALUE"
    (folder / "mine.py").write_text(f"from early_neighbour import Base\nclass Mine(Base):\n    {text}\n")
    assert plugins.load("metric", f"{folder / 'mine.py'}:Mine")().at(None, None) == 3.0


def test_a_module_in_the_working_directory_is_found_after_what_is_installed(folder, monkeypatch):
    (folder / "package_of_mine").mkdir()
    (folder / "package_of_mine" / "mine.py").write_text(MINE)
    (folder / "colorsys.py").write_text("raise RuntimeError('what lies here passed for what is installed')")
    monkeypatch.chdir(folder)
    assert plugins.load("metric", "package_of_mine.mine:Mine").__module__ == "package_of_mine.mine"
    sys.modules.pop("colorsys", None)
    assert importlib.import_module("colorsys").__file__ != str(folder / "colorsys.py")


def test_naming_what_is_installed_leaves_the_working_directory_alone(folder, monkeypatch):
    monkeypatch.chdir(folder)
    plugins.load("task", "devi.tasks.superposition:Superposition")
    assert str(folder) not in sys.path


def test_two_neighbours_of_one_name_are_told(folder):
    for place in ("a", "b"):
        (folder / place).mkdir()
        (folder / place / "my_helpers.py").write_text("")
        (folder / place / "mine.py").write_text("import my_helpers\n" + MINE)
    plugins.load("metric", f"{folder / 'a' / 'mine.py'}:Mine")
    with pytest.raises(DeviError, match=r"imports 'my_helpers', and .*/a/my_helpers.py has that name already.* Rename"):
        plugins.load("metric", f"{folder / 'b' / 'mine.py'}:Mine")


def test_the_digest_counts_neighbours_that_are_imported_later_or_relatively(folder, monkeypatch):
    (folder / "package_by_dots").mkdir()
    late = folder / "package_by_dots" / "late.py"
    late.write_text("VALUE = 1")
    text = "def at(self, model, task):\n        from .late import VALUE\n        return VALUE"
    (folder / "package_by_dots" / "mine.py").write_text(f"from devi import Metric\nclass Mine(Metric):\n    {text}\n")
    (folder / "late_by_name.py").write_text("VALUE = 1")
    (folder / "mine.py").write_text(
        f"from devi import Metric\nclass Mine(Metric):\n    {text.replace('.late', 'late_by_name')}"
    )
    monkeypatch.chdir(folder)
    for name, file in (("package_by_dots.mine:Mine", late), ("mine.py:Mine", folder / "late_by_name.py")):
        cls = plugins.load("metric", name)
        before = plugins.source_digest(cls)
        assert plugins.source_digest(cls) == before
        file.write_text("VALUE = 2")
        assert plugins.source_digest(cls) != before


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


def test_an_entry_point_of_a_broken_package_is_told_by_itself_and_hides_no_other(monkeypatch, capsys):
    from importlib.metadata import EntryPoint, EntryPoints

    from devi.cli.main import run

    entry = EntryPoint("broken", "devi.metrics.norms:Gone", "devi.metrics")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **wanted: EntryPoints([entry]).select(**wanted))
    told = r"metric 'broken': devi.metrics.norms:Gone could not be imported: AttributeError: .*remove it\."
    with pytest.raises(DeviError, match=told):
        plugins.load("metric", "broken")
    assert run(["metrics"]) == 0
    printed = capsys.readouterr()
    assert "norms: " in printed.out
    assert "devi: metric 'broken': " in printed.err
    assert run(["metrics", "broken"]) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "superpostion",
            r"no task is called 'superpostion'\. Did you mean 'superposition'\? Known: modular_addition, super",
        ),
        ("nowhere.py:X", r"nowhere\.py: there is no such file"),
        ("no_such_module:X", r"no module is called 'no_such_module', neither installed nor here"),
        ("no_such.module:X", r"no module is called 'no_such'.* by its path: 'no_such/module\.py:Name'"),
        ("devi.tusks:X", r"no module is called 'devi\.tusks'"),
        (":X", r"importing '' failed with ValueError"),
        (f"{LINE}:Lin", r"no task in .* is called 'Lin'\. Did you mean 'Line'\? Known: Line\."),
        ("devi.errors:DeviError", "is a class of another kind, not a task: expected a class that subclasses devi.Task"),
        ("devi.errors:shown", "is a function, not a task"),
        ("examples/stable_rank.py:StableRank", "is a metric, not a task. Where a metric is meant: --metric examples/"),
        ("examples/stable_rank.py:Lin", r"no task in .* is called 'Lin'\. There is none\."),
        ("examples/stable_rank.py", r"defines no task: expected a class that subclasses devi\.Task"),
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


def test_a_script_that_ends_the_program_says_so(folder, monkeypatch):
    """Nothing is told of a SystemExit that goes through: the shell would see a 3 and no message."""
    monkeypatch.chdir(folder)
    (folder / "script_that_exits.py").write_text(f"{MINE}raise SystemExit(3)")
    with pytest.raises(DeviError, match=r"script_that_exits\.py: running this file failed with SystemExit: 3$"):
        plugins.load("metric", "script_that_exits.py:Mine")
    with pytest.raises(DeviError, match=r"importing 'script_that_exits' failed with SystemExit: 3$"):
        plugins.load("metric", "script_that_exits:Mine")


def test_a_file_of_several_tasks_is_answered_with_their_names(folder):
    (folder / "two.py").write_text(
        "from devi.tasks.superposition import Superposition\n"
        "class One(Superposition): ...\nclass Two(Superposition): ...\n"
    )
    with pytest.raises(DeviError, match=r"two\.py defines 2 tasks; .*: \S*two\.py:One, \S*two\.py:Two\.$"):
        plugins.load("task", str(folder / "two.py"))


def test_a_file_that_lacks_a_module_says_where_one_is_looked_for(folder):
    (folder / "lacks.py").write_text("import no_such_neighbour")
    with pytest.raises(DeviError, match=r"No module named 'no_such_neighbour'\. A module must be .* or lie beside"):
        plugins.load("task", f"{folder / 'lacks.py'}:X")


@pytest.mark.parametrize(("text", "said"), [("1 / 0", "ZeroDivisionError"), ("import no_such_part", "No module named")])
def test_a_module_that_fails_says_how(folder, monkeypatch, text, said):
    (folder / "module_that_fails.py").write_text(text)
    monkeypatch.chdir(folder)
    with pytest.raises(DeviError, match=rf"importing 'module_that_fails' failed with .*{said}"):
        plugins.load("task", "module_that_fails:X")


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
