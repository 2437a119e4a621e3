"""How a setting is written."""

import pytest

from benchmark.experiments.labels import canonical_label, parse_label
from benchmark.training.config import TrainingConfig
from methods.base import MethodError


def test_every_way_to_write_a_setting_is_one():
    assert canonical_label("entropy-minimization[weight=1e-3]") == canonical_label("entropy-minimization[]")
    assert canonical_label("methods.tent:TENT[optimizer=sgd]") == "tent[optimizer=sgd]"
    assert canonical_label("adversarial-alignment[maps=softmax, weight=0.01]") == (
        "adversarial-alignment[weight=0.01,maps=softmax]"
    )


def test_a_label_may_change_the_learning_rate_of_the_recipe_and_nothing_else_of_it():
    recipe = TrainingConfig(learning_rate=0.01)
    label = "source-only[recipe.learning_rate=0.002]"
    assert parse_label(label).recipe(recipe) == TrainingConfig(learning_rate=0.002)
    assert parse_label("source-only").recipe(recipe) is recipe
    assert canonical_label(label, recipe) == label
    assert canonical_label("source-only[recipe.learning_rate=1e-2]", recipe) == "source-only"
    with pytest.raises(MethodError, match=r"no hyperparameter 'recipe\.steps'"):
        parse_label("source-only[recipe.steps=5]")


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "fast"])
def test_a_learning_rate_is_a_number_above_0(rate):
    with pytest.raises(MethodError, match="takes a number above 0"):
        parse_label(f"source-only[recipe.learning_rate={rate}]")


def test_an_optimizer_of_its_own_has_a_rate_of_its_own():
    with pytest.raises(MethodError, match="tent has an optimiser of its own"):
        parse_label("tent[recipe.learning_rate=0.1]")


@pytest.mark.parametrize("label", ["source-only[", "entropy-minimization[weight]", "source-only]x["])
def test_a_malformed_label_is_refused(label):
    with pytest.raises(MethodError, match="given as name"):
        parse_label(label)
