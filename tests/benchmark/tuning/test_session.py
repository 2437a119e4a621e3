"""Studies that really train, on the tiny world."""

import csv
from dataclasses import replace

import pytest

from benchmark.errors import SettingsError, TrackingError
from benchmark.grid.asked import TunedRows, key_of
from benchmark.grid.jobs import Bench
from benchmark.grid.pool import run_all
from benchmark.grid.session import Session
from benchmark.grid.standing import standing
from benchmark.provenance import Provenance
from benchmark.tracking import Tracker
from benchmark.tuning.plan import Tuning
from benchmark.tuning.results import chosen_settings, publish, results, row_name
from benchmark.tuning.session import TuningSession

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
BY_SOURCE = Tuning("source-validation", 2, fold="2019")
LABELS = ["source-only", "entropy-minimization"]


@pytest.fixture(scope="module")
def tuned_plan(plan, tmp_path_factory):
    return replace(plan, results=tmp_path_factory.mktemp("tuning"))


@pytest.fixture(scope="module")
def bench(tuned_plan):
    return Bench(tuned_plan)


@pytest.fixture(scope="module")
def tracker(tuned_plan):
    return Tracker(tuned_plan.results)


@pytest.fixture(scope="module")
def finished(bench, tracker):
    session = TuningSession(bench, tracker, BY_SOURCE, LABELS)
    session.ends = _work(session)
    return session


def _work(session):
    ends = []

    def end(ended):
        ends.append((ended, session.end(ended)))

    run_all(session.bench.plan, session.experiment, session, 1, session.bench, lambda job, share: None, end)
    return ends


def test_every_method_gets_as_many_trials(finished):
    assert [(ended.job.trial.method, ended.job.trial.setting) for ended, _ in finished.ends] == [
        (label, setting) for label in LABELS for setting in (0, 1)
    ]
    assert [(tuned.done, tuned.open, tuned.failed) for tuned in results(finished)] == [(2, 0, 0)] * 2


def test_trials_are_flat_runs_of_their_own_experiment_tagged_with_their_study(finished, bench, tracker):
    runs = tracker.cells(finished.experiment)
    assert [(run.facts["study"], run.facts["trial"]) for run in runs] == [(m, t) for m in LABELS for t in ("0", "1")]
    for search in finished.searches:
        tag = f"landshift.study.{search.id}"
        assert sorted(run.tags[tag] for run in runs if tag in run.tags) == ["0", "1"]
    rates = [float(run.facts["learning_rate"]) for run in runs]
    assert rates[0] == rates[2] == bench.plan.recipe.learning_rate and rates[1] == rates[3] != rates[0]
    assert not tracker.cells(tracker.experiment(bench.protocol.label))


def test_the_score_is_that_of_the_rule_and_its_best_is_chosen(finished, tracker):
    for tuned in results(finished):
        scores = {
            ended.job.label: score for ended, score in finished.ends if ended.job.trial.method == tuned.search.label
        }
        history = {
            run.facts["method"]: max(
                point.value for point in tracker._client.get_metric_history(run.id, "source_val/miou")
            )
            for run in tracker.cells(finished.experiment)
        }
        assert scores == {label: history[label] for label in scores}
        assert tuned.chosen.score == max(scores.values()) and scores[tuned.setting] == max(scores.values())


def test_the_same_command_again_has_nothing_to_do(finished, bench, tracker):
    again = TuningSession(bench, tracker, BY_SOURCE, LABELS)
    assert again.left == 0 and again.parents() == []
    assert [t.chosen for t in results(again)] == [t.chosen for t in results(finished)]


def test_trials_of_another_provenance_stop_a_search_before_it_goes_on(finished):
    here = Provenance.here("cpu")
    finished.refuse_mixture(here)
    with pytest.raises(TrackingError, match=r"4 of these runs are done.*processor .* \(4\), here AVX-1024"):
        finished.refuse_mixture(replace(here, processor="AVX-1024"))


def test_another_rule_chooses_among_the_same_runs_without_training(finished, bench, tracker):
    before = len(tracker.cells(finished.experiment))
    other = TuningSession(bench, tracker, replace(BY_SOURCE, rule="oracle-rule"), LABELS)
    assert other.left == 4 and _work(other) == []
    assert len(tracker.cells(finished.experiment)) == before
    for tuned in results(other):
        assert tuned.done == 2 and tuned.chosen.regret == 0


