"""The study of class shares: estimators, runs of both layouts, and what is written."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.common.errors import DataError

SCRIPT = Path(__file__).resolve().parents[2] / "results" / "scripts" / "share_errors.py"
OVER = np.array([[50, 0], [20, 30], [9, 0]])


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("share_errors", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def published(tmp_path):
    """Return a published table of three runs, whose errors grow with the method, and the folder of their results."""
    real = json.loads((SCRIPT.parents[1] / "published/trees-leave-years-out-v1/comparison.json").read_text("utf-8"))
    cells = []
    for number, method in enumerate(("oracle", "source-only", "dacs", "dann")):
        wrong = np.array([[50 - number, number], [number * 10, 50 - number * 10], [0, 0]])
        cells.append(
            {**real["cells"][0], "method": method, "run": f"r{number}", "identity": f"i{number}", "step": 5}
            | {"target_miou": 0.9 - number / 10}
        )
        if number % 2:  # the older layout
            folder = tmp_path / f"results/artifacts/trees-leave-years-out-v1/r{number}/artifacts"
            arrays = {f"5/{part}/a@1|{zone}": wrong for part in ("target_test", "source_val") for zone in (1, 2)}
        else:
            folder = tmp_path / f"results/runs/i{number}"
            arrays = {f"5/{part}": np.stack([wrong, wrong]) for part in ("target_test", "source_val")}
            arrays |= {f"zones/{part}": np.array(["a@1|1", "a@1|2"]) for part in ("target_test", "source_val")}
        folder.mkdir(parents=True)
        np.savez(folder / "confusions.npz", **arrays)
    (tmp_path / "table").mkdir()
    (tmp_path / "table/comparison.json").write_text(json.dumps({**real, "cells": cells}), "utf-8")
    return tmp_path / "table", tmp_path / "results"


def test_each_estimator_does_what_its_name_says(study):
    found = study.estimates(np.array([[0, 0], [28, 72], [5, 5]]), [OVER, OVER])
    assert found["as counted"].tolist() == pytest.approx([0.28, 0.72])
    assert found["less the mean error"].tolist() == pytest.approx([0.08, 0.92])
    assert found["inverse of the confusion"].tolist() == pytest.approx([0, 1], abs=1e-5)
    assert found["by p(true given predicted)"].tolist() == pytest.approx([0.28 * 5 / 7, 0.28 * 2 / 7 + 0.72])


def test_a_published_table_is_read_from_runs_of_both_layouts(study, published, tmp_path, monkeypatch):
    table, results = published
    words = ["", str(tmp_path / "out"), str(table), "--results", str(results), "--class", "tree"]
    monkeypatch.setattr(sys, "argv", words)
    study.main()
    page = (tmp_path / "out/share-errors.md").read_text("utf-8")
    assert "| source-only | 80.0 | 9.0 | – | 9.0 | 0.0 | 0.0 |" in page and "Rank correlation: -1.00" in page
    shares = (tmp_path / "out/shares-tree.csv").read_text("utf-8").splitlines()
    assert shares[2] == "table,source-only,a@1,0.50000,0.41000" and len(shares) == 5
    assert (tmp_path / "out/share-errors.png").stat().st_size > 1000


def test_a_run_that_is_not_there_is_one_error(study, published):
    table, results = published
    for file in results.rglob("*.npz"):
        file.unlink()
    with pytest.raises(DataError, match="the run r0 is not in"):
        study.compare(study.read_table(table), results)
