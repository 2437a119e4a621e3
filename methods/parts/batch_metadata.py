"""The metadata of the patches that are in the network, for a method that fuses it with their features."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from methods.parts.metadata import Metadata


class BatchMetadata:
    """Keeps the metadata of a batch while it is in the network, where the hook ``fuse`` sees features alone."""

    def __init__(self) -> None:
        self._metadata: Metadata | None = None

    @contextmanager
    def known(self, metadata: Metadata) -> Iterator[None]:
        """Fuse the metadata of this batch for the length of a block."""
        self._metadata = metadata
        try:
            yield
        finally:
            self._metadata = None

    def of(self, features: Tensor) -> Metadata:
        """Return the metadata of the N patches with these features (N, D, h, w); all unknown where none were given."""
        return self._metadata or Metadata.unknown(len(features)).to(features.device)
