"""Partners of the patches of a batch: another patch each, of another domain where there is one."""

import torch
from torch import Tensor


def other_domain_partners(domains: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each patch of a batch the index of a random patch of another domain (of any, where there is only one).

    Args:
        domains: (N,) int64 on the CPU.

    Returns:
        (N,) int64.
    """
    allowed = domains[:, None] != domains
    allowed[~allowed.any(1)] = True
    return torch.multinomial(allowed.float(), 1, generator=generator).flatten()
