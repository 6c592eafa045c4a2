"""What a stranger's run says of itself reaches the report as text, and what is damaged in it stands at the top."""

from __future__ import annotations

import dataclasses
import html
import json
import re

import numpy as np
import torch

from devi import Recorder, analyze, open_run, report
from devi.tasks.superposition import Superposition

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@dataclasses.dataclass(frozen=True)
class Quiet(Superposition):
    """Superposition, of which only the losses are followed."""

    def metrics(self):
        return ("losses",)


def test_names_and_metadata_of_a_run_are_text_in_its_report(tmp_path):
    task = Quiet(features=3, hidden=2)
    about = {
        "task": HOSTILE,
        "device": HOSTILE,
        "git": {HOSTILE: HOSTILE},
        "versions": {HOSTILE: HOSTILE},
        "seed": HOSTILE,
    }
    place = tmp_path / HOSTILE.replace("/", "")
    with Recorder(place, task, metadata={**about, HOSTILE: HOSTILE, "data_hash": HOSTILE}) as record:
        model = task.model()
        for step in range(12):
            with torch.no_grad():
                model.W += 0.01
            record(step, model, **{HOSTILE: float(step)})
    path = place / "segment-000000.h5"
    run = open_run(place, task)
    header = run._records.segments[0].header
    content = bytearray(path.read_bytes())
    content[header.data_offset + 5 * header.layout.dtype.itemsize + 17] ^= 1  # of record 5
    path.write_bytes(content)

    analysis = analyze(open_run(place, task))
    assert 5 not in analysis.trajectories["step"]
    report.write(analysis, tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert len(re.findall("</script", page)) == len(re.findall("<script", page))
    top = html.unescape(page[: page.index("</ul></div>")])
    assert "record 5 (step 5) is damaged and left out: its digest is wrong" in top
    document = json.loads((tmp_path / "report" / "transitions.json").read_text())
    assert document["run"]["metadata"]["device"] == HOSTILE
    index = report.write_index([(analysis, tmp_path / "report")], tmp_path)
    assert "<script>alert" not in index.read_text()
    assert np.isfinite(analysis.trajectories["train_loss"]).all()
