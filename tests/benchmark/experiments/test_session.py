"""From jobs to a comparison in MLflow: finished ones stay, failed ones say why, and the rest goes on."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from benchmark.common.errors import TrackingError
from benchmark.evaluation.comparison import summary_metrics
from benchmark.evaluation.confidence import confidence_metrics
from benchmark.evaluation.selection import RULES
from benchmark.experiments.cells import best_record
from benchmark.experiments.checkpoint_records import read_confusions
from benchmark.experiments.confidence_record import read_confidence
from benchmark.experiments.provenance import Provenance
from benchmark.experiments.request import TunedRows, keys, newest
from benchmark.experiments.run_folder import folder_of, read_run
from benchmark.experiments.session import Session
from benchmark.experiments.worker import entry_of
from benchmark.reporting.collect import Aside, _code, _networks, _remarks, collect
from benchmark.reporting.confidence_table import compare_confidence
from benchmark.reporting.publishing import publish
from benchmark.tracking import KIND
from benchmark.training.prediction import miou
from methods.base import Method

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
LOSS = "train/loss/segmentation"
LABELS = ["source-only", "oracle", "tests_failing:Failing"]


class Failing(Method):
    """Breaks on seed 1."""

    def losses(self, source, target, progress):
        if self.seed == 1:
            raise RuntimeError("no idea\nwhat to do")
        return {"segmentation": self.segmentation_loss(source)}


@pytest.fixture(scope="module")
def ended(session, failing_is_found):
    """All jobs of three methods, one fold and two seeds, run once."""
    jobs = session.bench.jobs(LABELS, [0, 1], ["2020"])
    session.remember(jobs)
    ends = []
    session.run(jobs, on_end=ends.append)
    return jobs, ends


@pytest.fixture(scope="module")
def failing_is_found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tests_failing", sys.modules[__name__])
        yield


def test_a_failed_job_says_why_and_the_rest_goes_on(session, ended):
    _, ends = ended
    assert [bool(end.error) for end in ends] == [False, False, False, False, False, True]
    assert "RuntimeError: no idea what to do" in ends[-1].error
    record = {run.id: run for run in session.results.runs(session.experiment)}[ends[-1].job.identity]
    assert record.status == "FAILED" and "no idea" in (record.error or "")
    assert "in losses" in (record.artifacts / "traceback.txt").read_text()
    run = session.results.client.api.get_run(record.run)
    assert run.info.status == "FAILED" and run.data.tags["error"] == record.error


def test_what_starts_from_the_source_run_has_its_weights_and_waits_for_it(session, ended):
    """Nothing is learned at a rate of 0, so that the prediction is the source model's with other statistics."""
    jobs = session.bench.jobs(["tent[learning_rate=0]", "batch-norm-adaptation[prior=0]"], [0], ["2020"])
    ends = []
    session.run(jobs[1:], on_end=ends.append)
    assert [end.error for end in ends] == ["", ""]
    records = session.results.finished(session.experiment)
    source, tent, statistics = (records[job.identity] for job in jobs)
    own, same, before = (record.metrics["target/loss"] for record in (tent, statistics, source))
    assert own == pytest.approx(same, rel=1e-3)  # the one has the biased variance, the other not
    assert abs(own - before) > 0.02 * before
    assert tent.metrics["target_after_update/miou"] == tent.metrics["target/miou"]
    assert tent.facts["rule"] == "last-step" and tent.metrics["selected/step"] == 0
    weights = [load_file(record.artifacts / "weights.safetensors") for record in (source, tent)]
    name = "network.model.segmentation_head.0.weight"
    assert np.array_equal(weights[0][name], weights[1][name])


def test_a_job_waits_for_the_run_that_it_starts_from_and_fails_with_it(session, monkeypatch):
    (parent, child), ends, queue = session.bench.jobs(["tent"], [7], ["2020"]), [], session.results.queue
    session.run([child], on_end=ends.append)
    assert "from which it starts, was removed; run the command again" in ends[-1].error
    queue.add([entry_of(session.bench, parent)], session.experiment)
    claim = queue.claim("of another command/0", [parent.identity])
    monkeypatch.setattr("benchmark.experiments.worker.time.sleep", lambda seconds: queue.fail(claim, "no idea"))
    session.run([child], on_end=ends.append)
    assert "from which it starts, failed: no idea" in ends[-1].error


def test_a_finished_job_is_not_run_again_and_a_failed_one_is(session, ended):
    jobs, _ = ended
    assert session.left(jobs) == [jobs[-1]]


