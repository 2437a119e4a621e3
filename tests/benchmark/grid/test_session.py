"""From jobs to a comparison in MLflow: finished ones stay, failed ones say why, and the rest goes on."""

import json
import math
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from benchmark import savepoints
from benchmark.comparison import summary_metrics
from benchmark.errors import TrackingError
from benchmark.evaluation import miou
from benchmark.grid.asked import TunedRows, keys, newest
from benchmark.grid.cells import best_record
from benchmark.grid.publishing import publish
from benchmark.grid.session import Session
from benchmark.grid.standing import Aside, _code, _networks, _remarks, standing
from benchmark.provenance import Provenance
from benchmark.selection import RULES
from benchmark.tracking.reading import records
from methods.base import Method

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
LABELS = ["source-only", "oracle", "tests_failing:Failing"]


class Failing(Method):
    """Breaks on seed 1."""

    def losses(self, source, target, progress):
        if self.seed == 1:
            raise RuntimeError("no idea\nwhat to do")
        return {"segmentation": self.segmentation_loss(source)}


@pytest.fixture(scope="module")
def ended(session, monkeypatch_module):
    """All jobs of three methods, one fold and two seeds, run once."""
    jobs = session.bench.jobs(LABELS, [0, 1], ["2020"])
    session.remember(jobs)
    ends = []
    session.run(jobs, 1, lambda job, share: None, ends.append)
    return jobs, ends


@pytest.fixture(scope="module")
def monkeypatch_module():
    import sys

    sys.modules["tests_failing"] = sys.modules[__name__]
    yield
    del sys.modules["tests_failing"]


def test_a_failed_job_says_why_and_the_rest_goes_on(session, ended):
    _, ends = ended
    assert [bool(end.error) for end in ends] == [False, False, False, False, False, True]
    assert "RuntimeError: no idea what to do" in ends[-1].error
    record = session.tracker.cells(session.experiment)[-1]
    assert record.status == "FAILED" and "no idea" in (record.error or "")


def test_what_starts_from_the_source_run_has_its_weights_and_waits_for_it(session, ended):
    """Nothing is learned at a rate of 0, so that the prediction is the source model's with other statistics."""
    jobs = session.bench.jobs(["tent[learning_rate=0]", "batch-norm-adaptation[prior=0]"], [0], ["2020"])
    ends = []
    session.run(jobs[1:], 1, lambda job, share: None, ends.append)
    assert [end.error for end in ends] == ["", ""]
    records = session.tracker.finished(session.experiment)
    source, tent, statistics = (records[job.identity] for job in jobs)
    own, same, before = (record.metrics["target/miou"] for record in (tent, statistics, source))
    assert own == pytest.approx(same, abs=2e-3)  # the one has the biased variance, the other not
    assert abs(own - before) > 1e-2
    assert tent.metrics["target_after_update/miou"] == tent.metrics["target/miou"]
    assert tent.facts["rule"] == "last-step" and tent.metrics["selected/step"] == 0
    weights = [load_file(record.artifacts / "weights.safetensors") for record in (source, tent)]
    name = "network.model.segmentation_head.0.weight"
    assert np.array_equal(weights[0][name], weights[1][name])
    (parent, orphan) = session.bench.jobs(["tent"], [7], ["2020"])
    session.run([orphan], 1, lambda job, share: None, ends.append)
    assert "from which it starts, is not there; run the command again" in ends[-1].error
    facts = session.bench.facts(parent)
    with session.tracker.start(session.experiment, "source", facts, parent.identity, session.bench.dataset_fact()):
        session.run([orphan], 1, lambda job, share: None, ends.append)
    assert ends[-1].taken and not ends[-1].error


def test_a_finished_job_is_not_run_again_and_a_failed_one_is(session, ended):
    jobs, _ = ended
    assert session.left(jobs) == [jobs[-1]]


