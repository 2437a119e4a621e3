"""The device that a run trains on, through Lightning Fabric."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(accelerator: str, devices: int, precision: str) -> "Fabric":
    """Lightning Fabric on one device, or on several by processes of its own, one a device.

    Whatever Slurm's variables say: a task of a job array is one process, which starts those of its devices itself.
    """
    from lightning_fabric import Fabric  # takes a second, which a command that only looks can do without
    from lightning_fabric.plugins.environments import LightningEnvironment

    from benchmark.processes import Processes, be_quiet

    be_quiet()
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        strategy=Processes() if devices > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
        plugins=[LightningEnvironment()],
    )


def device_name(fabric: "Fabric") -> str:
    """What a run is tagged with: the name of the GPU, or the kind of device."""
    import torch

    return torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else fabric.device.type
