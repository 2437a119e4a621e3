"""The optimiser and the schedule that a config names."""

from typing import Any

import torch
from torch import nn

from benchmark.training.config import TrainingConfig

WARM_UP = 0.15  # share of the steps in which the one-cycle schedule rises


def make_optimizer(recipe: TrainingConfig, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the recipe's optimiser of some weights."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            weights, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    # Fused: one pass over each weight instead of a dozen; on a CPU a tenth of a small network's step.
    return torch.optim.AdamW(weights, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


def make_scheduler(recipe: TrainingConfig, optimizer: Any) -> Any:
    """Return the recipe's schedule of an optimiser's learning rate; None where it is constant."""
    if recipe.schedule == "constant":
        return None
    if recipe.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=10, cooldown=4, min_lr=1e-7)
    if recipe.schedule == "one-cycle":
        # One step more than there are: the last one would have no rate left.
        rates = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rates, recipe.steps + 1, pct_start=WARM_UP, cycle_momentum=False
        )
    return torch.optim.lr_scheduler.PolynomialLR(optimizer, recipe.steps, power=0.9)
