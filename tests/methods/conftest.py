"""A tiny network, and the official values the methods are held against."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from methods.base import SourceBatch, TargetBatch, Task
from methods.parts.metadata import Metadata

REPOSITORY = Path(__file__).resolve().parents[2]
TASK = Task(classes=("water", "forest", "field"), bands=("red", "nir", "height"), domains=("P1@2020", "P2@2021"))


@pytest.fixture
def fixture_values() -> Callable[[str], Any]:
    """Arrays computed by a paper's official code; skipped where the files are not at hand."""
    data = Path(os.environ.get("LANDSHIFT_TEST_DATA", REPOSITORY.parent / "shared" / "data"))

    def load(name: str) -> Any:
        path = data.parent / "fixtures" / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"no reference values at {path}")
        values = np.load(path, allow_pickle=False)
        assert json.loads(str(values["meta"]))
        return values

    return load


class TinyNetwork(nn.Module):
    """What the contract asks of a network: two stages with batch normalisation, and a head at full resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.encoder = nn.ModuleDict({"layer1": _block(3, 4, 1), "layer2": _block(4, 6, 2)})
        self.model.segmentation_head = nn.Conv2d(6, 3, kernel_size=1)
        self.stages = {"stage1": self.model.encoder["layer1"], "stage2": self.model.encoder["layer2"]}
        self.perturbation: Callable[[str, torch.Tensor], torch.Tensor] | None = None
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 128.0))

    def forward(self, images: torch.Tensor, return_features: bool = False) -> Any:
        features = (images - 128) / 64
        for name, stage in self.stages.items():
            features = stage(features)
            if self.perturbation is not None:
                features = self.perturbation(name, features)
        logits = nn.functional.interpolate(self.model.segmentation_head(features), images.shape[-2:], mode="bilinear")
        return (logits, features) if return_features else logits


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return TinyNetwork()


@pytest.fixture
def task() -> Task:
    return TASK


@pytest.fixture
def source() -> SourceBatch:
    random = torch.Generator().manual_seed(1)
    images = torch.rand(4, 3, 32, 32, generator=random) * 255
    labels = torch.randint(0, 3, (4, 32, 32), generator=random)
    return SourceBatch(images, labels, torch.tensor([0, 0, 1, 1]), Metadata.unknown(4))


@pytest.fixture
def target() -> TargetBatch:
    random = torch.Generator().manual_seed(2)
    return TargetBatch(torch.rand(4, 3, 32, 32, generator=random) * 255, Metadata.unknown(4))


def _official_network() -> nn.Module:
    """The network of the reference values, each tensor by its closed form offset + scale * sin(pace * k + shift)."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1))
    waves = {  # offset, scale, pace, shift
        "0.weight": (0, 0.5, 0.7, 0),
        "0.bias": (0, 0.5, 0.7, 1),
        "1.weight": (1, 0.3, 0.7, 2),
        "1.bias": (0, 0.3, 0.7, 3),
        "1.running_mean": (0, 0.4, 1.1, 0.2),
        "1.running_var": (1, 0.3, 1.3, 0.4),
        "3.weight": (0, 2.5, 0.7, 4),
        "3.bias": (0, 0.4, 0.7, 5),
    }
    state = network.state_dict()
    for name, (offset, scale, pace, shift) in waves.items():
        k = torch.arange(state[name].numel(), dtype=torch.float64)
        state[name].copy_((offset + scale * torch.sin(pace * k + shift)).view_as(state[name]))
    return network


@pytest.fixture
def official_network() -> Callable[[], nn.Module]:
    """Makes the small network on which the official test-time codes were run."""
    return _official_network


@pytest.fixture
def official_batches() -> Callable[[Any], list[TargetBatch]]:
    """The three batches of the fixture "tent", from its values."""
    return lambda values: [TargetBatch(torch.tensor(values[f"in_x{k}"]), Metadata.unknown(2)) for k in range(3)]
