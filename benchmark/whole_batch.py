"""What a network does with a share of a batch as if it had the whole one: batch normalisation, and draws."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmark.sharing import Share, at_work, of_each, summed


class WholeBatch(TorchFunctionMode):
    """Within, the functions in `CHANGED` work as on the whole batch of the share that is in the network.

    Found by function and not by layer: timm's batch normalisation is one of its own, and methods make theirs.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        share, changed = at_work(), CHANGED.get(function)
        if share is None or changed is None:
            return function(*args, **(kwargs or {}))
        return changed(share, *args, **(kwargs or {}))


def batch_norm(
    share: Share,
    input: Tensor,  # the names are those of `F.batch_norm`
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm` of own rows (n, C, ...), in training with mean and variance of all rows."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    normalized, mean, variance = _BatchNorm.apply(input, weight, bias, eps, share)
    if running_mean is not None and running_var is not None:
        values = _values(share, input)
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(variance.to(running_var.dtype) * values / max(values - 1, 1), momentum)
    return normalized


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, features: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, share: Share
    ) -> tuple[Tensor, Tensor, Tensor]:
        exact = features.to(torch.promote_types(features.dtype, torch.float32))
        variance, mean = torch.var_mean(exact, [0, *range(2, features.dim())], correction=0)
        # Of each process its own mean and variance, which are merged: sums of squares would cancel.
        means, variances = of_each(torch.stack((mean, variance))).unbind(1)
        parts = [count / sum(share.counts) for count in share.counts]
        mean = _mixed(parts, means)
        variance = _mixed(parts, variances + (means - mean).square())
        context.mark_non_differentiable(mean, variance)
        context.save_for_backward(features, weight, mean, variance)
        context.eps, context.share, context.shifted = eps, share, bias is not None
        return F.batch_norm(features, mean, variance, weight, bias, False, 0.0, eps), mean, variance

    @staticmethod
    def backward(context: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        features, weight, mean, variance = context.saved_tensors
        inverse = (variance + context.eps).rsqrt()
        shape = [1, -1] + [1] * (features.dim() - 2)
        pixels = [0, *range(2, features.dim())]
        exact, slope = features.to(mean.dtype), gradient.to(mean.dtype)
        of_shift = slope.sum(pixels)
        of_scale = ((exact - mean.view(shape)) * slope).sum(pixels) * inverse
        of_features = None
        if context.needs_input_grad[0]:
            shifts, scales = summed([of_shift, of_scale])
            size = inverse if weight is None else inverse * weight.to(mean.dtype)
            values = _values(context.share, features)
            tilt = -size * inverse * scales / values
            offset = -size * shifts / values - tilt * mean
            of_features = torch.addcmul(offset.view(shape), exact, tilt.view(shape))
            of_features = of_features.addcmul_(slope, size.view(shape)).to(features.dtype)
        scaled = None if weight is None else of_scale.to(weight.dtype)
        shifted = of_shift.to(weight.dtype if weight is not None else mean.dtype) if context.shifted else None
        return of_features, scaled, shifted, None, None


def _mixed(parts: Sequence[float], values: Tensor) -> Tensor:
    """Weighted sum over the processes: (processes, C) -> (C,)."""
    total = parts[0] * values[0]
    for part, value in zip(parts[1:], values[1:], strict=True):
        total = total.add_(value, alpha=part)
    return total


def _values(share: Share, features: Tensor) -> int:
    """How many values of a channel the whole batch has, of own rows (n, C, ...)."""
    own = share.rows.stop - share.rows.start
    return features.numel() // features.shape[1] // own * sum(share.counts)


def _dropped(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def drop(share: Share, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """Own rows with what the whole batch would have lost of them."""
        if not training or p == 0 or len(input) % _images(share):
            return function(input, p, training, inplace)
        return input * function(_like_whole(share, input).fill_(1), p, True)[_own(share, input)]

    return drop


def _bernoulli(share: Share, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Own rows of what is drawn for the whole batch, of which stochastic depth is made."""
    if len(input) % _images(share):
        return input.bernoulli_(*args, **kwargs)
    return input.copy_(_like_whole(share, input).bernoulli_(*args, **kwargs)[_own(share, input)])


def _like_whole(share: Share, rows: Tensor) -> Tensor:
    """An empty tensor for the whole batch, in memory as the rows are: numbers are drawn in the order of the memory."""
    whole = rows.new_empty(len(rows) // _images(share) * sum(share.counts), *rows.shape[1:])
    channels_last = rows.dim() == 4 and rows.is_contiguous(memory_format=torch.channels_last)
    return whole.to(memory_format=torch.channels_last) if channels_last else whole


def _own(share: Share, rows: Tensor) -> slice:
    parts = len(rows) // _images(share)
    return slice(share.rows.start * parts, share.rows.stop * parts)


def _images(share: Share) -> int:
    return share.rows.stop - share.rows.start


CHANGED: dict[Any, Callable[..., Tensor]] = {
    F.batch_norm: batch_norm,
    F.dropout: _dropped(F.dropout),
    F.dropout1d: _dropped(F.dropout1d),
    F.dropout2d: _dropped(F.dropout2d),
    F.dropout3d: _dropped(F.dropout3d),
    torch.Tensor.bernoulli_: _bernoulli,
}