def test_a_run_holds_every_fact_metric_and_artifact(session, ended):
    jobs, ends = ended
    record = session.results.finished(session.experiment)[jobs[0].identity]
    assert record.facts["method"] == "source-only" and record.facts["fold"] == "2020"
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


def test_mlflow_shows_a_run_as_it_is_recorded(session, ended):
    jobs, _ = ended
    record = session.results.finished(session.experiment)[jobs[0].identity]
    api = session.results.client.api
    run = api.get_run(record.run)
    assert run.data.params == record.facts and {**record.facts, **record.tags}.items() <= run.data.tags.items()
    assert run.data.metrics == pytest.approx(record.metrics) and run.info.status == "FINISHED"
    assert run.data.tags[KIND] == "cell" and run.inputs.dataset_inputs[0].dataset.name == session.bench.catalog.name
    _, _, curve = read_run(folder_of(session.results.folder, record.id))
    losses = [(step, metrics[LOSS]) for step, metrics in curve if LOSS in metrics]
    assert [(point.step, point.value) for point in api.get_metric_history(record.run, LOSS)] == losses
    folder = session.results.client.artifact_folder(run.info.artifact_uri)
    files = [path for path in record.artifacts.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"weights.safetensors", "checkpoints.json"}
    for path in files:
        assert (folder / path.relative_to(record.artifacts)).read_bytes() == path.read_bytes()


def test_every_checkpoint_is_scored_by_every_rule_but_the_costly_one(session, ended):
    record = session.results.finished(session.experiment)[ended[0][0].identity]
    checkpoints = json.loads((record.artifacts / "checkpoints.json").read_text())
    assert [checkpoint["step"] for checkpoint in checkpoints] == [2, 4]
    measured = set(RULES) - {"source-validation", "last-step", "oracle-rule", "leave-one-source-domain-out"}
    for checkpoint in checkpoints:
        assert measured <= set(checkpoint["scores"]) and np.isfinite(list(checkpoint["scores"].values())).all()
    assert record.metrics["selection_score/nuclear-norm"] == checkpoints[-1]["scores"]["nuclear-norm"]
    assert {f"selection/{rule}/target_miou" for rule in measured} <= set(record.metrics)
    rules = {line.rule: line for line in collect(session.results, session.experiment).rules}
    assert set(rules) == set(RULES) - {"leave-one-source-domain-out"} and rules["oracle-rule"].regret.mean == 0


def test_the_metrics_can_be_computed_again_from_the_record(session, ended):
    record = session.results.finished(session.experiment)[ended[0][0].identity]
    step, confusions = int(record.metrics["selected/step"]), read_confusions(record.artifacts)
    matrices = confusions[f"{step}/target_test"]
    assert miou(sum(matrices.values())) == pytest.approx(record.metrics["target/miou"])
    assert set(matrices) == set(session.bench.fold_data("2020").parts["target_test"].zones)
    decisions = {f"{step}/target_decision/{name}" for name in ("rankseg", "prior")}
    assert set(confusions) - decisions == {
        f"{step}/{part}" for step in (2, 4) for part in ("source_val", "target_test")
    }
    for place in decisions:
        expected = record.metrics[f"{place.partition('/')[2]}/miou"]
        assert set(confusions[place]) == set(matrices) and miou(sum(confusions[place].values())) == expected


def test_the_metrics_of_confidence_can_be_computed_again_from_the_record(session, ended):
    record = session.results.finished(session.experiment)[ended[0][0].identity]
    metrics, step = record.metrics, int(record.metrics["selected/step"])
    again = confidence_metrics(read_confidence(record.artifacts, step))
    assert again == {name: metrics[name] for name in again} and 0 < again["target/ece"] < 1
    assert set(again) == {f"target/{name}" for name in ("ece", "ece_temperature", "temperature", "selective_miou")}
    counts = {step: read_confidence(record.artifacts, step) for step in (2, 4)}
    for step, matrices in ((step, read_confusions(record.artifacts)[f"{step}/target_test"]) for step in counts):
        confusions = counts[step].confusions.sum(0)
        assert np.array_equal(confusions, sum(matrices.values())[:-1])
        by_zone = [matrices[zone][:-1].sum() for zone in sorted(matrices)]
        assert counts[step].pixels[..., 0].sum(1).tolist() == by_zone
    state = collect(session.results, session.experiment)
    assert {line.method for line in compare_confidence(state.cells, state.grid)} == set(LABELS)


def test_the_same_job_gives_the_same_numbers_elsewhere(plan, ended, tmp_path):
    jobs, ends = ended
    again = []
    Session(replace(plan, results=tmp_path)).run(jobs[:1], on_end=again.append)
    assert again[0].miou == ends[0].miou


