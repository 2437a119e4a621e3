"""Batch normalisation away from the source: with other statistics than the stored ones, and nothing else trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from methods.base import MethodError

NORMALIZATIONS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the batch-norm layers of a network, those with a built-in activation among them."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]


def train_only_affine(network: nn.Module) -> list[nn.Parameter]:
    """Freeze all but the scales and shifts of the normalisation layers of any kind, and return these.

    Returns:
        weight and bias of each layer in turn, each (channels,).

    Raises:
        MethodError: there is no such layer.
    """
    network.requires_grad_(False)
    layers = [layer for layer in network.modules() if isinstance(layer, NORMALIZATIONS)]
    affine = [parameter for layer in layers for parameter in layer.parameters(recurse=False)]
    if not affine:
        raise MethodError("the network has no normalisation layer with a scale and a shift to train")
    for parameter in affine:
        parameter.requires_grad_(True)
    return affine


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Normalise by the mean and biased variance of the batch, as in training, for the length of a block.

    What is stored is neither used nor changed, gradients flow through the statistics, and the rest of the network keeps
    its mode, so that dropout stays off in eval mode. A layer that is given a single value a channel, such as a map of
    1x1 of one image, has no variance to take and keeps to what is stored.
    """
    layers = batch_norms(network)
    modes = [(layer.training, layer.track_running_stats) for layer in layers]
    hooks = [layer.register_forward_pre_hook(_train_on_several) for layer in layers]
    try:
        for layer in layers:
            layer.track_running_stats = False
        yield
    finally:
        for layer, hook, mode in zip(layers, hooks, modes, strict=True):
            hook.remove()
            layer.training, layer.track_running_stats = mode


@contextmanager
def mixed_statistics(network: nn.Module, prior: float) -> Iterator[None]:
    """Normalise by the stored statistics mixed with those of the batch, in eval mode, for the length of a block.

    Of n images the mix is ``(prior * stored + n * batch) / (prior + n)``, of means and of variances alike, layer by
    layer: each sees what the layers below made of theirs. The variance of the batch is the unbiased one, as the stored
    one is; `batch_statistics` and training take the biased one. What is stored is not changed, no gradient flows
    through the statistics, and a single value a channel is treated as in `batch_statistics`.

    Args:
        prior: number of images that the stored statistics count for; 0 for the batch alone.
    """
    layers = batch_norms(network)
    stored: list[Any] = [(layer.running_mean, layer.running_var) for layer in layers]
    hooks = [
        layer.register_forward_pre_hook(partial(_mix, mean, variance, prior))
        for layer, (mean, variance) in zip(layers, stored, strict=True)
    ]
    try:
        yield
    finally:
        for layer, hook, (mean, variance) in zip(layers, hooks, stored, strict=True):
            hook.remove()
            layer.running_mean, layer.running_var = mean, variance


@contextmanager
def following_statistics(network: nn.Module, share: float) -> Iterator[None]:
    """Move the stored statistics to those of each batch by a share, and normalise by the result, for a block.

    The stored mean and variance are changed for good; gradients flow through the share that is of the batch, with its
    biased variance ("robust batch normalisation", Yuan et al., CVPR 2023). The network is in eval mode, and a single
    value a channel is treated as in `batch_statistics`.

    Args:
        share: from 0, as stored, to 1, the batch alone.
    """
    hooks = [layer.register_forward_pre_hook(partial(_follow, share)) for layer in batch_norms(network)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _follow(share: float, layer: Any, inputs: tuple[Tensor]) -> Tensor | None:
    """Store the moved statistics, and return the input again, now with the gradient that flows through them."""
    if not _has_variance(inputs[0]):
        return None
    features, shape = inputs[0].to(layer.running_mean.dtype), [1, -1, *[1] * (inputs[0].ndim - 2)]
    batch_variance, batch_mean = torch.var_mean(features, [0, *range(2, features.ndim)], correction=0)
    mean, variance = layer.running_mean.lerp(batch_mean, share), layer.running_var.lerp(batch_variance, share)
    layer.running_mean, layer.running_var = mean.detach(), variance.detach()
    scale = ((variance.detach() + layer.eps) / (variance + layer.eps)).sqrt()
    again = (features - mean.view(shape)) * scale.view(shape) + mean.detach().view(shape)
    return again.to(inputs[0].dtype)


def _train_on_several(layer: nn.Module, inputs: tuple[Tensor]) -> None:
    layer.training = _has_variance(inputs[0])


def _mix(mean: Tensor, variance: Tensor, prior: float, layer: Any, inputs: tuple[Tensor]) -> None:
    layer.running_mean, layer.running_var = mean, variance
    if _has_variance(inputs[0]):
        features = inputs[0].detach().to(mean.dtype)  # sums over bfloat16 would lose most digits
        share = prior / (prior + len(features))
        pixels = [0, *range(2, features.ndim)]
        layer.running_mean = features.mean(pixels).lerp(mean, share)
        layer.running_var = features.var(pixels).lerp(variance, share)


def _has_variance(features: Tensor) -> bool:
    return features.numel() > features.shape[1]