def test_a_run_holds_every_fact_metric_and_artifact(session, ended):
    jobs, ends = ended
    record = session.tracker.finished(session.experiment)[jobs[0].identity]
    assert record.facts["method"] == "source-only" and record.tags["fold"] == "2020"
    metrics = record.metrics
    assert metrics["target/miou"] == pytest.approx(ends[0].miou)
    for name in ("source_val/miou", "target/f1", "target/overall_accuracy", "target/iou/water", "selected/drop"):
        assert name in metrics
    assert {"target_domain/d901_2020/miou", "selection/oracle-rule/target_miou"} <= set(metrics)
    assert metrics["selection/oracle-rule/target_miou"] >= metrics["selection/last-step/target_miou"]
    names = {str(path.relative_to(record.artifacts)) for path in record.artifacts.rglob("*") if path.is_file()}
    assert {"confusions.npz", "weights.safetensors", "settings.json", "panel.png", "confusion/d901_2020.csv"} <= names
    assert {"checkpoints.json", "sample.npz"} <= names
    assert json.loads((record.artifacts / "settings.json").read_text())["recipe"]["steps"] == 4
    assert Image.open(record.artifacts / "panel.png").width > 500
    assert load_file(record.artifacts / "weights.safetensors")


def test_every_checkpoint_is_scored_by_every_rule_but_the_costly_one(session, ended):
    record = session.tracker.finished(session.experiment)[ended[0][0].identity]
    checkpoints = json.loads((record.artifacts / "checkpoints.json").read_text())
    assert [checkpoint["step"] for checkpoint in checkpoints] == [2, 4]
    measured = set(RULES) - {"source-validation", "last-step", "oracle-rule", "leave-one-source-domain-out"}
    for checkpoint in checkpoints:
        assert measured <= set(checkpoint["scores"]) and np.isfinite(list(checkpoint["scores"].values())).all()
    assert record.metrics["selection_score/nuclear-norm"] == checkpoints[-1]["scores"]["nuclear-norm"]
    assert {f"selection/{rule}/target_miou" for rule in measured} <= set(record.metrics)
    rules = {line.rule: line for line in standing(session.tracker, session.experiment).rules}
    assert set(rules) == set(RULES) - {"leave-one-source-domain-out"} and rules["oracle-rule"].regret.mean == 0


def test_the_metrics_can_be_computed_again_from_the_record(session, ended):
    record = session.tracker.finished(session.experiment)[ended[0][0].identity]
    matrices = np.load(record.artifacts / "confusions.npz")
    step = int(record.metrics["selected/step"])
    total = sum(matrices[key] for key in matrices if key.startswith(f"{step}/target_test/"))
    assert miou(total) == pytest.approx(record.metrics["target/miou"])
    assert len({key.rpartition("/target_test/")[2] for key in matrices if "/target_test/" in key}) == len(
        set(session.bench.fold_data("2020").parts["target_test"].zones)
    )


def test_the_same_job_gives_the_same_numbers_elsewhere(plan, ended, tmp_path):
    jobs, ends = ended
    again = []
    Session(replace(plan, results=tmp_path)).run(jobs[:1], 1, lambda job, share: None, again.append)
    assert again[0].miou == ends[0].miou


def test_a_job_that_another_call_has_finished_meanwhile_is_not_run(session, ended):
    again = []
    session.run(ended[0][:1], 1, lambda job, share: None, again.append)
    assert again[0].taken and not again[0].error


def test_a_comparison_of_skipped_jobs_only_says_why(session, plan, tmp_path):
    other = Session(replace(plan, results=tmp_path))
    jobs = [replace(job, skip="no images") for job in other.bench.jobs(["oracle"], [0])]
    other.remember(jobs)
    state = standing(other.tracker, other.experiment)
    assert {(cell.status, cell.reason) for cell in state.cells} == {("skipped", "no images")}
    assert state.facts["steps"] == "4"


def test_a_cell_shows_the_newest_code_of_its_method_only(session, ended):
    records = session.tracker.cells(session.experiment)
    newest = next(record for record in records if record.status == "FINISHED")
    failed = replace(newest, identity="of newer code", status="FAILED")
    key = newest.facts["method"], newest.facts["fold"], newest.facts["seed"]
    assert best_record([newest, failed])[key] == failed
    assert best_record([newest, replace(newest, status="FAILED")])[key] == newest


