"""Searches that really train, on the tiny world."""

import csv
from dataclasses import replace

import pytest

from benchmark.common.errors import SettingsError, TrackingError
from benchmark.experiments.jobs import Bench
from benchmark.experiments.provenance import Provenance
from benchmark.experiments.queue import DONE, FAILED, PRUNED
from benchmark.experiments.request import TunedRows, key_of
from benchmark.experiments.run_folder import folder_of, read_run
from benchmark.experiments.run_job import train_and_score
from benchmark.experiments.session import Session
from benchmark.reporting.collect import collect
from benchmark.tuning import pruning
from benchmark.tuning.plan import Tuning
from benchmark.tuning.results import OPEN, chosen_settings, publish, results, row_name
from benchmark.tuning.session import TuningSession

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
BY_SOURCE = Tuning("source-validation", 2, fold="2019")
PRUNED_BY_SOURCE = replace(BY_SOURCE, trials=3, prune=True)
LABELS = ["source-only", "entropy-minimization"]


@pytest.fixture(scope="module")
def tuned_plan(plan, tmp_path_factory):
    return replace(plan, results=tmp_path_factory.mktemp("tuning"))


@pytest.fixture(scope="module")
def bench(tuned_plan):
    return Bench(tuned_plan)


@pytest.fixture(scope="module")
def finished(bench):
    session = TuningSession(bench, BY_SOURCE, LABELS)
    session.ends = _train(session)
    return session


def _train(session):
    """Train what is left, as the command does; returns how each of these jobs ended."""
    work, ends = session.work(session.jobs()), []
    session.add(work.done)
    session.run(work.left, on_end=ends.append)
    return ends


def test_every_method_gets_as_many_trials(finished):
    assert [(ended.job.trial.method, ended.job.trial.setting) for ended in finished.ends] == [
        (label, setting) for label in LABELS for setting in (0, 1)
    ]
    assert [list(tuned.states) for tuned in results(finished)] == [[DONE, DONE]] * 2


def test_trials_are_runs_of_their_own_experiment_tagged_with_their_search(finished, bench):
    runs = finished.results.runs(finished.experiment)
    assert [(run.tags["study"], run.tags["trial"]) for run in runs] == [(m, t) for m in LABELS for t in ("0", "1")]
    in_mlflow = [finished.results.client.api.get_run(run.run).data.tags for run in runs]
    assert [(tags["study"], tags["trial"]) for tags in in_mlflow] == [(m, t) for m in LABELS for t in ("0", "1")]
    rates = [float(run.facts["learning_rate"]) for run in runs]
    assert rates[0] == rates[2] == bench.plan.recipe.learning_rate and rates[1] == rates[3] != rates[0]
    assert not finished.results.runs(bench.protocol.label)


def test_the_score_is_that_of_the_rule_and_its_best_is_chosen(finished):
    assert len(results(finished)) == len(LABELS)
    for tuned in results(finished):
        scores = {job.label: finished.score(job) for job in tuned.search.jobs}
        for job in tuned.search.jobs:
            curve = read_run(folder_of(finished.results.folder, job.identity))[2]
            known = [metrics["source_val/miou"] for _, metrics in curve if "source_val/miou" in metrics]
            assert scores[job.label] == max(known)
        assert tuned.chosen.score == max(scores.values()) and scores[tuned.setting] == max(scores.values())


def test_the_same_command_again_has_nothing_to_do(finished, bench):
    again = TuningSession(bench, BY_SOURCE, LABELS)
    assert not again.left(again.jobs())
    assert [t.chosen for t in results(again)] == [t.chosen for t in results(finished)]


def test_trials_of_another_provenance_stop_a_search_before_it_goes_on(finished):
    here, done = Provenance.here("cpu"), finished.work(finished.jobs()).done
    finished.refuse_mixture(done, here)
    with pytest.raises(TrackingError, match=r"4 of these runs are done.*processor .* \(4\), here AVX-1024"):
        finished.refuse_mixture(done, replace(here, processor="AVX-1024"))


def test_another_rule_chooses_among_the_same_runs_without_training(finished, bench):
    other = TuningSession(bench, replace(BY_SOURCE, rule="oracle-rule"), LABELS)
    assert _train(other) == []
    for tuned in results(other):
        assert tuned.count(DONE) == 2 and tuned.chosen.regret == 0


def test_a_run_of_a_comparison_is_a_trial_already(bench):
    tuning = replace(BY_SOURCE, fold="2020", seed=1)
    session = TuningSession(bench, tuning, LABELS[:1])
    plain = Session(bench.plan, bench=bench)
    plain.run(bench.jobs(LABELS[:1], [1], ["2020"]))
    (default, drawn), attempts = session.searches[0].jobs, _attempts(session)
    assert [job.identity for job in session.work(session.jobs()).done] == [default.identity]
    assert list(results(session)[0].states) == [OPEN, OPEN]  # its run is not shown here before the search is accepted
    assert [ended.job for ended in _train(session)] == [drawn]
    assert list(results(session)[0].states) == [DONE, DONE] and len(results(session)[0].runs) == 2
    assert _attempts(session)[default.identity] == attempts[default.identity]


def _attempts(session):
    return {row.key: row.attempts for row in session.results.queue.rows()}


