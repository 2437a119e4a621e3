"""A teacher: a copy of the network whose weights follow it slowly (Tarvainen and Valpola, NeurIPS 2017)."""

import copy

import torch
from torch import nn


def make_teacher(network: nn.Module) -> nn.Module:
    """A copy that is not trained. Make it in ``setup()``: what is perturbed in the network is not in its teacher."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, network: nn.Module, decay: float) -> None:
    """``teacher <- decay * teacher + (1 - decay) * network``, weights only; buffers keep the teacher's own values."""
    for mine, theirs in zip(teacher.parameters(), network.parameters(), strict=True):
        mine.lerp_(theirs.detach().to(mine.dtype), 1 - decay)


def warm_decay(decay: float, step: int) -> float:
    """The decay of a young teacher, which forgets faster: ``min(1 - 1 / (step + 1), decay)``, as in DACS."""
    return min(1 - 1 / (step + 1), decay)
