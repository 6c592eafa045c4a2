from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from devi import plot
from devi.errors import DeviError
from devi.report import canvas, palette
from devi.report.figures import everything, left_out


def labels(figure) -> list[str]:
    return [axes.get_ylabel().replace("\n", " ") for axes in figure.axes]


def test_overview_stacks_losses_accuracies_and_llc_with_units_on_one_step_axis(trajectories, transition):
    figure = plot.overview(trajectories, [transition])
    assert labels(figure) == ["loss (nats)", "accuracy", "local learning coefficient"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "training step (optimizer steps)"]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


def test_transition_is_shaded_from_onset_to_end_and_numbered_at_its_midpoint(trajectories, transition):
    axes = plot.llc(trajectories, [transition]).axes[0]
    shaded = next(patch for patch in axes.patches if patch.get_alpha() == 0.22)
    corners = shaded.get_path().vertices if not hasattr(shaded, "get_x") else None
    left, right = (shaded.get_x(), shaded.get_x() + shaded.get_width()) if corners is None else np.ptp(corners, axis=0)
    assert (left, right) == (120.0, 900.0)
    number = next(text for text in axes.texts if text.get_text() == "1")
    assert number.xy[0] == 300.0


def test_a_transition_is_shaded_only_where_a_metric_supports_it(trajectories, transition):
    loss, accuracy, llc = plot.overview(trajectories, [transition]).axes
    assert [len(axes.patches) for axes in (loss, accuracy, llc)] == [1, 1, 0]
    assert [next(iter(axes.texts)).get_color() for axes in (accuracy, llc)] == [palette.BLACK, palette.SHADE]
    assert len(llc.lines) > len(plot.overview(trajectories).axes[2].lines)  # where it was stays marked


def test_of_many_metrics_those_that_moved_are_drawn_and_the_rest_is_counted(transition):
    names = [f"m{i:02}" for i in range(15)] + ["test_accuracy"]
    data = {name: ("step", np.arange(5.0)) for name in names}
    curves = xr.Dataset(data, coords={"step": [1, 10, 100, 1000, 10_000]})
    moved = replace(transition, support=(replace(transition.support[0], metric="m14"),))
    figure = everything(curves, [moved])
    assert labels(figure)[:2] == ["m14", "accuracy"]
    assert figure.get_supxlabel() == "4 more panels are not drawn"
    assert left_out(curves, [moved]) == 4
    assert everything(curves[["m00"]]).get_supxlabel() == ""


def test_what_was_done_from_outside_is_marked_with_a_letter_and_told_below(trajectories, transition):
    figure = everything(trajectories, [transition], exogenous={500: "batch*2", 300: "lr/10", 10**9: "late"})
    assert figure.get_supxlabel() == "a: lr/10 at step 300\nb: batch*2 at step 500"
    places = {text.get_text(): text.xy[0] for text in figure.axes[0].texts}
    assert places == {"1": 300.0, "a": 300.0, "b": 500.0}
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[i + 1 :])


def test_fractional_steps_are_labelled_with_their_fractions(trajectories):
    axes = plot.overview(trajectories.assign_coords(step=np.linspace(0.2, 0.9, trajectories.sizes["step"]))).axes[-1]
    axes.figure.canvas.draw()
    assert "0.6" in [label.get_text() for label in axes.get_xticklabels()]


def test_a_name_with_control_characters_leaves_no_svg_that_is_not_xml():
    assert canvas.literal("\x1b[31mloss $x") == r"\x1b[31mloss \$x"


def test_error_band_is_two_standard_errors_on_each_side(trajectories):
    axes = plot.llc(trajectories).axes[1]
    band = axes.collections[0].get_paths()[0].vertices
    assert np.isclose(band[:, 1].max(), 412.3 + 2 * 8.7)
    assert np.isclose(band[:, 1].min(), 138.2 - 2 * 4.1)


def test_flagged_estimates_are_hollow(trajectories):
    axes = plot.llc(trajectories).axes[1]
    hollow = next(line for line in axes.lines if line.get_label() == "flagged estimate")
    assert hollow.get_ydata().tolist() == [412.3]
    assert hollow.get_markerfacecolor() == "white"


def test_step_zero_has_a_tick_of_its_own(trajectories):
    figure = plot.llc(trajectories)
    figure.canvas.draw()
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["0", "1", "10", "100", "1,000"]


def test_geometry_shows_columns_norms_and_the_named_levels(superposition):
    figure = plot.feature_geometry(superposition)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["step 10", "step 100", "step 1,000"]
    names = {text.get_text() for text in figure.axes[-1].texts}
    assert {"1", "3/4", "2/3", "1/2", "2/5", "3/8", "1/4", "0"} <= names
    assert labels(figure)[-2:] == ["feature norm", "feature dimensionality"]


def test_a_projected_geometry_says_so_and_names_its_axes():
    directions = np.random.default_rng(0).normal(size=(3, 5, 30))
    data = xr.Dataset({"feature_direction": (("step", "hidden", "feature"), directions)}, coords={"step": [0, 10, 100]})
    figure = plot.feature_geometry(data)
    assert figure.axes[0].get_xlabel() == "singular direction 1"
    note = figure.subfigs[0].get_supxlabel().replace("\n", " ")
    assert note.startswith("5 hidden dimensions, projected onto the two leading singular directions of the last")
    assert note.endswith("The 20 features of largest norm, of 30.")
    assert plot.feature_geometry(data.isel(hidden=[0, 1])).axes[0].get_ylabel() == "hidden direction 2"


