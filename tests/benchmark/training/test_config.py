"""Recipes: presets, changes, and values that are not allowed."""

import json
from dataclasses import asdict, replace

import pytest

from benchmark.cli.options import RECIPE_OPTIONS
from benchmark.common.errors import SettingsError
from benchmark.data.series.dates import SeriesView
from benchmark.training.config import PRESETS, TrainingConfig, make_recipe, option_types, preset_and_changes, recipe_of


def test_changes_reach_the_recipe_and_its_network():
    recipe = make_recipe("tiny", {"steps": 7, "checkpoints": 1, "encoder": "resnet18"})
    assert (recipe.steps, recipe.network.encoder) == (7, "resnet18")
    assert recipe.batch_size == PRESETS["tiny"].batch_size


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        ("huge", {}, "tiny, small, flair-baseline, flair2-baseline"),
        ("tiny", {"steps": 0}, "steps must be at least 1"),
        ("tiny", {"optimizer": "lion"}, "adamw, sgd"),
        ("tiny", {"steps": 2}, "checkpoints must be at most the steps"),
    ],
)
def test_what_is_not_allowed_is_told_with_what_is(preset, changes, message):
    with pytest.raises(SettingsError, match=message):
        make_recipe(preset, changes)


def test_the_command_line_offers_what_can_be_changed():
    assert option_types() == {name: kind for name, (kind, _) in RECIPE_OPTIONS.items()}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_recipe_is_told_as_a_preset_with_changes(preset):
    changes = {"steps": 700, "turn": not PRESETS[preset].turn, "encoder_weights": "w.pt", "weight_decay": 1e-7}
    assert preset_and_changes(make_recipe(preset, changes)) == (preset, changes)
    assert preset_and_changes(PRESETS[preset]) == (preset, {})
    network = replace(PRESETS[preset].network, decoder_channels=(1, 2, 3, 4, 5))
    assert preset_and_changes(replace(PRESETS[preset], network=network)) is None


def test_the_baseline_is_the_published_one():
    baseline = PRESETS["flair-baseline"]
    assert (baseline.optimizer, baseline.learning_rate, baseline.momentum, baseline.weight_decay) == ("sgd", 0.02, 0, 0)
    assert (baseline.network.architecture, baseline.network.encoder) == ("unet", "resnet34")
    assert baseline.schedule == "plateau"
    assert isinstance(baseline, TrainingConfig)


def test_the_baseline_with_series_is_the_published_one():
    baseline = PRESETS["flair2-baseline"]
    network = baseline.network
    assert (baseline.optimizer, baseline.learning_rate, baseline.batch_size, baseline.schedule) == (
        "sgd",
        1e-3,
        10,
        "constant",
    )
    assert (network.series, network.series_loss, network.series_widths) == ("corrected", 1.0, (64, 64, 128, 128))
    assert baseline.series_view == SeriesView(40, "flair2", monthly=True)
    without = make_recipe("flair2-baseline", {"series": ""})
    assert without.series_view is None and without.network.encoder == "resnet34"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_recipe_is_read_again_from_what_was_written_of_it(preset):
    written = json.loads(json.dumps(asdict(PRESETS[preset])))
    assert recipe_of(written) == PRESETS[preset]
    del written["momentum"]
    assert recipe_of(written).momentum == TrainingConfig().momentum
    written["network"]["wings"] = 2
    with pytest.raises(SettingsError, match="knows no wings of a recipe"):
        recipe_of(written)