def test_a_job_that_another_call_has_finished_meanwhile_is_not_run(session, ended):
    again, (job, *_) = [], ended[0]
    session.run([job], on_end=again.append)
    assert again == ended[1][:1] and session.results.queue.rows(keys=[job.identity])[0].attempts == 1


def test_a_comparison_of_skipped_jobs_only_says_why(session, plan, tmp_path):
    other = Session(replace(plan, results=tmp_path))
    jobs = [replace(job, skip="no images") for job in other.bench.jobs(["oracle"], [0])]
    other.remember(jobs)
    state = collect(other.results, other.experiment)
    assert {(cell.status, cell.reason) for cell in state.cells} == {("skipped", "no images")}
    assert state.facts["steps"] == "4"


def test_a_cell_shows_its_newest_run_only(session, ended):
    """An older one is of other code of the method, and stands first where its job was requested first."""
    newest = next(record for record in session.results.runs(session.experiment) if record.status == "FINISHED")
    older = replace(newest, id="of older code", started=newest.started - 1)
    key = newest.facts["method"], newest.facts["fold"], newest.facts["seed"]
    failed = replace(newest, status="FAILED")
    assert best_record([older, failed])[key] == best_record([failed, older])[key] == failed


def test_methods_are_held_against_the_control_with_each_kind_of_noise(session, ended):
    state = collect(session.results, session.experiment)
    lines = {line.method: line for line in state.paired}
    assert set(lines) == {"oracle", "tests_failing:Failing"} and state.ranking is None
    metrics = {line.method: line for line in state.lines}
    assert lines["oracle"].gain == metrics["oracle"].gain and lines["oracle"].between_patches > 0
    assert lines["tests_failing:Failing"].silent == "1 held-out domain cannot reach 5 % in 1 comparison"
    assert lines["oracle"].silent == "", "a bound is not tested"
    assert state.grid.held_out == {"2020": {"time": "2020"}}


def test_runs_of_several_versions_share_a_table_only_when_asked_for(session, ended, monkeypatch):
    _with_one(session, monkeypatch, "facts", {"code_version": "0.9"})
    with pytest.raises(TrackingError, match=r"code .*0\.9 \(1\).*--mixed"):
        collect(session.results, session.experiment)
    state = collect(session.results, session.experiment, mixed=True)
    assert state.alarms[0].startswith("runs of several versions of landshift") and "0.9 (1)" in state.alarms[0]


@pytest.mark.parametrize("name", ["code_version", "packages", "processor", "device"])
def test_runs_of_another_provenance_share_a_table_only_when_asked_for(session, ended, monkeypatch, name):
    _with_one(session, monkeypatch, "tags" if name == "device" else "facts", {name: "other"})
    with pytest.raises(TrackingError, match=r"other \(1\).*--mixed"):
        collect(session.results, session.experiment)


def _with_one(session, monkeypatch, where, values):
    """Have one finished run read with other facts or tags."""
    runs = session.results.runs(session.experiment)
    first = next(run for run in runs if run.status == "FINISHED")
    other = replace(first, **{where: {**getattr(first, where), **values}})
    changed = {session.experiment: [other if run is first else run for run in runs]}
    monkeypatch.setattr(session.results, "runs", lambda experiment: changed.get(experiment, []))


def test_a_table_of_a_changed_engine_says_so_also_when_nothing_is_left_to_do(session, ended, monkeypatch):
    monkeypatch.setattr("benchmark.reporting.collect.code_version", lambda: "of tomorrow")
    alarms = collect(session.results, session.experiment).alarms
    assert any("another version of landshift" in alarm and "of tomorrow" in alarm for alarm in alarms)


def test_results_of_other_code_of_a_method_are_marked(session, ended):
    state = collect(session.results, session.experiment)
    assert not any("another version" in alarm or "several versions" in alarm for alarm in state.alarms)
    one = next(record for record in session.results.runs(session.experiment) if record.status == "FINISHED")
    other = replace(one, facts=one.facts | {"method_digest": "of another day"})
    gone = replace(one, facts=one.facts | {"method": "no-such-method"})
    module = replace(one, facts=one.facts | {"method": "this:Method"})
    assert _remarks({0: one, 1: other}) == ["all runs are of several versions of a method's code"]
    (remark,) = _remarks({0: one, 1: gone})
    assert remark.startswith("the runs of no-such-method are of another version")
    (remark,) = _remarks({0: one, 1: module})
    assert remark.startswith("the runs of this:Method are of modules that a report does not import")
    assert "this" not in sys.modules


