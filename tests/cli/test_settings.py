import pytest

from devi.cli.settings import by_metric, read_settings
from devi.errors import DeviError


def test_set_wins_over_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("features = 5\nhidden = 2\n")
    assert read_settings(path, ["features=7"]) == {"features": "7", "hidden": 2}


def test_a_value_may_hold_an_equals_sign():
    assert read_settings(None, ["note=a=b"]) == {"note": "a=b"}


def test_metric_settings_come_as_dotted_keys_or_tables():
    assert by_metric({"tickets.kept_fraction": "0.3", "llc": {"chains": 8}, "llc.draws": "9"}) == {
        "tickets": {"kept_fraction": "0.3"},
        "llc": {"chains": 8, "draws": "9"},
    }


@pytest.mark.parametrize("text", ["features", "=3", " =3"])
def test_what_is_not_an_assignment_is_refused(text):
    with pytest.raises(DeviError, match="Expected KEY=VALUE"):
        read_settings(None, [text])


def test_a_setting_without_a_metric_is_refused():
    with pytest.raises(DeviError, match="setting 'chains' names no metric"):
        by_metric({"chains": "4"})


def test_a_file_that_is_no_toml_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("features: 5")
    with pytest.raises(DeviError, match="Expected a TOML file"):
        read_settings(path, [])
