"""The search space of a method, and the settings that are tried: its defaults, then random ones.

Random search rather than a model of the scores: with ten or twenty trials it is hard to beat (Bergstra and Bengio,
JMLR 2012), every rule may choose among the same trials, and any number of processes try the same settings in any order.
Eight trials in a row form a Latin hypercube (McKay et al., 1979): of each hyperparameter, every eighth of its range is
drawn from once, so that a short search is not short of high or low values by chance.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from benchmark.common.errors import SettingsError
from benchmark.experiments.labels import RATE, canonical_label, has_recipe_rate, parse_label, split_label
from benchmark.training.config import TrainingConfig
from benchmark.tuning.plan import Tuning, why_not
from methods.parts.randomness import numpy_generator

RATE_FACTOR = 10.0  # how far the learning rate is searched below and above the recipe's
BLOCK = 8  # trials of a Latin hypercube
DIGITS = 3  # that a drawn number keeps, so that a setting can be read and typed

Params = dict[str, Any]


def search_space(label: str, recipe: TrainingConfig) -> dict[str, BaseDistribution]:
    """Return what the method declares to be searched, and the recipe's learning rate if the method is trained with it.

    What the label fixes is not searched.
    """
    setting = parse_label(label)
    space: dict[str, BaseDistribution] = {}
    if has_recipe_rate(setting.method):
        rate = recipe.learning_rate
        space[RATE] = FloatDistribution(rate / RATE_FACTOR, rate * RATE_FACTOR, log=True)
    for item in fields(setting.hyperparameters):
        declared = item.metadata
        if "options" in declared:
            space[item.name] = CategoricalDistribution(declared["options"])
        elif "low" in declared:
            kind = IntDistribution if isinstance(item.default, int) else FloatDistribution
            space[item.name] = kind(declared["low"], declared["high"], log=declared["log"])
    fixed = split_label(label)[1]
    return {name: distribution for name, distribution in space.items() if name not in fixed}


def settings(label: str, recipe: TrainingConfig, trials: int) -> list[Params]:
    """Return the values of each trial; those of trial 0 are the defaults.

    Each hyperparameter has its own random stream, addressed by its name and the trial: a method that gets another
    hyperparameter, or a search that gets longer, changes no value that was drawn before.

    Raises:
        SettingsError: the method has nothing to tune.
    """
    space = search_space(label, recipe)
    if not space:
        raise SettingsError(
            f"{label} has nothing to tune: no hyperparameter, and no use for the recipe's learning rate"
        )
    hyperparameters = parse_label(label).hyperparameters
    defaults = {name: recipe.learning_rate if name == RATE else getattr(hyperparameters, name) for name in space}
    drawn = [{name: _draw(name, space[name], trial) for name in space} for trial in range(1, trials)]
    return [defaults, *drawn]


def label_of(label: str, params: Mapping[str, Any], recipe: TrainingConfig) -> str:
    """Return the method's label with the values of a trial."""
    name, fixed = split_label(label)
    pairs = ",".join(f"{key}={value}" for key, value in (fixed | dict(params)).items())
    return canonical_label(f"{name}[{pairs}]", recipe)


def trial_labels(
    labels: Iterable[str], recipe: TrainingConfig, tuning: Tuning
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the labels of all trials of each method that can be tuned, and of the others why they cannot."""
    trials, reasons = dict[str, list[str]](), dict[str, str]()
    for label in labels:
        if reason := why_not(label, tuning.rule):
            reasons[label] = reason
            continue
        try:
            trials[label] = [label_of(label, params, recipe) for params in settings(label, recipe, tuning.trials)]
        except SettingsError:
            reasons[label] = "it has nothing to tune"
    return trials, reasons


def _draw(name: str, distribution: Any, trial: int) -> Any:
    block, place = divmod(trial - 1, BLOCK)
    eighth = numpy_generator("tuning", name, "order", block).permutation(BLOCK)[place]
    share = float(eighth + numpy_generator("tuning", name, trial).random()) / BLOCK
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * len(distribution.choices))]
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution):
        # Every whole number owns the unit of the scale above it.
        value = low * ((high + 1) / low) ** share if distribution.log else low + (high + 1 - low) * share
        return min(int(value), high)
    value = low * (high / low) ** share if distribution.log else low + (high - low) * share
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)
