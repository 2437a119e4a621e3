"""The queue of a study: each setting is tried once, whoever tries, and whoever is killed."""

import subprocess
import sys

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from benchmark.studies.queue import Study

SPACE = {"weight": FloatDistribution(0.0, 1.0)}
SETTINGS = [{"weight": 0.5}, {"weight": 0.25}, {"weight": 0.75}]


@pytest.fixture
def study(tmp_path):
    return _open(tmp_path)


def _open(folder):
    return Study(folder, "a study", SPACE, SETTINGS, {"method": "max-square"})


def test_every_setting_is_taken_once_in_order(study):
    claims = [study.claim() for _ in range(4)]
    assert [claim.setting for claim in claims[:3]] == [0, 1, 2] and claims[3] is None
    assert [trial.params for trial in study.optuna.trials] == SETTINGS


def test_two_who_share_a_study_share_its_settings(study, tmp_path):
    other = _open(tmp_path)
    taken = [one.claim().setting for one in (study, other, study)]
    assert taken == [0, 1, 2] and study.left() == other.left() == 0


def test_scores_prunings_and_failures_are_kept_apart(study):
    claims = [study.claim() for _ in range(3)]
    study.tell(claims[0], 0.4)
    study.tell(claims[1], None)
    study.tell(claims[2], None, pruned=True)
    assert study.states() == [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
    assert study.optuna.best_value == 0.4 and study.optuna.best_params == {"weight": 0.5}


def test_the_next_call_tries_again_what_failed_and_nothing_else(study, tmp_path):
    for score in (0.4, None, 0.3):
        study.tell(study.claim(), score)
    again = _open(tmp_path)
    assert again.left() == 1
    claim = again.claim()
    assert claim.setting == 1
    again.tell(claim, 0.9)
    assert set(again.states()) == {TrialState.COMPLETE} and again.optuna.best_params == {"weight": 0.25}


def test_what_a_killed_process_had_taken_is_taken_again(study, tmp_path):
    code = (
        "import signal, pathlib; from optuna.distributions import FloatDistribution as F\n"
        "from benchmark.studies.queue import Study\n"
        f"Study(pathlib.Path({str(tmp_path)!r}), 'a study', {{'weight': F(0.0, 1.0)}}, {SETTINGS}, {{}}).claim()\n"
        "print('taken', flush=True); signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "taken\n" and study.left() == 2
    process.kill()
    process.wait()
    assert _open(tmp_path).left() == 3  # as the next call counts them
    taken = []
    while claim := study.claim():
        taken.append(claim.setting)
        study.tell(claim, 0.1)
    assert sorted(taken) == [0, 1, 2] and set(study.states()) == {TrialState.COMPLETE}


def test_what_a_living_process_has_taken_is_left_to_it(study, tmp_path):
    study.claim()
    assert [_open(tmp_path).claim().setting for _ in range(2)] == [1, 2]
