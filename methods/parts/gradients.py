"""Which weights a loss teaches."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def reach_only(loss: Tensor, parameters: Iterable[nn.Parameter], largest: float = math.inf) -> Tensor:
    """A loss of the same value whose gradient reaches only some of the parameters that the given one hangs on.

    It is linear in them, with their gradient of now as slope. So it can be added to other losses, and one backward
    pass trains each weight by those that are meant for it. The graph of the given loss is kept for those others.

    Args:
        loss: scalar. Fabric, with mixed precision, lets no gradient but that of its own backward pass go through what
            left a module that it wraps; so none may lie between this and the parameters.
        parameters: those to reach, which require a gradient; one that the loss does not hang on gets none.
        largest: longest Euclidean norm of the gradient over all of them; a longer one is shortened to it.
    """
    parameters = list(parameters)
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    slopes = {parameter: slope for parameter, slope in zip(parameters, gradients, strict=True) if slope is not None}
    norm = torch.stack([slope.float().norm() for slope in slopes.values()]).norm()
    scale = (largest / norm).clamp(max=1)
    # The difference is 0 and its derivative 1.
    steps = [((parameter - parameter.detach()) * slope * scale).sum() for parameter, slope in slopes.items()]
    return loss.detach() + torch.stack(steps).sum()