def test_one_summary_run_a_study_and_a_comparison_that_takes_it_up(finished, bench, tracker, tuned_plan, tmp_path):
    for tuned in results(finished):
        publish(finished, tuned, tmp_path)
    first, second = tracker.summaries(finished.experiment)
    assert (first.facts["method"], first.facts["rule"], first.facts["tuned_on"]) == (LABELS[0], BY_SOURCE.rule, "2019")
    assert first.metrics["tuning/done"] == 2 and (second.artifacts / "trials.png").is_file()
    rows = list(csv.DictReader((second.artifacts / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["complete"] * 2 and rows[0]["setting"] == LABELS[1]
    assert float(rows[1]["source-validation"]) > 0

    tuning, settings = chosen_settings(tracker, bench, BY_SOURCE.key)
    assert tuning == BY_SOURCE and list(settings) == LABELS
    assert settings[LABELS[1]] == dict.fromkeys(bench.folds, results(finished)[1].setting)
    with pytest.raises(SettingsError, match=f"no finished tuning 'x'.*there is {BY_SOURCE.key}"):
        chosen_settings(tracker, bench, "x")
    longer = Bench(replace(tuned_plan, recipe=replace(tuned_plan.recipe, steps=5)))
    with pytest.raises(SettingsError, match="there is none"):
        chosen_settings(tracker, longer, BY_SOURCE.key)

    session = Session(tuned_plan, bench=bench)
    rows = {row_name(method, tuning): labels for method, labels in settings.items()}
    tuned_rows = TunedRows(tuning.key, tuning.words, rows)
    jobs = [job for labels in rows.values() for job in bench.jobs([labels["2020"]], [0], ["2020"])]
    session.remember([], tuned_rows, jobs)
    session.run(session.left(jobs), 1, lambda job, share: None, lambda ended: None)
    state = standing(tracker, session.experiment, key_of(bench, tuned_rows))
    assert state.grid.control == "source-only (tuned)" and {cell.status for cell in state.cells} == {"done"}
    assert [line.method for line in state.lines] == [f"{label} (tuned)" for label in LABELS]
    assert state.facts["tuned"] == tuning.words and state.paired[0].method == "entropy-minimization (tuned)"


def test_a_failed_trial_leaves_a_choice_among_the_others(bench, tracker, monkeypatch):
    session = TuningSession(bench, tracker, Tuning("source-validation", 2, fold="2020"), ["v-rex"])
    jobs = session.searches[0].jobs
    monkeypatch.setattr(
        type(bench), "fold_data", _failing(type(bench).fold_data, lambda: session._claimed.keys(), jobs[0].label)
    )
    ends = _work(session)
    assert ends[0][0].error and not ends[1][0].error
    (tuned,) = results(session)
    assert (tuned.done, tuned.failed, tuned.open) == (1, 1, 0)
    assert tuned.setting == jobs[1].label


def _failing(whole, at_hand, label):
    def fold_data(self, name):
        if any(job.label == label for job in at_hand()):
            raise RuntimeError("no such luck")
        return whole(self, name)

    return fold_data


def test_a_trial_below_the_median_of_the_others_is_given_up(bench, tracker, monkeypatch):
    monkeypatch.setattr("benchmark.studies.pruning.TRIALS_BEFORE", 1)
    tuning = Tuning("source-validation", 3, fold="2019", prune=True)
    session = TuningSession(bench, tracker, tuning, ["mix-style"])
    monkeypatch.setattr("optuna.pruners.MedianPruner.prune", lambda self, study, trial: trial.number == 1)
    ends = _work(session)
    assert [ended.pruned for ended, _ in ends] == [False, True, False]
    assert "given up after 2 steps" in ends[1][0].error
    run = next(run for run in tracker.cells(session.experiment) if run.identity == ends[1][0].job.identity)
    assert run.status == "KILLED"
    (tuned,) = results(session)
    assert (tuned.done, tuned.pruned) == (2, 1)
    assert session.searches[0].study.optuna.trials[2].intermediate_values.keys() == {2, 4}


def test_what_starts_from_the_source_model_waits_for_it(bench, tracker):
    session = TuningSession(bench, tracker, Tuning("nuclear-norm", 2, fold="2020"), ["shot"])
    assert [job.label for job in session.parents()] == ["source-only"]
