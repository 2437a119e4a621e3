"""Addressed randomness: every draw is a function of (seed, purpose, indices), never of what was drawn before."""

import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")

# Steps of the golden ratio keep consecutive domains far apart in every parameter, whatever their number.
GOLDEN = (5**0.5 - 1) / 2


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Return the generator of an address.

    Args:
        seed: seed of the world, >= 0.
        purpose: name of what is drawn.
        indices: place, zone, time … that the draws may depend on.
    """
    key = (zlib.crc32(purpose.encode()), *indices)
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=key))


def deviations(seed: int, purpose: str, domain: int, count: int) -> NDArray[np.float64]:
    """Return how far a domain is from the common base in `count` parameters, each in [-1, 1).

    The start is random, the step from one domain to the next is not: independent draws would now and then
    make two domains alike, and a world has few of them.
    """
    start = generator(seed, purpose).random(count)
    return 2 * ((start + domain * GOLDEN) % 1) - 1


def one_of(menu: Sequence[Item], seed: int, purpose: str, domain: int) -> Item:
    """Return a domain's item of a menu; consecutive domains get different ones."""
    return menu[(int(generator(seed, purpose).integers(len(menu))) + domain) % len(menu)]
