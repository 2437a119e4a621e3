"""A teacher: a copy of the network whose weights follow it slowly (Tarvainen and Valpola, NeurIPS 2017)."""

import copy
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def make_teacher(network: nn.Module) -> nn.Module:
    """Return an untrained copy. Make it in ``setup()``: what is perturbed in the network is not in its teacher.

    In training mode its batch normalisation alone trains: dropout, stochastic depth and the like are off at every pass,
    as in the official code of DAFormer and MIC, so that two passes of one batch agree.
    """
    teacher = copy.deepcopy(network).requires_grad_(False)
    teacher.register_forward_pre_hook(_quieten)
    return teacher


def _quieten(teacher: nn.Module, inputs: object) -> None:
    """Set the mode before each pass, since the engine sets the mode of all modules after each checkpoint."""
    for module in teacher.modules():
        if module is not teacher and not isinstance(module, _BatchNorm):
            module.training = False


@torch.no_grad()
def follow(teacher: nn.Module, network: nn.Module, decay: float) -> None:
    """Set ``teacher <- decay * teacher + (1 - decay) * network``, weights only; buffers keep the teacher's values."""
    for mine, theirs in zip(teacher.parameters(), network.parameters(), strict=True):
        mine.lerp_(theirs.detach().to(mine.dtype), 1 - decay)


@torch.no_grad()
def blend(average: nn.Module, other: nn.Module, share: float | Tensor) -> None:
    """Set ``average <- average + share * (other - average)``: weights and statistics; buffers of whole numbers stay.

    Args:
        share: share from 0 to 1; a () tensor on the same device, or a number.
    """
    pairs = zip(chain(average.parameters(), average.buffers()), chain(other.parameters(), other.buffers()), strict=True)
    for mine, theirs in pairs:
        if mine.is_floating_point():
            mine.lerp_(theirs.to(mine.dtype), share.to(mine.dtype) if isinstance(share, Tensor) else share)


def warm_decay(decay: float, step: int) -> float:
    """Return the decay of a young teacher, which forgets faster: ``min(1 - 1 / (step + 1), decay)``, as in DACS."""
    return min(1 - 1 / (step + 1), decay)