def test_fourier_shows_both_spectra_and_marks_the_key_frequencies(modular):
    figure = plot.fourier(modular)
    assert "embedding frequency k" in labels(figure)
    assert "restricted and excluded loss (nats)" in labels(figure)
    marked = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_marker() == "<"]
    assert marked == [2, 4]


def test_tickets_show_what_chance_would_give():
    data = {
        "ticket_overlap_previous": ("step", np.array([np.nan, 0.5, 0.9])),
        "ticket_overlap_final": ("step", np.array([0.3, 0.6, 1.0])),
        "ticket_overlap_chance": ("step", np.full(3, 0.25)),
    }
    axes = plot.tickets(xr.Dataset(data, coords={"step": [0, 10, 100]})).axes[0]
    assert axes.get_ylabel().replace("\n", " ") == "mask overlap (Jaccard)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "ticket overlap previous",
        "ticket overlap final",
        "ticket overlap chance",
    ]


def test_health_shows_limits_and_traces(trajectories):
    figure = plot.health(trajectories)
    assert labels(figure)[0] == "R-hat"
    assert any(np.allclose(line.get_ydata(), 1.1) for line in figure.axes[0].lines)
    assert "loss (nats)" in labels(figure)
    assert figure.axes[1].get_title(loc="left") == "loss along the chains, step 0"


def test_llc_is_shown_beside_its_headroom_among_the_diagnostics(trajectories):
    trajectories["llc_headroom"] = ("step", np.full(8, 10.0))
    axes = next(axes for axes in plot.health(trajectories).axes if axes.get_ylabel() == "LLC + headroom")
    assert [line.get_ydata()[0] for line in axes.lines[:2]] == [422.3, 412.3]


@pytest.mark.parametrize("name", ["overview", "llc", "feature_geometry", "fourier", "tickets", "health"])
def test_figure_without_its_curves_says_what_is_missing(name):
    empty = xr.Dataset({"words": ("step", np.array(["a", "b"]))}, coords={"step": [0, 1]})
    with pytest.raises(DeviError, match=f"the figure '{name}' has nothing to show: the result has no "):
        getattr(plot, name)(empty)


def test_one_checkpoint_is_a_visible_point(trajectories):
    figure = plot.overview(trajectories.isel(step=[3]))
    assert figure.axes[0].lines[0].get_marker() == "o"


def test_a_curve_that_varies_little_has_its_values_at_its_ticks_and_no_offset_above_them(trajectories):
    trajectories["weight_norm"] = ("step", 2302.6 + np.linspace(0, 0.01, trajectories.sizes["step"]))
    axes = plot.overview(trajectories).axes[-1]
    axes.figure.canvas.draw()
    assert axes.get_ylabel() == "weight norm"
    assert axes.yaxis.get_offset_text().get_text() == ""
    assert len({tick.get_text() for tick in axes.get_yticklabels()}) > 3


@pytest.mark.parametrize("name", ["a$b", "$\\frac", "_hidden", "漢字", "<script>"])
def test_any_name_of_a_metric_can_be_drawn(name, tmp_path):
    data = xr.Dataset({name: (("step", "k"), np.random.default_rng(0).normal(size=(3, 2)))}, coords={"step": [0, 1, 2]})
    written = canvas.save(plot.overview(data.isel(k=0).rename({name: name})), tmp_path / "figure")
    assert [path.suffix for path in written] == [".png", ".svg"]
    assert all(path.stat().st_size > 1000 for path in written)


def test_same_input_gives_the_same_svg(trajectories, tmp_path):
    first, second = (canvas.save(plot.llc(trajectories), tmp_path / name)[1].read_text() for name in ("a", "b"))
    assert first == second


def test_fonts_are_legible_when_printed_at_column_width(trajectories):
    figure = plot.overview(trajectories)
    figure.canvas.draw()
    texts = [
        text for axes in figure.axes for text in [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.yaxis.label]
    ]
    assert figure.get_size_inches()[0] == 3.5
    assert min(text.get_fontsize() for text in texts) >= 7


def test_no_two_texts_of_a_figure_overlap(superposition, trajectories, modular, transition):
    late = [transition]
    many = [replace(transition, midpoint=2 * 1.25**k) for k in range(24)]  # numbers in three rows
    for figure in (
        plot.overview(trajectories, late), plot.fourier(modular, late), plot.health(trajectories, late),
        plot.overview(trajectories, many), plot.fourier(modular, many),
    ):  # fmt: skip
        figure.canvas.draw()
        boxes = []
        for axes in figure.axes:
            texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label, *axes.texts]
            legend = axes.get_legend()
            texts += legend.get_texts() if legend else []
            inside = [
                text
                for text in texts
                if text.get_visible() and text.get_text() and not re.match(r"^\s*$", text.get_text())
            ]
            boxes += [(text.get_text(), text.get_window_extent()) for text in inside if _is_drawn(axes, text)]
        for i, (one, box) in enumerate(boxes):
            for other, another in boxes[i + 1 :]:
                assert not box.padded(-0.5).overlaps(another.padded(-0.5)), (one, other)


def _is_drawn(axes, text) -> bool:
    """Tick labels outside the view, or switched off, exist but are not drawn."""
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        for tick in axis.get_major_ticks():
            if tick.label1 is text:
                return tick.label1.get_visible() and min(limits) <= tick.get_loc() <= max(limits)
    return True


def test_report_loads_neither_torch_nor_what_draws_before_it_is_written():
    check = (
        "import sys, devi.report;"
        "loaded = {'torch', 'matplotlib', 'altair', 'jinja2', 'vl_convert'} & set(sys.modules);"
        "assert not loaded, loaded;"
        "import devi.report.page, devi.report.index, devi.report.figures; assert 'torch' not in sys.modules;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
