"""The memory of patches, held against the official trace in tests/methods/test_rotta.py; here how it batches."""

import torch

from methods.base import SeriesBatch, TargetBatch
from methods.parts.memory import BalancedMemory, Remembered, joined_series, split_batch
from methods.parts.metadata import Metadata


def _series(count, dates):
    valid = torch.ones(count, dates, dtype=torch.bool)
    return SeriesBatch(torch.rand(count, dates, 2, 4, 4), torch.arange(dates).expand(count, -1).float(), valid)


def test_a_batch_is_split_and_put_together_again_with_series_of_unequal_length():
    batches = [TargetBatch(torch.rand(2, 3, 8, 8), Metadata.unknown(2), series=_series(2, dates)) for dates in (5, 3)]
    memory = BalancedMemory(8, 3)
    for batch in batches:
        for patch in split_batch(batch):
            memory.add(Remembered(patch, 0, 0.0) if not memory.kept else Remembered(patch, len(memory.kept) % 3, 0.0))
    together, weights = memory.batch()
    assert torch.equal(together.images, torch.cat([batch.images for batch in batches]))
    assert together.series.values.shape == (4, 5, 2, 4, 4) and together.series.valid.sum(1).tolist() == [5, 5, 3, 3]
    assert (
        torch.equal(together.series.values[2:, :3], batches[1].series.values)
        and not together.series.values[2:, 3:].any()
    )
    assert weights.tolist() == sorted(weights.tolist()), "those that came last weigh most"
    assert len(together.metadata.year) == 4


def test_what_is_kept_is_no_view_of_its_batch_and_has_no_origin():
    batch = TargetBatch(torch.rand(2, 3, 8, 8), Metadata.unknown(2))
    first, _ = split_batch(batch)
    assert first.images.data_ptr() != batch.images.data_ptr() and first.origin is None and first.series is None
    assert joined_series([]) is None
