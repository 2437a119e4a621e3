"""The batches that a method and its network are given."""

from dataclasses import dataclass
from typing import NoReturn

from torch import Tensor

from methods.parts.metadata import Metadata
from methods.parts.origin import Origin
from methods.parts.series import SeriesBatch

IGNORE = 255  # label of a pixel that counts in no loss and no metric


@dataclass(frozen=True)
class SourceBatch:
    """Labelled patches.

    Attributes:
        images: (N, C, H, W) float32 on the scale 0 to 255: raw pixel values of uint8 images; of others the robust range
            of the source, beyond which some are (the network normalises them itself).
        labels: (N, H, W) int64, class indices or :data:`IGNORE`.
        domains: (N,) int64, index of each patch's source domain.
        metadata: place, time and camera of each patch, as far as they are known; those of the whole
            patch, also where a crop of it is seen.
        origin: the way to whole patches (see :mod:`methods.parts.scenes`); None for a batch made by hand.
        series: series of satellite images around each; None where the config's network sees none. A method changes
            images with ``replace(batch, images=...)``, and so keeps it.
    """

    images: Tensor
    labels: Tensor
    domains: Tensor
    metadata: Metadata
    origin: Origin | None = None
    series: SeriesBatch | None = None


@dataclass(frozen=True)
class TargetBatch:
    """Unlabelled patches of the target: there is no field for labels, so no method can read them.

    Attributes:
        images: (N, C, H, W) float32, see `SourceBatch`.
        metadata, origin, series: see `SourceBatch`. A target has no domain index: its domains are not those of the
            source.
    """

    images: Tensor
    metadata: Metadata
    origin: Origin | None = None
    series: SeriesBatch | None = None

    def __getattr__(self, name: str) -> NoReturn:
        no = "; a method never sees labels of the target" if name in ("labels", "domains") else ""
        raise AttributeError(f"a target batch has no {name}, but images, metadata, origin and series{no}")

    @classmethod
    def of(cls, images: Tensor) -> "TargetBatch":
        """Return a batch of images (N, C, H, W) of which nothing else is known."""
        return cls(images, Metadata.unknown(len(images)).to(images.device))
