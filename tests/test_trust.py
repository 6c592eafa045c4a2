"""The page docs/trust.md says what the code says."""

import re
from pathlib import Path

from devi.sampling.diagnostics import FLAG_MEANINGS, INFORMATION

PAGE = Path(__file__).parents[1] / "docs" / "trust.md"


def test_the_page_lists_every_flag_in_the_codes_own_words():
    rows = re.findall(r"^\| `(\w+)` \| (information|unhealthy) \| (.*) \|$", PAGE.read_text(), flags=re.M)
    kinds = {word: "information" if word in INFORMATION else "unhealthy" for word in FLAG_MEANINGS}
    assert rows == [(word, kinds[word], meaning) for word, meaning in FLAG_MEANINGS.items()]


def test_every_picture_of_the_page_is_there_as_png_and_svg_and_says_what_it_shows():
    pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", PAGE.read_text())
    assert len(pictures) == 4
    for words, name in pictures:
        assert len(words) > 40
        assert (PAGE.parent / name).is_file()
        assert (PAGE.parent / name).with_suffix(".svg").is_file()


def test_the_readme_links_to_the_page():
    assert "docs/trust.md" in (PAGE.parents[1] / "README.md").read_text()