def test_methods_are_held_against_the_control_with_each_kind_of_noise(session, ended):
    state = standing(session.tracker, session.experiment)
    lines = {line.method: line for line in state.paired}
    assert set(lines) == {"oracle", "tests_failing:Failing"} and state.ranking is None
    metrics = {line.method: line for line in state.lines}
    assert lines["oracle"].gain == metrics["oracle"].gain and lines["oracle"].between_patches > 0
    assert lines["tests_failing:Failing"].silent == "1 held-out domain cannot reach 5 % in 1 comparison"
    assert lines["oracle"].silent == "", "a bound is not tested"
    assert state.grid.held_out == {"2020": {"time": "2020"}}


def test_runs_of_several_versions_share_a_table_only_when_asked_for(session, ended, monkeypatch):
    cells = session.tracker.cells(session.experiment)
    first = next(record for record in cells if record.status == "FINISHED")
    other = replace(first, facts=first.facts | {"code_version": "0.9"})
    mixed = [other if record is first else record for record in cells]
    monkeypatch.setattr(session.tracker, "cells", lambda experiment: mixed)
    with pytest.raises(TrackingError, match=r"code .*0\.9 \(1\).*--mixed"):
        standing(session.tracker, session.experiment)
    state = standing(session.tracker, session.experiment, mixed=True)
    assert state.alarms[0].startswith("runs of several versions of landshift") and "0.9 (1)" in state.alarms[0]


@pytest.mark.parametrize("name", ["code_version", "packages", "processor", "device"])
def test_runs_of_another_provenance_share_a_table_only_when_asked_for(session, ended, monkeypatch, name):
    cells = session.tracker.cells(session.experiment)
    first = next(record for record in cells if record.status == "FINISHED")
    where = "tags" if name == "device" else "facts"
    other = replace(first, **{where: {**getattr(first, where), name: "other"}})
    monkeypatch.setattr(
        session.tracker, "cells", lambda experiment: [other if record is first else record for record in cells]
    )
    with pytest.raises(TrackingError, match=r"other \(1\).*--mixed"):
        standing(session.tracker, session.experiment)


def test_a_table_of_a_changed_engine_says_so_also_when_nothing_is_left_to_do(session, ended, monkeypatch):
    monkeypatch.setattr("benchmark.grid.standing.code_version", lambda: "of tomorrow")
    alarms = standing(session.tracker, session.experiment).alarms
    assert any("another version of landshift" in alarm and "of tomorrow" in alarm for alarm in alarms)


def test_results_of_other_code_of_a_method_are_marked(session, ended):
    state = standing(session.tracker, session.experiment)
    assert not any("another version" in alarm or "several versions" in alarm for alarm in state.alarms)
    one = next(record for record in session.tracker.cells(session.experiment) if record.status == "FINISHED")
    other = replace(one, facts=one.facts | {"method_digest": "of another day"})
    gone = replace(one, facts=one.facts | {"method": "no-such-method"})
    module = replace(one, facts=one.facts | {"method": "this:Method"})
    assert _remarks({0: one, 1: other}) == ["all runs are of several versions of a method's code"]
    (remark,) = _remarks({0: one, 1: gone})
    assert remark.startswith("the runs of no-such-method are of another version")
    (remark,) = _remarks({0: one, 1: module})
    assert remark.startswith("the runs of this:Method are of modules that a report never imports")
    assert "this" not in sys.modules


def test_the_standing_names_every_cell(session, ended):
    state = standing(session.tracker, session.experiment)
    status = {(cell.method, cell.seed): (cell.status, cell.reason) for cell in state.cells}
    assert status["source-only", 0] == ("done", "")
    failed, reason = status["tests_failing:Failing", 1]
    assert failed == "failed" and "no idea" in reason
    assert state.grid.control == "source-only" and state.grid.bounds == {"oracle"}
    lines = {line.method: line for line in state.lines}
    assert lines["source-only"].target.cells == 2 and lines["tests_failing:Failing"].target.cells == 1
    assert lines["source-only"].gain.mean == 0


