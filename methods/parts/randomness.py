"""Addressed randomness: every draw is a function of what it is for, never of what was drawn before.

A generator is named by its address (seed, purpose, step, ...). So two methods of one seed see the same batches, a
resumed run needs no stored random state, and a new method or hyperparameter changes no other draws.
"""

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def address(*parts: str | int) -> int:
    """Return a 63-bit seed from the parts of an address, the same on every machine.

    The parts are length-prefixed before hashing, so ``("ab", "c")`` and ``("a", "bc")`` differ.
    """
    text = "".join(f"{len(str(part))}:{part}" for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def torch_generator(*parts: str | int) -> "torch.Generator":
    """Return a CPU generator for the draw at this address."""
    import torch  # takes seconds, which a table can do without

    return torch.Generator().manual_seed(address(*parts))


def numpy_generator(*parts: str | int) -> np.random.Generator:
    """Return a NumPy generator for the draw at this address."""
    return np.random.Generator(np.random.Philox(key=address(*parts)))
