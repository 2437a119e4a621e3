"""Metadata of the patch as a second input (the metadata branch of FLAIR's baseline)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.base import Method, Progress, SourceBatch, TargetBatch, choice, tunable
from methods.parts.batch_metadata import BatchMetadata
from methods.parts.feature_size import feature_channels
from methods.parts.metadata import flair_vector

BLOCKS = {  # columns of the metadata vector that the network is given
    "all": slice(0, 45),
    "place": slice(0, 33),  # coordinates and altitude
    "camera": slice(33, 35),
    "date and time": slice(35, 45),
    "all but place": slice(33, 45),
}


class MetadataFusion(Method):
    """Tell the network where, when and with which camera a patch was taken (Garioud et al., "FLAIR #1", 2022).

    ``features + W mlp(metadata)`` at the last stage of the encoder, while training and at test time, and
    ``L = CE(source)``. The MLP, 45-64-32-16 with dropout and a ReLU after every layer, is the official one. What is
    unknown of a patch is 0 in the vector. A target is where and when no source patch is, so that at test time the
    MLP extrapolates: ``blocks`` shows what of the metadata helps and what harms.

    Departures: a linear map of the 16 outputs to the number of channels, the same everywhere in the image. The official
    code repeats the 16 numbers over 512 channels and 16 columns, one number a row: this fits a bottleneck of 512
    channels and 16 rows alone, and gives the upper part of an image other numbers than the lower. The vector is the one
    that was meant (``encoding``); as published it holds no month, and nearly no place.
    """

    needs_metadata = True

    @dataclass(frozen=True)
    class Hyperparameters:
        dropout: float = tunable(0.4, low=0.0, high=0.6)
        encoding: str = choice("corrected", ("corrected", "published"))
        blocks: str = choice("all", BLOCKS)

    def setup(self) -> None:
        self.mlp = metadata_mlp(self.hyperparameters.dropout)
        self.to_features = nn.Linear(16, feature_channels(self.network, len(self.task.bands)))
        self._deepest = list(self.network.stages)[-1]
        self._batch = BatchMetadata()

    def fuse(self, stage: str, features: Tensor) -> Tensor:
        if stage != self._deepest:
            return features
        vector = flair_vector(self._batch.of(features), published=self.hyperparameters.encoding == "published")
        columns = BLOCKS[self.hyperparameters.blocks]
        visible = torch.zeros_like(vector)
        visible[:, columns] = vector[:, columns]
        shift: Tensor = self.to_features(self.mlp(visible))
        return features + shift.to(features.dtype)[:, :, None, None]

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source, self._logits(source))}

    def predict(self, batch: TargetBatch) -> Tensor:
        return self._logits(batch)

    def _logits(self, batch: SourceBatch | TargetBatch) -> Tensor:
        with self._batch.known(batch.metadata):
            logits: Tensor = self.network(batch)
        return logits


def metadata_mlp(dropout: float) -> nn.Sequential:
    """Return the official encoder of metadata, (N, 45) -> (N, 16); 5552 weights."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((45, 64), (64, 32), (32, 16)):
        layers += [nn.Linear(inputs, outputs), nn.Dropout(dropout), nn.ReLU()]
    return nn.Sequential(*layers)
