"""The catalog's columns as tensors; what is unknown stays unknown."""

import math

import pandas as pd
import pytest
import torch

from benchmark.data.metadata import cameras_of, metadata_of
from methods.base import Method, Needs, TargetBatch
from methods.parts.metadata import flair_vector


@pytest.fixture
def patches() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "x": [961488.0, math.nan],
            "y": [6329211.2, math.nan],
            "z": [812.5, math.nan],
            "date": ["2021-07-09", ""],
            "clock": ["14:05", ""],
            "camera": ["UCE-M3-f100", ""],
        }
    )


def test_every_column_is_a_number(patches):
    metadata = metadata_of(patches, ("CAMERA#017", "UCE-M3-f100"))
    first = metadata.take(slice(0, 1))
    assert [first.x.item(), first.z.item(), first.camera.item(), first.uce.item()] == [961488.0, 812.5, 1, 1]
    assert [first.year.item(), first.month.item(), first.day.item(), first.minute.item()] == [2021, 7, 9, 845]
    assert all(
        field.dtype == (torch.int64 if name == "camera" else torch.float32) for name, field in vars(first).items()
    )


def test_what_is_unknown_is_nan_and_the_vector_s_zeros(patches):
    second = metadata_of(patches, cameras_of(patches)).take(torch.tensor([1]))
    assert second.camera.item() == -1
    assert all(math.isnan(field.item()) for name, field in vars(second).items() if name != "camera")
    assert not flair_vector(second, published=False).any()


def test_another_camera_is_not_ultracam(patches):
    other = patches.assign(camera=["CAMERA#017", "unheard of"])
    assert metadata_of(other, ("CAMERA#017",)).uce.tolist() == [0, 0]
    assert metadata_of(other, ("CAMERA#017",)).camera.tolist() == [0, -1]


class Noting(Method):
    needs = Needs.TARGET_IMAGES
    seen: list = []  # noqa: RUF012

    def losses(self, source, target, progress):
        self.seen.append((source, target))
        return {"segmentation": self.segmentation_loss(source)}


def test_methods_see_the_metadata_of_both_sides(data, recipe):
    from lightning_fabric import Fabric

    from benchmark.training.loop import fitted
    from benchmark.training.trainer import Stepper

    Noting.seen.clear()
    stepper = Stepper(Fabric(accelerator="cpu", devices=1), Noting, None, data, recipe, 0, lambda losses, step: None)
    with fitted(stepper):
        source, target = Noting.seen[0]
    assert isinstance(target, TargetBatch) and not hasattr(target, "domains")
    assert set(target.metadata.year.tolist()) == {2019} and set(source.metadata.year.tolist()) == {2020}
    assert len(source.metadata.x) == len(source.images) and torch.isfinite(source.metadata.x).all()
