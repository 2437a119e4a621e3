"""A network of one convolution, and the official values the methods are held against."""

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
TASK = Task(classes=("water", "forest", "field"), bands=("red", "nir", "height"))


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


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 3, kernel_size=3, padding=1)


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