def test_other_settings_are_left_aside(session, ended, plan, monkeypatch):
    other = Session(replace(plan, recipe=replace(plan.recipe, steps=3)))
    facts = {**other.bench.shared_facts(), "devices": 1}  # as earlier versions wrote it down: no difference
    monkeypatch.setattr(other.bench, "shared_facts", lambda: facts)
    jobs = other.bench.jobs(["source-only"], [0], ["2020"])
    other.remember(jobs)
    other.run(jobs, 1, lambda job, share: None, lambda end: None)
    newest = standing(other.tracker, other.experiment)
    assert [cell.method for cell in newest.cells] == ["source-only"] and sum(
        aside.runs for aside in newest.others.values()
    ) >= 5
    older = standing(session.tracker, session.experiment, session.bench.comparison)
    assert len(older.cells) == 6 and list(older.others.values()) == [Aside(1, "steps 3")]


def test_summaries_carry_the_numbers_and_figures_of_the_comparison(session, ended, tmp_path):
    state = standing(session.tracker, session.experiment, session.bench.comparison)
    figure = tmp_path / "comparison.png"
    Image.new("RGB", (4, 4)).save(figure)
    for _ in range(2):
        publish(session.tracker, session.experiment, session.bench.protocol, state, "| a | table |", [figure])
    assert "| a | table |" in session.tracker.tags(session.experiment)["mlflow.note.content"]
    line = state.lines[0]
    assert summary_metrics(line)["summary/target_miou_mean"] == line.target.mean
    runs = {run.name: run for run in records(session.tracker.results, session.experiment, "summary")}
    assert all((run.artifacts / figure.name).read_bytes() == figure.read_bytes() for run in runs.values())
    assert {run.name: run.facts["rule"] for run in runs.values()} == {line.method: line.rule for line in state.lines}
    assert {state.lines[k].rule for k in (0, 1)} == {"source-validation", "last-step"}
    metrics = {name: run.metrics for name, run in runs.items()}
    assert set(metrics) == {line.method for line in state.lines}
    assert metrics["source-only"]["summary/rare_miou_mean"] == line.rare > 0
    assert metrics["source-only"]["summary/images"] == pytest.approx(4 * session.plan.recipe.batch_size)
    for paired in state.paired:
        assert metrics[paired.method]["summary/gain_noise_patches"] == paired.between_patches
    fewer = replace(state, lines=state.lines[:1])
    publish(session.tracker, session.experiment, session.bench.protocol, fewer, "")
    left = {run.name for run in records(session.tracker.results, session.experiment, "summary")}
    assert left == {state.lines[0].method}, "summaries of another comparison do not stay beside it"


def test_a_killed_job_goes_on_where_it_stopped(plan, tmp_path, monkeypatch, caplog):
    """One run is KILLED, the next has every point of the curves once and the numbers of an unbroken one."""
    monkeypatch.setattr(savepoints, "SHARE", math.inf)
    results = []
    for name in ("cut", "whole"):
        shutil.copytree(plan.results, tmp_path / name, ignore=shutil.ignore_patterns("artifacts"))
        session = Session(replace(plan, results=tmp_path / name, save_every=0.0))
        jobs = session.bench.jobs(["mmd"], [5], ["2020"])
        trained: list[int] = []
        if name == "cut":
            with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(Method, "after_step", _dies_at(3))
                session.run(jobs, 1, lambda job, share: None, lambda ended: None)
            (left,) = (tmp_path / name / "unfinished").iterdir()
            assert left.name == jobs[0].identity[:16]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Method, "after_step", lambda self, progress, seen=trained: seen.append(progress.step))
            session.run(jobs, 1, lambda job, share: None, lambda ended: None)
        assert trained == ([3] if name == "cut" else [0, 1, 2, 3])
        assert caplog.text.count("mmd · 2020 · seed 5 goes on after step 3 of 4") == 1
        assert not list((tmp_path / name / "unfinished").iterdir())
        runs = [run for run in session.tracker.cells(session.experiment) if run.identity == jobs[0].identity]
        assert [run.status for run in runs] == (["KILLED"] if name == "cut" else []) + ["FINISHED"]
        names = [metric for metric in runs[-1].metrics if not metric.startswith("time/")]
        results.append({metric: session.tracker.history(runs[-1].id, metric) for metric in names})
    assert results[0] == results[1]
    assert [step for step, _ in results[0]["train/loss/segmentation"]] == [0, 1, 2, 3]


