"""What the README shows works as it stands there."""

import re
import textwrap
from pathlib import Path

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


def test_every_file_the_readme_links_to_is_there():
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert len(links) > 5
    for link in links:
        assert (ROOT / link).exists(), link
