"""Runs that see series predict the test again with something missing of it, and a report shows what is lost."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.cli.app import main
from benchmark.conformance.fixtures import recipe_with
from benchmark.conformance.replay.verify import check_files, check_numbers, runs_of
from benchmark.data.series.corruptions import CORRUPTIONS
from benchmark.data.synthetic import World, generate
from benchmark.experiments.checkpoint_records import read_confusions
from benchmark.experiments.jobs import ExperimentPlan
from benchmark.experiments.run_job import train_and_score
from benchmark.experiments.session import Session
from benchmark.reporting.collect import collect
from benchmark.reporting.table_file import read_table
from benchmark.training.devices import make_fabric
from benchmark.training.prediction import METRICS
from methods.base import Method

pytestmark = pytest.mark.usefixtures("networks_once", "one_thread")
METHODS = {"": ["source-only"], "late": ["source-only", "tent"]}


@pytest.fixture(scope="module")
def sessions(protocol_file, tmp_path_factory):
    """Finished comparisons of one results folder, with networks that see the image, and the series beside it."""
    root = tmp_path_factory.mktemp("missing")
    generate(World(places=2, times=2, zones=4, zone_side=1, patch_size=32, series=True), root / "world")
    done = {}
    for series, methods in METHODS.items():
        plan = ExperimentPlan(
            str(protocol_file), root / "world", root / "results", root / "stores", recipe_with(series), "cpu"
        )
        session = done[series] = Session(plan)
        jobs = session.bench.jobs(methods, [0], ["2020"])
        session.remember(jobs)
        ends = []
        session.run(jobs, on_end=ends.append, publish=False)
        assert [end.error for end in ends] == [""] * len(jobs)
    return done


@pytest.fixture(scope="module")
def report(sessions, protocol_file):
    """The folder of the report of the newest comparison, which is not published in MLflow."""
    plan = sessions["late"].plan
    folder = plan.results / "page"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.cli.report._publish", lambda *_: False)
        assert main(["report", str(protocol_file), "--results", str(plan.results), "--output", str(folder)]) == 0
    return folder


def _run(session, method):
    found = session.results.finished(session.experiment).values()
    (run,) = [r for r in found if (r.facts["method"], r.facts["comparison"]) == (method, session.bench.comparison)]
    return run


def test_each_corruption_has_a_matrix_a_zone_and_a_metric(sessions):
    run = _run(sessions["late"], "source-only")
    step, confusions = int(run.metrics["selected/step"]), read_confusions(run.artifacts)
    whole = confusions[f"{step}/target_test"]
    for name in CORRUPTIONS:
        missing = confusions[f"{step}/target_missing/{name}"]
        assert missing.keys() == whole.keys()
        for zone, matrix in missing.items():
            assert np.array_equal(matrix.sum(1), whole[zone].sum(1)), "the same truth"
        assert run.metrics[f"target_missing/{name}/miou"] == METRICS["miou"](sum(missing.values()))
    assert any(not np.array_equal(confusions[f"{step}/target_missing/no-series"][zone], whole[zone]) for zone in whole)
    assert not any("target_missing" in place for place in confusions if not place.startswith(f"{step}/"))


@pytest.mark.parametrize(("series", "method"), [("", "source-only"), ("late", "tent")])
def test_networks_of_images_and_methods_of_the_test_stream_have_none(sessions, series, method):
    run = _run(sessions[series], method)
    assert not any("target_missing" in name for name in (*run.metrics, *read_confusions(run.artifacts)))


def test_the_report_shows_what_is_lost_and_what_the_series_adds(sessions, report):
    page, html = ((report / f"comparison.{kind}").read_text() for kind in ("md", "html"))
    run, images = (_run(sessions[series], "source-only").metrics for series in ("late", ""))
    shown = [run["target/miou"], *(run[f"target_missing/{name}/miou"] for name in CORRUPTIONS)]
    assert f"| source-only | {' | '.join(f'{100 * value:.1f}' for value in shown)} |" in page
    tent = _run(sessions["late"], "tent").metrics["target/miou"]
    assert f"| tent | {100 * tent:.1f} | – | – | – | – |" in page
    assert f"| source-only | {100 * images['target/miou']:.1f} | {100 * run['target/miou']:.1f} |" in page
    gain = run["target/miou"] - images["target/miou"]
    assert f"| source-only over itself on images alone (no method) | – | {100 * gain:+.1f} |" in page
    assert f"| tent | not requested | {100 * tent:.1f} ({100 * (tent - run['target/miou']):+.1f}) |" in page
    assert ">Missing series</h2>" in html and ">Modalities</h2>" in html
    record = json.loads((report / "comparison.json").read_text())
    assert record["missing_series"]["source-only"]["as-they-are"] == run["target/miou"]
    assert record["modalities"]["control_over_images"] == {"image + series (late)": pytest.approx(gain)}


def test_a_published_table_is_verified_with_these_columns(sessions, report):
    table, results = read_table(report), sessions["late"].results
    runs = runs_of(table, results)
    assert check_files(table).holds and check_numbers(table, runs).holds
    path = report / "cells.csv"
    text, value = path.read_text(), _run(sessions["late"], "source-only").metrics["target_missing/no-series/miou"]
    path.write_text(text.replace(f"{value:.6g}", "0.123456"))
    check = check_numbers(table, runs)
    path.write_text(text)
    assert check.holds is False and "target_missing/no-series/miou" in check.message


def test_a_sibling_of_another_version_is_left_out_with_the_reason(sessions, monkeypatch):
    results, experiment = sessions["late"].results, sessions["late"].experiment
    real, own = results.runs, sessions["late"].bench.comparison

    def runs(name, keys=None):
        return [
            r if r.facts["comparison"] == own else replace(r, facts={**r.facts, "code_version": "0.9"})
            for r in real(name, keys)
        ]

    monkeypatch.setattr(results, "runs", runs)
    left = collect(results, experiment, own).modalities
    assert list(left.lines) == ["image + series (late)"] and "code" in left.left_out["image alone"]
    mixed = collect(results, experiment, own, mixed=True).modalities
    assert list(mixed.lines) == ["image alone", "image + series (late)"] and not mixed.left_out


def test_what_is_kept_of_a_training_is_from_before_something_was_missing(sessions):
    class Counting(Method):
        """Counts its predictions in a buffer, which is kept with the weights."""

        def setup(self):
            self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

        def losses(self, source, target, progress):
            return {"segmentation": self.segmentation_loss(source)}

        def predict(self, batch):
            self.seen += 1
            return super().predict(batch)

    plan, data = sessions["late"].plan, sessions["late"].bench.fold_data("2020")
    outcome = train_and_score(
        make_fabric("cpu", "32-true"), Counting, None, data, plan.recipe, 0, lambda *_: None, lambda share: None
    )
    assert set(outcome.missing) == set(CORRUPTIONS)
    assert outcome.weights["seen"] == outcome.chosen and outcome.method.seen == outcome.chosen
