"""What is searched, and which settings are tried."""

from dataclasses import dataclass

import numpy as np
import pytest

from benchmark.common.errors import SettingsError
from benchmark.experiments.labels import RATE, parse_label
from benchmark.training.config import TrainingConfig
from benchmark.tuning.plan import Tuning
from benchmark.tuning.space import label_of, search_space, settings, trial_labels
from methods import registry
from methods.base import tunable

RECIPE = TrainingConfig(learning_rate=1e-2)


def test_the_space_is_what_the_method_declares_and_the_learning_rate_of_the_recipe():
    space = search_space("max-square", RECIPE)
    assert set(space) == {RATE, "weight", "weighting", "ratio"}
    assert (space[RATE].low, space[RATE].high, space[RATE].log) == (1e-3, 1e-1, True)
    assert set(search_space("source-only", RECIPE)) == {RATE}


def test_what_a_label_fixes_is_not_searched_and_stays():
    label = "max-square[weight=0.5]"
    assert "weight" not in search_space(label, RECIPE)
    for params in settings(label, RECIPE, 4):
        assert parse_label(label_of(label, params, RECIPE)).hyperparameters.weight == 0.5


def test_a_method_with_its_own_optimizer_is_not_searched_for_the_recipes_rate():
    assert RATE not in search_space("tent", RECIPE) and "learning_rate" in search_space("tent", RECIPE)


def test_trial_0_is_the_defaults_and_all_others_differ():
    tried = settings("max-square", RECIPE, 20)
    assert label_of("max-square", tried[0], RECIPE) == "max-square"
    assert len({str(params) for params in tried}) == 20


@pytest.mark.parametrize("label", registry.available())
def test_every_setting_of_every_method_can_be_typed_and_lies_in_its_range(label):
    try:
        tried = settings(label, RECIPE, 12)
    except SettingsError as error:
        assert "nothing to tune" in str(error)
        return
    space = search_space(label, RECIPE)
    for params in tried[1:]:
        setting = parse_label(label_of(label, params, RECIPE))
        for name, value in params.items():
            found = setting.recipe(RECIPE).learning_rate if name == RATE else getattr(setting.hyperparameters, name)
            assert found == value and space[name]._contains(space[name].to_internal_repr(value))


def test_each_hyperparameter_has_a_stream_of_its_own(monkeypatch):
    before = settings("max-square", RECIPE, 6)

    @dataclass(frozen=True)
    class More(parse_label("max-square").method.Hyperparameters):
        another: float = tunable(1.0, low=0.1, high=10.0)

    monkeypatch.setattr(parse_label("max-square").method, "Hyperparameters", More)
    after = settings("max-square", RECIPE, 9)[:6]
    assert [{k: v for k, v in params.items() if k != "another"} for params in after] == before
    drawn = np.array([[params[name] for name in (RATE, "weight", "ratio", "another")] for params in after[1:]])
    assert len(np.unique(np.argsort(drawn, axis=0), axis=1).T) > 2  # no two in step, bar chance


def test_draws_on_a_logarithmic_scale_fill_each_decade_equally():
    rates = np.array([params[RATE] for params in settings("source-only", RECIPE, 400)[1:]])
    assert 0.42 < (rates < 1e-2).mean() < 0.58


def test_every_eighth_of_a_range_is_drawn_from_once_in_eight_trials():
    rates = np.array([params[RATE] for params in settings("source-only", RECIPE, 17)[1:]])
    eighths = np.floor(8 * np.log10(rates / 1e-3) / 2 + 1e-9)
    for block in (eighths[:8], eighths[8:]):
        assert sorted(np.minimum(block, 7)) == list(range(8))


def test_whole_numbers_come_up_equally_often():
    stages = [params["stages"] for params in settings("instance-batch-norm", RECIPE, 400)[1:]]
    assert min(np.bincount(stages, minlength=4)[1:]) > 100


def test_nothing_to_tune_is_told():
    with pytest.raises(SettingsError, match="nothing to tune"):
        settings("source-only[recipe.learning_rate=0.1]", RECIPE, 3)


def test_the_trials_of_what_a_rule_can_choose_for_and_why_not_of_the_others():
    labels = ["source-only", "dacs", "tent", "shot", "oracle"]
    trials, reasons = trial_labels(labels, RECIPE, Tuning("source-validation", 3))
    assert trials["dacs"] == [label_of("dacs", params, RECIPE) for params in settings("dacs", RECIPE, 3)]
    assert list(trials) == labels[:2] and list(reasons) == labels[2:] and "no source data" in reasons["shot"]
    assert list(trial_labels(labels, RECIPE, Tuning("target-entropy", 3))[0]) == ["source-only", "dacs", "shot"]
    everything_fixed = (
        "dacs[" + ",".join(f"{name}={value}" for name, value in settings("dacs", RECIPE, 1)[0].items()) + "]"
    )
    assert trial_labels([everything_fixed], RECIPE, Tuning("source-validation", 3))[1] == {
        everything_fixed: "it has nothing to tune"
    }
