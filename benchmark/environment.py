"""What a run was computed with, besides landshift's own code."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "torch",
    "lightning-fabric",
    "segmentation-models-pytorch",
    "timm",
    "numpy",
    "scipy",
    "scikit-learn",
)
"""Whose version may change a number. What reads files is not among them: the digest of the decoded patches is."""


def environment() -> dict[str, Any]:
    """Versions of the packages, and of Python; and the system with the kind of processor.

    The kind is the set of instructions that torch takes, since others sum in another order.
    """
    import torch  # half a second, which a command that only looks can do without

    kind = torch.backends.cpu.get_cpu_capability()
    return {
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()} {kind}",
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
