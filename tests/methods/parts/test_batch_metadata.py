"""Metadata that is known only while its batch is in the network."""

import pytest
import torch

from methods.parts.batch_metadata import BatchMetadata
from methods.parts.metadata import Metadata

FEATURES = torch.zeros(2, 6, 4, 4)


def test_it_is_known_within_and_forgotten_after_even_an_error():
    batch, metadata = BatchMetadata(), Metadata.unknown(2)
    with batch.known(metadata):
        assert batch.of(FEATURES) is metadata
    with pytest.raises(RuntimeError, match="in the network"), batch.known(metadata):
        raise RuntimeError("in the network")
    assert batch.of(FEATURES) is not metadata


def test_nothing_is_known_of_another_batch():
    unknown = BatchMetadata().of(FEATURES)
    assert len(unknown.month) == 2 and unknown.month.isnan().all()
