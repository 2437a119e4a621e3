"""Methods that change features between the stages of an encoder, and encoders whose stages are unknown."""

from dataclasses import replace
from functools import cache

import numpy as np

from benchmark.models.segmentation import build_network
from benchmark.models.settings import ALONE, NetworkSettings
from methods.base import Method


def changes_features(method: type[Method]) -> bool:
    """Return whether a method changes the features that leave a stage."""
    return (method.perturb, method.fuse) != (Method.perturb, Method.fuse)


def against(settings: NetworkSettings) -> str:
    """Return why a method that changes features cannot train a network whose encoder's stages are unknown."""
    if settings.series == ALONE:
        return "changes features between the stages of an image's encoder, and this network sees the series alone"
    return (
        f"changes features between the stages of the encoder, and those of {settings.encoder} are unknown; take a "
        "ResNet, an MiT, a ConvNeXt or an EfficientNet"
    )


@cache
def has_stages(settings: NetworkSettings) -> bool:
    """Return whether the stages of an encoder are known, by building the network once, which takes a second or more.

    Raises:
        NetworkError: it cannot be built.
    """
    if settings.series == ALONE:
        return False
    network = build_network(replace(settings, encoder_weights="", series=""), 3, 2, np.zeros(3), np.ones(3), seed=0)
    return bool(network.stages)