def test_the_standing_names_every_cell(session, ended):
    state = collect(session.results, session.experiment)
    status = {(cell.method, cell.seed): (cell.status, cell.reason) for cell in state.cells}
    assert status["source-only", 0] == ("done", "")
    failed, reason = status["tests_failing:Failing", 1]
    assert failed == "failed" and "no idea" in reason
    assert state.grid.control == "source-only" and state.grid.bounds == {"oracle"}
    lines = {line.method: line for line in state.lines}
    assert lines["source-only"].target.cells == 2 and lines["tests_failing:Failing"].target.cells == 1
    assert lines["source-only"].gain.mean == 0


def test_other_settings_are_left_aside(session, ended, plan):
    other = Session(replace(plan, recipe=replace(plan.recipe, steps=3)))
    jobs = other.bench.jobs(["source-only"], [0], ["2020"])
    other.remember(jobs)
    other.run(jobs)
    newest = collect(other.results, other.experiment)
    assert [cell.method for cell in newest.cells] == ["source-only"] and sum(
        aside.runs for aside in newest.others.values()
    ) >= 5
    older = collect(session.results, session.experiment, session.bench.comparison)
    assert len(older.cells) == 6 and list(older.others.values()) == [Aside(1, "steps 3")]


def test_summaries_carry_the_numbers_and_figures_of_the_comparison(session, ended, tmp_path):
    state = collect(session.results, session.experiment, session.bench.comparison)
    figure = tmp_path / "comparison.png"
    Image.new("RGB", (4, 4)).save(figure)
    published = []
    for _ in range(2):
        publish(session.results, session.experiment, session.bench.protocol, state, "| a | table |", [figure])
        published.append(_summaries(session))
    runs = published[0]
    assert [run.info.run_id for run in runs.values()] == [run.info.run_id for run in published[1].values()]
    client = session.results.client
    note = client.api.get_experiment_by_name(session.experiment).tags["mlflow.note.content"]
    assert "| a | table |" in note and session.bench.protocol.title in note
    line = state.lines[0]
    assert summary_metrics(line)["summary/target_miou_mean"] == line.target.mean
    folders = [client.artifact_folder(run.info.artifact_uri) for run in runs.values()]
    assert all((folder / figure.name).read_bytes() == figure.read_bytes() for folder in folders)
    assert {name: run.data.params["rule"] for name, run in runs.items()} == {
        line.method: line.rule for line in state.lines
    }
    assert {state.lines[k].rule for k in (0, 1)} == {"source-validation", "last-step"}
    metrics = {name: run.data.metrics for name, run in runs.items()}
    assert set(metrics) == {line.method for line in state.lines}
    assert metrics["source-only"]["summary/rare_miou_mean"] == line.rare > 0
    assert metrics["source-only"]["summary/images"] == pytest.approx(4 * session.plan.recipe.batch_size)
    for paired in state.paired:
        assert metrics[paired.method]["summary/gain_noise_patches"] == paired.between_patches
    fewer = replace(state, lines=state.lines[:1])
    publish(session.results, session.experiment, session.bench.protocol, fewer, "")
    assert set(_summaries(session)) == {state.lines[0].method}, "summaries of another comparison do not stay beside it"


def _summaries(session):
    """The summary runs in MLflow by their names."""
    client = session.results.client
    runs = client.api.search_runs([client.experiment(session.experiment)], f"tags.`{KIND}` = 'summary'")
    return {run.info.run_name: run for run in runs}


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
    mine = [key for key in keys(session.results, session.experiment) if key.startswith(session.bench.comparison)]
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
    runs = list(session.results.finished(session.experiment).values())
    best = dict(enumerate(runs[:3]))
    facts = best[0].facts | {"code_version": "of yesterday"}
    assert _code(best) == session.bench.shared_facts()["code_version"]
    assert "of yesterday (1 runs)" in _code(best | {0: replace(best[0], facts=facts)})


def test_a_network_that_the_method_changed_is_named_beside_the_config_s(session, ended):
    jobs = session.bench.jobs(["instance-batch-norm"], [6], ["2020"])
    session.run(jobs)
    finished = session.results.finished(session.experiment)
    changed, plain = (finished[job.identity] for job in (jobs[0], ended[0][0]))
    assert changed.tags["network_changed"] == "33,596 parameters; the config's has 33,596"
    assert "network_changed" not in plain.tags
    words = f"the network of instance-batch-norm is changed by the method ({changed.tags['network_changed']})"
    assert _networks({0: changed, 1: changed, 2: plain}) == {"networks": words}
    assert _networks({2: plain}) == {}
    session.remember(jobs, TunedRows("changed", "by hand", {}))
    state = collect(session.results, session.experiment, f"{session.bench.comparison}-changed")
    assert state.facts["networks"] == words
