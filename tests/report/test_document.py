from __future__ import annotations

import json

import numpy as np

from devi.report import transitions_document
from devi.report.document import plain, write_document


def test_document_is_the_published_schema_and_nothing_else(analysis):
    document = transitions_document(analysis)
    assert document == {
        "schema": "devi/transitions/1",
        "run": analysis.run,
        "steps": {"first": 0, "last": 4000, "count": 8},
        "transitions": [
            {
                "onset": 120.0,
                "midpoint": 300.0,
                "end": 900.0,
                "id": "t1",
                "type": "step",
                "confidence": 0.93,
                "resolvable": True,
                "intervals": {"onset": [100.0, 150.0], "midpoint": [250.0, 350.0], "end": [800.0, 1000.0]},
                "support": [
                    {
                        "metric": "test_accuracy",
                        "index": None,
                        "direction": "up",
                        "amplitude": 0.95,
                        "log_bayes_factor": 210.0,
                    },
                    {
                        "metric": "test_loss",
                        "index": None,
                        "direction": "down",
                        "amplitude": -8.5,
                        "log_bayes_factor": 88.0,
                    },
                ],
                "against": ["weight_norm"],
                "label": "generalization",
                "description": "",
                "exogenous": None,
            }
        ],
        "stages": [
            {
                "first": 0.0,
                "last": 120.0,
                "metrics": {"test_loss": {"level": 9.0, "slope": 0.0}},
                "label": "before generalization",
            }
        ],
        "skipped": [{"metric": "gini", "reason": "its range is immaterial"}],
        "settings": analysis.settings,
    }


def test_skipped_metrics_may_be_pairs(analysis):
    analysis.skipped = [("gini", "too flat")]
    assert transitions_document(analysis)["skipped"] == [{"metric": "gini", "reason": "too flat"}]


def test_file_is_json_that_other_languages_read(analysis, tmp_path):
    analysis.settings = {"llc": {"step_size": np.float64("nan"), "localization": float("inf")}}
    path = write_document(analysis, tmp_path / "transitions.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    document = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert document["settings"] == {"llc": {"step_size": None, "localization": None}}


def test_plain_keeps_integers_integers_and_arrays_lists():
    value = plain({"steps": np.array([1, 2]), "flag": np.bool_(True), 3: (1.5, np.float32(0.5))})
    assert json.dumps(value) == '{"steps": [1, 2], "flag": true, "3": [1.5, 0.5]}'