def test_one_summary_run_a_search_and_a_comparison_that_takes_it_up(finished, bench, tuned_plan):
    publish(finished, results(finished))
    first, second = finished.results.summaries(finished.experiment).values()
    assert (first["method"], first["rule"], first["tuned_on"]) == (LABELS[0], BY_SOURCE.rule, "2019")
    assert second["method"] == LABELS[1]
    second, folder = _in_mlflow(finished, f"{LABELS[1]} · 2019 · {BY_SOURCE.key}")
    assert second.data.metrics["tuning/done"] == 2 and (folder / "trials.png").is_file()
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["done"] * 2 and rows[0]["setting"] == LABELS[1]
    assert float(rows[1]["source-validation"]) > 0

    tuning, settings = chosen_settings(finished.results, bench, BY_SOURCE.key)
    assert tuning == BY_SOURCE and list(settings) == LABELS
    assert settings[LABELS[1]] == dict.fromkeys(bench.folds, results(finished)[1].setting)
    with pytest.raises(SettingsError, match=f"no finished tuning 'x'.*there is {BY_SOURCE.key}"):
        chosen_settings(finished.results, bench, "x")
    longer = Bench(replace(tuned_plan, recipe=replace(tuned_plan.recipe, steps=5)))
    with pytest.raises(SettingsError, match="there is none"):
        chosen_settings(finished.results, longer, BY_SOURCE.key)

    session = Session(tuned_plan, bench=bench)
    rows = {row_name(method, tuning): labels for method, labels in settings.items()}
    tuned_rows = TunedRows(tuning.key, tuning.words, rows)
    jobs = [job for labels in rows.values() for job in bench.jobs([labels["2020"]], [0], ["2020"])]
    session.remember([], tuned_rows, jobs)
    session.run(jobs)
    state = collect(session.results, session.experiment, key_of(bench, tuned_rows))
    assert state.grid.control == "source-only (tuned)" and {cell.status for cell in state.cells} == {"done"}
    assert [line.method for line in state.lines] == [f"{label} (tuned)" for label in LABELS]
    assert state.facts["tuned"] == tuning.words and state.paired[0].method == "entropy-minimization (tuned)"


def _in_mlflow(session, name):
    """A summary run, and the folder of its files."""
    client = session.results.client
    (run,) = client.api.search_runs([client.experiment(session.experiment)], f"attributes.run_name = '{name}'")
    return run, client.artifact_folder(run.info.artifact_uri)


def test_a_failed_trial_leaves_a_choice_among_the_others_and_is_tried_again(bench, monkeypatch):
    session = TuningSession(bench, replace(BY_SOURCE, fold="2020"), ["v-rex"])
    broken, other = session.searches[0].jobs
    with monkeypatch.context() as patch:
        patch.setattr("benchmark.experiments.run_job.train_and_score", _failing_at(bench.plan.recipe.learning_rate))
        assert [bool(ended.error) for ended in _train(session)] == [True, False]
    (tuned,) = results(session)
    assert list(tuned.states) == [FAILED, DONE] and tuned.setting == other.label
    assert [ended.job for ended in _train(TuningSession(bench, session.tuning, ["v-rex"]))] == [broken]
    assert list(results(session)[0].states) == [DONE, DONE]


def _failing_at(rate):
    def train(fabric, *, recipe, **settings):
        if recipe.learning_rate == rate:
            raise RuntimeError("no such luck")
        return train_and_score(fabric, recipe=recipe, **settings)

    return train


@pytest.fixture(scope="module")
def pruned(bench):
    """A search of three trials whose second was given up after its first checkpoint."""
    session = TuningSession(bench, PRUNED_BY_SOURCE, ["mix-style"])
    answers = iter([False, False, True, False, False])  # at two checkpoints of the first trial, one of the second ...
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "is_below", lambda mine, others, step: next(answers))
        session.ends = _train(session)
    return session


def test_a_trial_below_the_median_of_the_others_is_given_up(pruned):
    assert [ended.pruned for ended in pruned.ends] == [False, True, False]
    assert "given up after 2 steps: source validation is below the median" in pruned.ends[1].error
    keys = [job.identity for job in pruned.searches[0].jobs]
    assert pruned.results.runs(pruned.experiment, [keys[1]])[0].status == "KILLED"
    (tuned,) = results(pruned)
    assert list(tuned.states) == [DONE, PRUNED, DONE] and tuned.chosen
    (values,) = pruned.results.database.documents(pruned.experiment, pruning.PREFIX).values()
    assert {key: list(of) for key, of in values.items()} == {keys[0]: ["2", "4"], keys[1]: ["2"], keys[2]: ["2", "4"]}


def test_what_was_given_up_is_not_tried_again_but_trained_for_a_search_that_gives_up_nothing(pruned, bench):
    again = TuningSession(bench, PRUNED_BY_SOURCE, ["mix-style"])
    assert not again.left(again.jobs())
    whole = TuningSession(bench, replace(PRUNED_BY_SOURCE, prune=False), ["mix-style"])
    assert list(results(whole)[0].states) == [DONE, OPEN, DONE] and results(whole)[0].chosen is None
    (left,) = whole.left(whole.jobs())
    assert left.identity == whole.searches[0].jobs[1].identity and left.trial.study == ""
    assert [ended.pruned for ended in _train(whole)] == [False]
    assert list(results(again)[0].states) == [DONE] * 3


def test_what_starts_from_the_source_model_comes_behind_it(bench):
    session = TuningSession(bench, Tuning("nuclear-norm", 2, fold="2020"), ["shot"])
    assert [job.label.partition("[")[0] for job in session.jobs()] == ["source-only", "shot", "shot"]
    assert session.jobs()[0].trial is None


def test_a_trial_from_which_others_start_is_not_given_up(bench):
    tuning = Tuning("oracle-rule", 2, fold="2020", prune=True)
    session = TuningSession(bench, tuning, ["source-only", "shot"])
    jobs = session.jobs()
    assert len(jobs) == 4 and jobs[0].identity == session.searches[1].jobs[0].parent
    assert jobs[0].trial.setting == 0 and [bool(job.trial.study) for job in jobs] == [False, True, True, True]
