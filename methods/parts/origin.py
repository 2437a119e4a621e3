"""Origin of the patches of a batch: the way from a crop back to its whole patch, its zone and its domain."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Origin:
    """The pool that a batch was drawn from, and how its patches were cut.

    It gives images, and no labels: nothing that it refers to leads to any.

    Nothing is read before ``images`` is called. All tensors are on the CPU.

    Attributes:
        pool: name of the pool; another pool of the same training has another one.
        positions: (N,) int64, of the batch's patches in the pool of n patches.
        zones, domains: (n,) int64, index of the zone and of the domain of each patch of the pool.
        images: takes positions (k,) int64; gives the whole patches (k, C, S, S) float32, raw pixel values.
        cut: takes images (N, C, S, S) on any device; gives (N, C, s, s), cut and turned as the batch's own are.
    """

    pool: str
    positions: Tensor
    zones: Tensor
    domains: Tensor
    images: Callable[[Tensor], Tensor]
    cut: Callable[[Tensor], Tensor]
