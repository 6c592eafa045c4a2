"""What the README shows works as it stands there."""

import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_five_lines_of_h5py_read_the_sample(monkeypatch):
    text = (ROOT / "README.md").read_text()
    code = re.search(r"(    import h5py\n(?:    .*\n)+)", text).group(1)
    monkeypatch.chdir(ROOT)
    names = {}
    exec(textwrap.dedent(code), names)
    assert names["steps"][0] == 0
    assert names["weight"].shape == (len(names["steps"]), 2, 6)
    assert names["first"]["W"].shape == (2, 6)


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed (Debian: hdf5-tools)")
def test_h5dump_shows_the_sample():
    command = ["h5dump", "-d", "/checkpoints", "-s", "0", "-c", "1", "checkpoints/sample/segment-000000.h5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert 'H5T_STD_I64LE "step"' in done.stdout
    assert 'H5T_ARRAY { [2][6] H5T_IEEE_F32LE } "W"' in done.stdout


def test_the_task_in_the_readme_is_that_of_the_example():
    text, example = (ROOT / "README.md").read_text(), (ROOT / "examples/line.py").read_text()
    snippet = re.search(r"    (@dataclass\(frozen=True\)\n    class Line(?:.*\n)+?)\n", text).group(1)
    for line in textwrap.dedent(f"    {snippet}").splitlines():
        assert re.sub(r"( ->.*|: \.\.\.|  +#.*)", "", line) in example, line


def test_every_file_the_readme_links_to_is_there():
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert len(links) > 5
    for link in links:
        assert (ROOT / link).exists(), link
