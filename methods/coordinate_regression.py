"""Regression of the place of a patch as a second task (GeoMultiTaskNet)."""

from dataclasses import dataclass

from torch import Tensor, nn

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.feature_size import feature_channels
from methods.parts.metadata import Metadata, coordinate_encoding


class CoordinateRegression(Method):
    """Find out from the image where it was taken, in source and target (Marsocci et al., CVPR workshops 2023).

    ``L = CE(source) + weight * (MSE(head(f_s), place_s) + MSE(head(f_t), place_t))``; f are the encoder's deepest
    features, and a place is the 256 sines and cosines of `coordinate_encoding`. A patch of unknown place counts in no
    MSE. The head is not used at test time.

    Departures: the features are averaged over the image before the head, where the official one takes the 65,536
    numbers of a 256-pixel crop's bottleneck, and so fits no other size. Layer instead of batch normalisation in the
    head, since a batch of one has no variance. The dynamic class sampling of the paper is not in its code, nor here.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=1e-2, high=10.0, log=True, neutral=0.0)

    def setup(self) -> None:
        self.head = coordinate_head(feature_channels(self.network, len(self.task.bands)))

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        logits, source_features = self.network(source, return_features=True)
        _, target_features = self.network(target, return_features=True)
        weight = self.hyperparameters.weight
        return {
            "segmentation": self.segmentation_loss(source, logits),
            "source_place": weight * place_loss(self.head(source_features), source.metadata),
            "target_place": weight * place_loss(self.head(target_features), target.metadata),
        }


def coordinate_head(channels: int) -> nn.Sequential:
    """Return a network from deepest features (N, channels, h, w) to a place (N, 256), with the official widths."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, 1024),
        nn.LayerNorm(1024),
        nn.ReLU(),
        nn.Linear(1024, 512),
        nn.LayerNorm(512),
        nn.ReLU(),
        nn.Linear(512, 256),
    )


def place_loss(regressed: Tensor, metadata: Metadata) -> Tensor:
    """Return the mean squared error of regressed places (N, 256) over patches whose place is known; 0 if none is."""
    # Northings in float32 are exact to a quarter of a metre, which blurs the waves of a few metres, and no others.
    errors = (regressed.float() - coordinate_encoding(metadata.x, metadata.y)).square().mean(1)
    known = (metadata.x + metadata.y).isfinite()
    return (errors * known).sum() / known.sum().clamp(min=1)
