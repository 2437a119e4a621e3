"""Folds that hold out hundreds of places, and comparisons of hundreds of folds: MLflow's limits stop none of them."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from benchmark.experiments.jobs import Bench
from benchmark.experiments.request import TunedRows, keys, read_request
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.session import Session
from benchmark.reporting.collect import collect

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
PLACES = [f"Commune de Saint-Exemple-sur-Loire, canton {number:03}" for number in range(204)]
PROTOCOL = """
name = "many"
version = 1
dataset = "world"
title = "Many"
description = "Places."
confounds = "Nothing."
"""


@pytest.fixture(scope="module")
def many(catalog):
    """The sixteen patches of the tiny world again and again: 200 places of one zone, and four of four zones."""
    zones = [*PLACES[:200], *(f"{place} {zone}" for place in PLACES[200:] for zone in "abcd")]
    rows = catalog.patches.iloc[[number % len(catalog) for number in range(len(zones))]].copy()
    rows["id"], rows["zone"], rows["time"] = [f"p{number:03}" for number in range(len(zones))], zones, "2019"
    rows["place"] = [*PLACES[:200], *(place for place in PLACES[200:] for _ in "abcd")]
    return replace(catalog, patches=pd.DataFrame(rows))


@pytest.fixture
def open_bench(many, plan, tmp_path, monkeypatch):
    """Opens a plan with some further lines of the protocol."""
    monkeypatch.setattr("benchmark.experiments.jobs.open_catalog", lambda dataset, data: many)
    monkeypatch.setattr("benchmark.experiments.jobs.check_ground", lambda *ground: None)  # sixteen grounds for all

    def opened(lines):
        (tmp_path / "many.toml").write_text(PROTOCOL + lines, encoding="utf-8")
        return Bench(replace(plan, protocol=str(tmp_path / "many.toml"), results=tmp_path / "results"))

    return opened


def test_a_fold_of_two_hundred_places_is_run_and_reported(open_bench):
    lists = [json.dumps(PLACES[:200]), json.dumps(PLACES[:199])]
    folds = "".join(f'[[fold]]\nname = "fold {n}"\ntarget = {{place = {names}}}\n' for n, names in enumerate(lists))
    bench = open_bench(f"{folds}[split]\nadapt_share = 0\n")
    session = Session(bench.plan, bench=bench)
    jobs = bench.jobs(["source-only"], [0])
    session.remember(jobs)
    ends = []
    session.run(jobs, on_end=ends.append)
    assert [end.error for end in ends] == ["", ""]
    first, second = session.results.runs(session.experiment)
    told = f"200 names, first {PLACES[0]}, sha256 "
    assert first.facts["held_out_place"].startswith(told) and len(first.facts["held_out_place"]) == len(told) + 8
    assert second.facts["held_out_place"].startswith("199 names") and first.facts["held_out_time"] == "none"
    whole = json.loads((first.artifacts / "settings.json").read_text(encoding="utf-8"))
    assert whole["facts"]["held_out_place"] == PLACES[:200]
    state = collect(session.results, session.experiment)
    assert {cell.status for cell in state.cells} == {"done"} and len(state.grid.held_out) == 2


@pytest.mark.slow
def test_a_comparison_of_two_hundred_folds_is_remembered_with_tuned_rows_and_reasons(open_bench):
    bench = open_bench('hold_out = ["place"]\n[split]\nadapt_share = 0\n')
    session = Session(bench.plan, bench=bench)
    jobs = bench.jobs(["source-only", "dacs", "mmd"], [0])
    assert len(bench.folds) == 204 and sum(bool(job.skip) for job in jobs) == 2 * 204
    rows = {f"v-rex (tuned {n})": dict.fromkeys(bench.folds, f"v-rex[weight=0.{n}]") for n in range(20)}
    session.remember(jobs, TunedRows("key", "by hand", rows))
    (key,) = keys(session.results, session.experiment)
    asked = read_request(session.results, session.experiment, key)
    assert len(asked.grid.folds) == 204 and asked.labels == rows and set(asked.skipped) == {"dacs", "mmd"}


def test_an_experiment_of_hundreds_of_settings_has_colours_for_all(results):
    """A tuning has a label for each trial."""
    labels = [f"adversarial-alignment[maps=softmax,width=16,weight=0.{number:04}]" for number in range(200)]
    colors = [results.look("hundreds", label) for label in labels]
    assert colors == [ResultsFolder(results.folder).look("hundreds", label) for label in labels]
    assert len({look["mlflow.runColor"] for look in colors[:12]}) == 12