def _dies_at(step):
    def after_step(self, progress):
        if progress.step == step:
            raise KeyboardInterrupt

    return after_step


def test_savepoints_of_finished_jobs_are_swept(session, ended):
    jobs, _ = ended
    unfinished = session.plan.results / "unfinished"
    for name in (jobs[0].identity[:16], "of-another-job"):
        (unfinished / name).mkdir(parents=True)
    session.left(jobs)
    assert [folder.name for folder in unfinished.iterdir()] == ["of-another-job"]


def test_the_newest_comparison_is_that_of_the_newest_run_and_of_several_the_one_asked_for_last(session, ended):
    """A table with tuned rows shares its runs with the one without, or has been the only one asked for."""
    assert newest(["a", "b-tuned", "a-tuned"], ["b", "a"]) == "a-tuned"
    assert newest(["a-tuned"], ["a"]) == "a-tuned"
    assert newest(["a", "b"], []) == "b"
    jobs, _ = ended
    session.remember(jobs, TunedRows("later", "by hand", {}))
    session.remember(jobs, TunedRows("earlier", "by hand", {}))
    session.remember(jobs)
    session.remember(jobs, TunedRows("later", "by hand", {}))
    mine = [key for key in keys(session.tracker, session.experiment) if key.startswith(session.bench.comparison)]
    assert [key.partition("-")[2] for key in mine] == ["earlier", "", "later"]


def test_runs_of_another_version_stop_a_run_before_it_trains(session, ended, monkeypatch):
    done = [job for job in ended[0] if job.label == "source-only"]
    here = Provenance.here("cpu")
    session.refuse_mixture(done, here)
    for name in here.key:
        with pytest.raises(TrackingError, match=rf"2 of these runs are done.*{name} .*here of tomorrow.*--results"):
            session.refuse_mixture(done, replace(here, **{name: "of tomorrow"}))
    session.refuse_mixture([], replace(here, code="of tomorrow"))


def test_a_table_tells_the_version_of_its_runs_not_of_who_wrote_it(session, ended):
    best = dict(enumerate(session.tracker.cells(session.experiment)[:3]))
    facts = best[0].facts | {"code_version": "of yesterday"}
    assert _code(best) == session.bench.shared_facts()["code_version"]
    assert "of yesterday (1 runs)" in _code(best | {0: replace(best[0], facts=facts)})


def test_a_network_that_the_method_changed_is_named_beside_the_config_s(session, ended):
    jobs = session.bench.jobs(["instance-batch-norm"], [6], ["2020"])
    session.run(jobs, 1, lambda job, share: None, lambda end: None)
    finished = session.tracker.finished(session.experiment)
    changed, plain = (finished[job.identity] for job in (jobs[0], ended[0][0]))
    assert changed.tags["network_changed"] == "33,596 parameters; the config's has 33,596"
    assert "network_changed" not in plain.tags
    words = f"the network of instance-batch-norm is changed by the method ({changed.tags['network_changed']})"
    assert _networks({0: changed, 1: changed, 2: plain}) == {"networks": words}
    assert _networks({2: plain}) == {}
    session.remember(jobs, TunedRows("changed", "by hand", {}))
    state = standing(session.tracker, session.experiment, f"{session.bench.comparison}-changed")
    assert state.facts["networks"] == words
