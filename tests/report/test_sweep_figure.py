"""The picture of a sweep: what is marked where; its look was judged by eye."""

import numpy as np
import pytest
import xarray as xr

from devi.report.canvas import save
from devi.report.sweep_figure import ARROWS, sweep_figure


@pytest.fixture
def swept():
    """One checkpoint; five step sizes, of which the last blew up, and three nβ at γ/2, γ, 2γ."""
    sizes, strengths = 0.01 * 2.0 ** np.arange(-2, 3), 100 * 2.0 ** np.arange(-1, 2)
    rows = [("step_size", size, 100.0, 1.0) for size in sizes]
    rows += [("n_beta", 1.0 / strength, strength, pull) for pull in (0.5, 1.0, 2.0) for strength in strengths]
    varied, step_size, n_beta, localization = (np.array(column) for column in zip(*rows, strict=True))
    count = len(rows)
    llc, sound, flat = np.full(count, 2.5), np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
    llc[4], sound[4], sound[0] = np.nan, False, False
    flat[1:4] = True
    chosen = (np.isclose(step_size, 0.01) & (n_beta == 100)) & (localization == 1)
    columns = {"llc": llc, "llc_se": np.full(count, 0.1), "llc_raw": llc + 0.1, "is_sound": sound, "is_flat": flat}
    return xr.Dataset(
        {name: (("setting", "step"), column[:, None]) for name, column in columns.items()},
        coords={
            "step": [1200], "varied": ("setting", varied), "step_size": ("setting", step_size),
            "n_beta": ("setting", n_beta), "localization": ("setting", localization), "is_chosen": ("setting", chosen),
        },
        attrs={"sampler": "sgld", "step_size": 0.01, "n_beta": 100.0, "localization": 1.0},
    )  # fmt: skip


def legend(figure):
    return [text.get_text() for text in figure.legends[0].texts]


def arrows(axes):
    return [(line.get_marker(), line.get_xdata()[0]) for line in axes.lines if line.get_marker() in ARROWS]


def crosses(axes):
    return [line for line in axes.lines if line.get_marker() == "X"]


def test_each_checkpoint_has_a_panel_for_the_step_size_and_one_for_n_beta_on_log_axes(swept):
    figure = sweep_figure(swept)
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]
    assert "1,200" in figure.axes[0].get_title(loc="left")
    assert figure.axes[1].get_xlabel() == "nβ"


def test_failing_estimates_are_crosses_and_one_without_a_number_stands_at_the_upper_edge(swept):
    left, right = sweep_figure(swept).axes
    assert [line.get_xdata()[0] for line in crosses(left)] == pytest.approx([0.0025, 0.04])
    assert crosses(left)[1].get_ydata()[0] == 0.97
    assert not crosses(right)


def test_the_flat_region_is_shaded_to_half_way_to_the_next_setting(swept):
    (shade,) = sweep_figure(swept).axes[0].patches
    assert shade.get_x() == pytest.approx(0.005 / np.sqrt(2))
    assert shade.get_x() + shade.get_width() == pytest.approx(0.02 * np.sqrt(2))


def test_where_nothing_is_flat_the_panel_says_why(swept):
    """Above the axes, where it covers no point."""
    assert "the next settings differ" in sweep_figure(swept).axes[1].get_title(loc="right")
    swept["is_sound"] = swept["is_sound"] & False
    assert "the chosen setting is flagged" in sweep_figure(swept).axes[1].get_title(loc="right")


def test_the_chosen_setting_is_in_sight_and_what_is_far_from_it_is_an_arrow_at_the_edge(swept):
    """Only one estimate is sound, and far from the chosen one, as at a checkpoint that is no minimum."""
    chosen = int(np.flatnonzero(swept["is_chosen"].values)[0])
    swept["is_sound"] = swept["is_sound"] & False
    swept["llc"][:] = -8.0
    swept["llc"][3], swept["is_sound"][3] = 0.2, True
    swept["llc"][0], swept["llc"][1] = -500.0, 500.0
    left = sweep_figure(swept).axes[0]
    low, high = left.get_ylim()
    assert low < float(swept["llc"][chosen, 0]) < 0.2 < high
    assert arrows(left) == [(ARROWS[0], pytest.approx(0.0025)), (ARROWS[1], pytest.approx(0.005))]


def test_estimates_that_fail_have_error_bars_too(swept):
    def bars(at):
        return sum(len(container.lines[2][0].get_segments()) for container in sweep_figure(at).axes[0].containers)

    assert bars(swept) == 4  # of five step sizes; the last has no number


def test_the_legend_has_an_entry_for_what_is_drawn_only(swept):
    assert "before the step size's share is taken off" in legend(sweep_figure(swept))
    assert "flagged, beyond the axis" not in legend(sweep_figure(swept))
    swept["llc"][0] = -1e4
    assert "flagged, beyond the axis" in legend(sweep_figure(swept))
    swept["is_sound"] = swept["is_sound"] & False
    figure = sweep_figure(swept)
    assert "before the step size's share is taken off" not in legend(figure)
    assert {handle.get_linestyle() for handle in figure.legends[0].get_lines()} == {"None", "--"}


def test_hmc_has_no_curve_of_what_a_finite_step_adds_and_its_steps_are_in_widths(swept):
    swept.attrs["sampler"] = "hmc"
    figure = sweep_figure(swept)
    assert "widths" in figure.axes[0].get_xlabel()
    assert not any("taken off" in text.get_text() for text in figure.legends[0].texts)


def test_it_is_saved_as_png_and_svg(swept, tmp_path):
    paths = save(sweep_figure(swept), tmp_path / "sweep")
    assert [path.suffix for path in paths] == [".png", ".svg"]
    assert all(path.stat().st_size > 1000 for path in paths)
