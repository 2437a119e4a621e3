"""Processes of one training, one a device."""

import logging

from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn


class Processes(DDPStrategy):
    """Fabric's data-parallel processes and what they send each other, but its averaging of gradients.

    Gradients are whole before a method sees them (`benchmark.sharing`); `DistributedDataParallel` would do it after.
    """

    def __init__(self) -> None:
        super().__init__(start_method="spawn")

    def setup_environment(self) -> None:
        """In each of the processes."""
        be_quiet()
        super().setup_environment()

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """The module as it is."""
        return module


def be_quiet() -> None:
    """That Fabric does what it was asked for is no news."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
