"""Sharing out: of the images of a step each of several processes takes some through the network, and the result is that
of one process to float tolerance.

A method knows nothing of it. In every process it has the whole batch and computes the losses of the whole batch; only
what costs, the network, is shared out. So there are two kinds of tensors. One that is *whole* is the same in every
process, and so is its gradient. Of one that is *shared* a process has the rows of its own images, and their gradient.
What leads from one kind to the other, and back in the backward pass, is all that the processes tell each other:

===================  =============================================  ===========================================
from -> to           forward                                        backward
===================  =============================================  ===========================================
shared -> whole      `Share.gather`: all rows from all processes    own rows
whole -> shared      `Share.take`: own rows                         all rows from all processes
weights -> shared    `Share.weights_of`: the weights                the sum over all processes, in one message
===================  =============================================  ===========================================

Inside the network what mixes the images of a batch, or draws numbers, is done as for the whole batch
(`benchmark.whole_batch`). As gradients are whole wherever a method can see them, one that takes gradients by itself
gets what it gets in one process, too; `DistributedDataParallel` averages them later, and once a step.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, distributed, nn

# Newer releases of torch deprecate the second name, older ones do not know the first.
_all_gather = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor


@dataclass
class _Step:
    """What the processes that share a training step know of each other."""

    rank: int
    world: int
    weights: dict[nn.Module, dict[str, Tensor]] = field(default_factory=dict)


_step: _Step | None = None
_at_work: "Share | None" = None


@contextmanager
def sharing(rank: int, world: int) -> Iterator[None]:
    """Within, networks share out their images over the processes, all of which come by here with the same batch."""
    global _step
    _step = _Step(rank, world) if world > 1 else None
    try:
        yield
    finally:
        _step = None


def share_of(images: int) -> "Share | None":
    """This process's share of a batch of so many images; None where there is nothing to share out."""
    if _step is None or _at_work is not None or images < _step.world:
        return None
    return Share(_step, images)


def at_work() -> "Share | None":
    """The share that is in the network now, None if there is none or what runs now has the whole batch."""
    return _at_work


class Share:
    """The images of a batch that are this process's: some that follow each other, as many as another one's or one more.

    Attributes:
        counts: images of each process.
        rows: which of the batch are this one's.
    """

    def __init__(self, step: _Step, images: int) -> None:
        few, more = divmod(images, step.world)
        self.counts = [few + (rank < more) for rank in range(step.world)]
        first = sum(self.counts[: step.rank])
        self.rows = slice(first, first + self.counts[step.rank])
        self._step = step

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Within, it is this share that is in a network."""
        with _working(self):
            yield

    def with_all(self, change: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
        """What a function makes of the features of the whole batch: own rows (n, ...) -> own rows (n, ...)."""
        whole = self.gather(features)
        with _working(None):
            changed = change(whole)
        return features if changed is whole else self.take(changed)

    def take(self, whole: Tensor) -> Tensor:
        """Own rows of a whole tensor (N, ...)."""
        rows: Tensor = _Take.apply(whole, self)
        return rows

    def gather(self, rows: Tensor) -> Tensor:
        """The whole tensor (N, ...) of own rows (n, ...)."""
        whole: Tensor = _Gather.apply(rows, self)
        return whole

    def weights_of(self, module: nn.Module) -> dict[str, Tensor]:
        """A module's trained weights by name, to use on own rows; in a step once, so that one message is enough."""
        trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        if not trained or not torch.is_grad_enabled():
            return {}
        known = self._step.weights.get(module)
        if known is None or list(known) != list(trained):
            known = dict(zip(trained, _Use.apply(*trained.values()), strict=True))
            self._step.weights[module] = known
        return known

    def rows_of_all(self, rows: Tensor) -> Tensor:
        """As `gather`, without a gradient. Rows may stand for parts of images, as many of each."""
        maps = rows.dim() == 4  # sent channels last, as networks have them; what lies how must not hang on the process
        mine = (rows.movedim(1, -1) if maps else rows).contiguous()
        parts = len(mine) // self.counts[self._step.rank]
        most = max(self.counts) * parts
        if len(mine) < most:  # the message of every process is of one size
            mine = torch.cat((mine, mine.new_zeros(most - len(mine), *mine.shape[1:])))
        every = of_each(mine)
        whole = every.flatten(0, 1)
        if min(self.counts) < max(self.counts):
            whole = torch.cat([rows[: n * parts] for rows, n in zip(every, self.counts, strict=True)])
        return whole.movedim(-1, 1) if maps else whole


@contextmanager
def _working(share: Share | None) -> Iterator[None]:
    global _at_work
    before, _at_work = _at_work, share
    try:
        yield
    finally:
        _at_work = before


def of_each(tensor: Tensor) -> Tensor:
    """What each process has, in order: (...) of one shape everywhere -> (processes, ...)."""
    every = tensor.new_empty(distributed.get_world_size() * tensor.numel())
    _all_gather(every, tensor.contiguous().flatten())
    return every.view(-1, *tensor.shape)


def summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The sum over all processes of each of some tensors, in one message for each dtype."""
    sums: dict[int, Tensor] = {}
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        places = [place for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
        flat = torch.cat([tensors[place].flatten() for place in places])
        distributed.all_reduce(flat)
        pieces = flat.split([tensors[place].numel() for place in places])
        sums |= {place: piece.view(tensors[place].shape) for place, piece in zip(places, pieces, strict=True)}
    return [sums[place] for place in range(len(tensors))]


def agree(parameters: Sequence[nn.Parameter]) -> None:
    """Make the whole gradients of every process the same to the bit: on a GPU sums come in any order."""
    known = [weight for weight in parameters if weight.grad is not None]
    for weight, total in zip(known, summed([weight.grad for weight in known if weight.grad is not None]), strict=True):
        weight.grad = total / distributed.get_world_size()


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, whole: Tensor, share: Share) -> Tensor:
        context.share = share
        return whole[share.rows].clone()  # what comes next may change it in place

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return context.share.rows_of_all(gradient), None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor, share: Share) -> Tensor:
        context.share = share
        return share.rows_of_all(rows)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[context.share.rows], None


class _Use(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        context.set_materialize_grads(False)
        return tuple(weight.view_as(weight) for weight in weights)

    @staticmethod
    def backward(context: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        known = iter(summed([gradient for gradient in gradients if gradient is not None]))
        return tuple(None if gradient is None else next(known) for gradient in gradients)
