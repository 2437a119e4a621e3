"""Gradients of a loss: which weights it teaches, and by how much."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from methods.parts.errors import MethodError

SCALE = 2.0**10  # of a loss while its gradients are computed in float16, where small ones would be rounded to 0


def gradients_of(
    loss: Tensor,
    parameters: Iterable[Tensor],
    *,
    create_graph: bool = False,
    retain_graph: bool = True,
    allow_unused: bool = False,
) -> tuple[Tensor, ...]:
    """Return the derivatives of a loss by parameters, as `torch.autograd.grad` gives them, under mixed precision too.

    Each operation is differentiated in the precision it was computed in. Autocast is off meanwhile: it would round the
    derivatives of what was computed in full precision.

    Args:
        loss: scalar.
        parameters: parameters to derive by.
        create_graph: whether the result can be part of a loss itself (second-order gradients).
        retain_graph: whether the loss is needed again afterwards; False frees its memory.
        allow_unused: give None for a parameter that the loss does not hang on.

    Returns:
        for each parameter a tensor of its shape.

    Raises:
        MethodError: the loss hangs on none of the parameters, or not on all of them where that is not allowed.
    """
    wanted = list(parameters)
    device = loss.device.type
    scale = 1.0
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) is torch.float16:
        scale = SCALE
    if not loss.requires_grad:
        raise MethodError("gradients() is given a loss that is detached; expected one that hangs on the parameters")
    with torch.autocast(device, enabled=False):
        found = torch.autograd.grad(
            loss if scale == 1 else loss * scale,
            wanted,
            create_graph=create_graph,
            retain_graph=retain_graph or create_graph,
            allow_unused=True,
        )
    missing = sum(gradient is None for gradient in found)
    if missing and not allow_unused:
        raise MethodError(
            f"gradients() is given a loss that does not hang on {missing} of {len(wanted)} parameters; leave them out, "
            "or give allow_unused=True, which gives None for them"
        )
    return found if scale == 1 else tuple(None if each is None else each / scale for each in found)


def reaches(loss: Tensor, parameters: Iterable[Tensor]) -> bool:
    """Return whether a backward pass from a loss leads to any of some parameters; nothing is computed."""
    wanted = {id(parameter) for parameter in parameters}
    if loss.grad_fn is None:
        return loss.requires_grad and id(loss) in wanted
    waiting, seen = [loss.grad_fn], {loss.grad_fn}
    while waiting:
        node = waiting.pop()
        if id(getattr(node, "variable", None)) in wanted:  # where a gradient is added to a leaf
            return True
        following = {each for each, _ in node.next_functions if each is not None} - seen
        seen |= following
        waiting += following
    return False


def reach_only(loss: Tensor, parameters: Iterable[nn.Parameter], largest: float = math.inf) -> Tensor:
    """Return a loss of the same value whose gradient reaches only some of the parameters that the given one hangs on.

    It is linear in them, with their gradient of now as slope. So it can be added to other losses, and one backward
    pass trains each weight by those that are meant for it. The graph of the given loss is kept for those others.

    Args:
        loss: scalar.
        parameters: parameters to reach, which require a gradient; one that the loss does not hang on gets none.
        largest: longest Euclidean norm of the gradient over all of them; a longer one is shortened to it.
    """
    parameters = list(parameters)
    gradients = gradients_of(loss, parameters, allow_unused=True)
    slopes = {parameter: slope for parameter, slope in zip(parameters, gradients, strict=True) if slope is not None}
    norm = torch.stack([slope.float().norm() for slope in slopes.values()]).norm()
    scale = (largest / norm).clamp(max=1)
    # The difference is 0 and its derivative 1.
    steps = [((parameter - parameter.detach()) * slope * scale).sum() for parameter, slope in slopes.items()]
    return loss.detach() + torch.stack(steps).sum()
