"""The device that a run trains on, through Lightning Fabric."""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(accelerator: str, precision: str) -> "Fabric":
    """Return Lightning Fabric on one device, whatever Slurm's variables say of the task that this process is in.

    Args:
        accelerator: cpu, cuda, mps, or auto for what there is.
        precision: Fabric's name, for example ``32-true``.
    """
    from lightning_fabric import Fabric  # takes a second, which a command that only looks can do without
    from lightning_fabric.plugins.environments import LightningEnvironment

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # that it does what was asked is no news
    return Fabric(
        accelerator=accelerator,
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        plugins=[LightningEnvironment()],
    )


def device_name(fabric: "Fabric") -> str:
    """Return the device that a run is tagged with: the name of the GPU, or the kind of device."""
    import torch

    return torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else fabric.device.type
