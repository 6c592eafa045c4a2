from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from devi.report import write, write_index
from devi.report.page import flag_counts, flat, for_script, page
from devi.transitions.transition import Stage


class Words(HTMLParser):
    """What a reader without scripts sees, and the scripts apart from it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.scripts, self.tags, self._inside = [], [], [], ""
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.words.append(data)


def test_page_tells_what_happened_before_it_shows_anything(html):
    seen = Words(html)
    told = [
        "toy-seed0",
        "task modular_addition · seed 0 · 8 checkpoints · 1,234 parameters",
        "One transition was found in 8 checkpoints from step 0 to 4,000.",
        "Between steps 120 and 900 one level gave way to another (generalization): test accuracy 0.05 → 1.00",
        "120 100 to 150 300 250 to 350 900 800 to 1,000 step generalization 0.93",
        "↑ test_accuracy +0.950, log BF 210 ↓ test_loss −8.50 nats, log BF 88",
        "searched, no change of its own found in 1 weight_norm",
        "The step axis is logarithmic; step 0, the initialization, is drawn apart at its left end.",
        "rhat 1 of 8 The chains disagree. Ask for more draws.",
        "before generalization , steps 0 to 120",
        "its range is immaterial gini",
        "devi analyze checkpoints/toy",
        "reasons.step_size the largest with a virial near 1",
    ]
    places = [seen.text.find(text) for text in told]
    assert -1 not in places, told[places.index(-1)]
    assert places == sorted(places)


def test_a_transition_links_to_its_evidence_where_that_was_drawn(analysis, transition):
    assert not any(
        attributes.get("href", "").startswith("figures/evidence") for _, attributes in Words(page(analysis)).tags
    )
    analysis.evidence = {transition.id: ()}
    links = [attributes["href"] for tag, attributes in Words(page(analysis)).tags if tag == "a"]
    assert "figures/evidence-t1.png" in links
    assert not any(tag == "a" for tag, _ in Words(page(analysis, figures=False)).tags)


def test_a_kinks_numbers_are_slopes_and_faint_evidence_has_a_decimal(analysis, transition):
    faint = dataclasses.replace(transition.support[1], amplitude=-0.25, log_bayes_factor=0.4)
    analysis.transitions = [dataclasses.replace(transition, type="kink", support=(faint,))]
    assert "↓ test_loss −0.250 nats per decade, log BF 0.4" in Words(page(analysis)).text


def test_a_curve_without_a_value_before_the_onset_says_from_where_its_change_is_told(analysis):
    steps = analysis.trajectories["step"].values
    late = np.where(steps > 120, 0.98 * analysis.trajectories["test_accuracy"].values, np.nan)
    analysis.trajectories["test_accuracy"] = ("step", late)
    text = Words(page(analysis, {})).text
    assert "↑ test_accuracy +0.950 from step 1,000, log BF 210 ↓ test_loss −8.50 nats, log BF 88" in text
    assert "or between those that it names" in text


def test_the_columns_of_a_stage_have_the_names_that_they_have_in_transitions(analysis):
    layers = (("step", "parameter"), np.ones((8, 2)))
    analysis.trajectories = analysis.trajectories.assign(density=layers).assign_coords(parameter=["embed", "unembed"])
    level = {"level": 1.0, "slope": 0.0}
    analysis.stages = [Stage(0.0, 120.0, {"density[1]": level, "test_loss": level, "mine[9]": level}, "steady")]
    text = Words(page(analysis, {})).text
    for name in ("density[unembed]", "test_loss", "mine[9]"):
        assert f"{name} 1.00 0" in text


def test_notices_come_first(analysis):
    analysis.notices = ["step 50 is damaged and left out"]
    text = Words(page(analysis)).text
    assert text.index("step 50 is damaged and left out") < text.index("task modular_addition")


def test_reader_without_scripts_gets_pictures(html):
    seen = Words(html)
    pictures = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert [picture["alt"] for picture in pictures] == ["overview"]
    assert pictures[0]["src"].startswith("data:image/png;base64,")


def test_page_refers_to_nothing_outside_itself(html):
    seen = Words(html)
    for tag, attributes in seen.tags:
        assert tag not in ("link", "iframe", "object", "embed")
        assert "src" not in attributes or attributes["src"].startswith("data:")
        assert not attributes.get("href", "").startswith(("http", "//", "/"))
    policy = next(attributes["content"] for _, attributes in seen.tags if "http-equiv" in attributes)
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy


def test_names_from_a_run_are_text_and_never_markup(analysis, html, transition, hostile):
    clean = len(Words(html).scripts)
    data = analysis.trajectories
    data[hostile] = ("step", np.arange(8.0), {"units": hostile, "long_name": hostile})
    analysis.trajectories = data.assign(
        {f"{hostile}2": (("step", f"{hostile}3"), np.random.default_rng(0).normal(size=(8, 2)))}
    )
    analysis.trajectories["llc_flags"][:] = hostile
    analysis.run |= {"name": hostile, "task": hostile, "task_settings": {hostile: hostile}, "metadata": {"x": hostile}}
    analysis.settings = {hostile: {hostile: hostile}}
    analysis.notices, analysis.command, analysis.skipped = [hostile], hostile, [(hostile, hostile)]
    analysis.flag_meanings = {hostile: hostile}
    analysis.transitions = [
        dataclasses.replace(
            transition, label=hostile, description=hostile, exogenous=hostile, against=(hostile,), type=hostile,
            support=(dataclasses.replace(transition.support[0], metric=hostile),),
        )
    ]  # fmt: skip
    seen = Words(page(analysis))
    assert len(seen.scripts) == clean
    assert not any("alert(1)" in script and "\\u003c" not in script for script in seen.scripts)
    assert hostile in seen.text
    specs = json.loads(next(script for script in seen.scripts if script.startswith('{"curves-0"')))
    assert any(hostile in json.dumps(spec, ensure_ascii=False).replace("\\\\", "\\") for spec in specs.values())


def test_every_chart_is_called_by_its_title_and_the_slider_by_its_step(html):
    seen = Words(html)
    specs = json.loads(next(script for script in seen.scripts if script.startswith('{"curves-0"')))
    names = [spec["description"] for spec in specs.values()]
    assert names[0] == "loss over training steps"
    assert len(set(names)) == len(names)
    assert names == [attributes["aria-label"] for _, attributes in seen.tags if attributes.get("role") == "img"]
    (slider,) = (attributes for _, attributes in seen.tags if attributes.get("id") == "slider")
    assert slider["aria-valuetext"] == "step 4,000"


def test_json_in_a_script_cannot_end_it():
    assert for_script({"</script>": "<!--&"}) == '{"\\u003c/script\\u003e":"\\u003c!--\\u0026"}'


def test_one_checkpoint_reads_as_a_table_of_values(analysis):
    analysis.trajectories, analysis.transitions = analysis.trajectories.isel(step=[7]), []
    analysis.stages = []
    text = Words(page(analysis)).text
    assert "The run has one checkpoint, at step 4,000" in text
    assert "test accuracy 1.00 LLC 138 ± 4" in text


def test_no_checkpoint_at_all_still_makes_a_page(bare):
    text = Words(page(bare(xr.Dataset(coords={"step": np.array([], dtype=int)}), notices=["all damaged"]))).text
    assert "The run has no readable checkpoint" in text
    assert "There is nothing to draw" in text


def test_no_transition_no_llc_no_test_split_still_read_well(bare):
    data = xr.Dataset({"train_loss": ("step", np.ones(5), {"units": "nats"})}, coords={"step": [0, 1, 10, 50, 100]})
    seen = Words(page(bare(data)))
    assert "No transition was found in 5 checkpoints from step 0 to 100" in seen.text
    assert "LLC" not in seen.text
    assert "no. onset" not in seen.text
    assert "Health" not in seen.text


def test_every_estimate_flagged_is_said_at_the_top(analysis):
    analysis.trajectories["llc_flags"][:] = "rhat,virial"
    text = Words(page(analysis)).text
    told = "All 8 LLC estimates are flagged by their own diagnostics (rhat 8, virial 8)"
    assert text.index(told) < text.index("Curves")
    assert flag_counts(analysis.trajectories, {"rhat": "x"}) == [("rhat", 8, "x"), ("virial", 8, "")]


def test_values_that_are_not_finite_become_gaps(bare):
    values = np.array([1.0, np.nan, np.inf, 2.0, -np.inf])
    data = xr.Dataset({"train_loss": ("step", values, {"units": "nats"})}, coords={"step": [0, 1, 10, 50, 100]})
    script = next(script for script in Words(page(bare(data))).scripts if script.startswith('{"curves-0"'))
    assert '"v":[1.0,null,null,2.0,null]' in script


@pytest.mark.parametrize("task", ["superposition", "modular"])
def test_geometry_of_the_task_is_shown(task, bare, request):
    text = Words(page(bare(request.getfixturevalue(task)))).text
    assert {"superposition": "Columns of W", "modular": "Spectrum of the embedding"}[task] in text


def test_shape_of_the_features_is_written_above_their_columns(superposition, bare):
    superposition["polygon"] = ("step", np.array(["none", "1-gon", "2-gon", "2-gon"]))
    seen = Words(page(bare(superposition)))
    assert "Columns of W at the step pointed at polygon: 2-gon" in seen.text
    assert any('"polygon: none","polygon: 1-gon"' in script for script in seen.scripts)


def test_context_that_is_not_searched_comes_after_what_is(trajectories, bare):
    trajectories["distance"] = ("step", np.arange(8.0), {"detect": 0})
    trajectories["mine"] = ("step", np.arange(8.0), {})
    text = Words(page(bare(trajectories))).text
    assert text.index("mine 7 ") < text.index("More curves") < text.index("distance 7 ")


def test_nested_settings_become_rows():
    assert flat({"a": {"b": 1, "c": {"d": [1, 2]}}, "e": "text"}) == [("a.b", "1"), ("a.c.d", "[1, 2]"), ("e", "text")]


@pytest.mark.slow
def test_a_path_whose_bytes_are_no_text_is_reported_too(analysis, tmp_path):
    odd = dataclasses.replace(analysis, run={**analysis.run, "path": "runs/caf\udce9"})  # what Python makes of b"\xe9"
    page_path = write(odd, tmp_path)
    assert "runs/caf?" in page_path.read_text(encoding="utf-8")
    assert json.loads((tmp_path / "transitions.json").read_text(encoding="utf-8"))["run"]["path"] == "runs/caf\udce9"
    write_index([(odd, tmp_path)], tmp_path)


@pytest.mark.slow
def test_write_leaves_a_page_a_document_and_figures(analysis, tmp_path):
    path = write(analysis, tmp_path / "new" / "report")
    assert path == tmp_path / "new" / "report" / "report.html"
    assert sorted(str(file.relative_to(path.parent)) for file in path.parent.rglob("*") if file.is_file()) == [
        "figures/health.png", "figures/health.svg", "figures/llc.png", "figures/llc.svg", "figures/overview.png",
        "figures/overview.svg", "report.html", "transitions.json",
    ]  # fmt: skip


@pytest.mark.slow
def test_page_of_250_checkpoints_and_20_features_is_under_3_megabytes(bare):
    random = np.random.default_rng(0)
    steps = np.unique(np.round(np.geomspace(1, 100_000, 320)).astype(int))[-250:]
    per = ("step", "feature")
    data = xr.Dataset(
        {
            **{name: ("step", random.random(250), {"units": "nats"}) for name in ("train_loss", "test_loss", "llc")},
            "llc_se": ("step", random.random(250)),
            "llc_trace": (("step", "chain", "draw"), random.random((250, 4, 2000))),
            **{name: (per, random.random((250, 20))) for name in ("feature_norm", "feature_dimensionality", "mine")},
            "feature_direction": (("step", "hidden", "feature"), random.random((250, 5, 20))),
            "embedding_spectrum": (("step", "frequency"), random.random((250, 56))),
        },
        coords={"step": steps},
    )
    assert len(page(bare(data)).encode()) < 3_000_000


def test_an_index_of_one_run_says_so(analysis, tmp_path):
    html = write_index([(analysis, tmp_path / "toy")], tmp_path).read_text(encoding="utf-8")
    assert "<title>1 run (devi)</title>" in html


def test_an_index_says_how_many_estimates_are_flagged_and_which_runs_failed(bare, hostile, tmp_path):
    steps = {"step": [0, 1, 2]}
    llc = xr.Dataset({"llc": ("step", np.ones(3)), "llc_flags": ("step", ["mixing", "mixing,headroom", ""])}, steps)
    llc["llc_flags"].attrs["information"] = "headroom"
    path = write_index([(bare(llc), tmp_path / "a")], tmp_path, failed=[f"b: {hostile}"])
    seen = Words(path.read_text(encoding="utf-8"))
    assert "2 of 3 LLC estimates are flagged (mixing 2): the report says why." in seen.text
    assert "1 run could not be analyzed" in seen.text
    assert f"b: {hostile}" in seen.text
    assert seen.scripts == []


def test_index_lists_runs_with_relative_links(analysis, bare, hostile, tmp_path):
    other = bare(xr.Dataset({"x": ("step", np.ones(3))}, coords={"step": [0, 1, 2]}))
    other.run["name"] = hostile
    path = write_index([(analysis, tmp_path / "toy 1"), (other, tmp_path / "b")], tmp_path)
    seen = Words(path.read_text(encoding="utf-8"))
    assert [attributes["href"] for tag, attributes in seen.tags if tag == "a"] == [
        "b/report.html",
        "toy%201/report.html",
    ]
    assert "2 runs" in seen.text
    assert "Between steps 120 and 900" in seen.text
    assert hostile in seen.text
    assert seen.scripts == []
    assert re.search(r"toy\.py:Line", seen.text)
