"""Methods that change features between the stages of an encoder, and encoders whose stages are unknown."""

from dataclasses import replace
from functools import cache

import numpy as np

from benchmark.models.segmentation import build_network
from benchmark.models.settings import NetworkSettings
from methods.base import Method


def changes_features(method: type[Method]) -> bool:
    """Return whether a method changes the features that leave a stage."""
    return (method.perturb, method.fuse) != (Method.perturb, Method.fuse)


def against(encoder: str) -> str:
    """Return why a method that changes features cannot train an encoder whose stages are unknown."""
    return (
        f"changes features between the stages of the encoder, and those of {encoder} are unknown; take a ResNet, an "
        "MiT, a ConvNeXt or an EfficientNet"
    )


@cache
def has_stages(settings: NetworkSettings) -> bool:
    """Return whether the stages of an encoder are known, by building the network once, which takes a second or more.

    Raises:
        NetworkError: it cannot be built.
    """
    network = build_network(replace(settings, encoder_weights=""), 3, 2, np.zeros(3), np.ones(3), seed=0)
    return bool(network.stages)
