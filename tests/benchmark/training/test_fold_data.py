"""Which patches a step sees: every batch comes from the part of the fold that the method may see, and from no other."""

from dataclasses import replace

import numpy as np
import pytest
from lightning_fabric import Fabric

from benchmark.training.fold_data import batches_of
from methods.base import Method, Needs

LABELLED = {
    Needs.SOURCE_LABELS: ("source_train",),
    Needs.TARGET_IMAGES: ("source_train",),
    Needs.FEW_TARGET_LABELS: ("source_train", "few"),
    Needs.TARGET_LABELS: ("target_adapt",),
}
UNLABELLED = {Needs.TARGET_IMAGES: ("target_adapt",), Needs.SOURCE_MODEL: ("target_adapt",)}


def _batches(data, recipe, needs):
    """Whole patches as they are, in so many steps that each patch of a pool comes at least once."""
    method = type("Seeing", (Method,), {"needs": needs})(None, data.task)
    recipe = replace(recipe, turn=False, crop=data.store.size, batch_size=4, steps=16)
    return list(batches_of(Fabric(accelerator="cpu", devices=1), method, data, recipe, seed=0))


def _rows(store, batches):
    """The store's rows of the patches in some batches, which are told by their pixels."""
    everything = np.arange(len(store.ids))
    row_of = {image.tobytes(): row for row, image in zip(everything.tolist(), store.read(everything), strict=True)}
    assert len(row_of) == len(everything)
    return [[row_of[image.tobytes()] for image in batch.images.byte().numpy()] for batch in batches]


@pytest.mark.parametrize("needs", Needs)
def test_each_pool_is_exactly_the_part_that_the_needs_name(needs, data, recipe):
    assert not set(data.parts["target_test"].rows) & set(data.parts["target_adapt"].rows), "else nothing is shown"
    for kind, batches in zip((LABELLED, UNLABELLED), zip(*_batches(data, recipe, needs), strict=True), strict=True):
        if needs not in kind:
            assert set(batches) == {None}
            continue
        seen = {row for rows in _rows(data.store, batches) for row in rows}
        assert seen == {row for part in kind[needs] for row in data.parts[part].rows.tolist()}


@pytest.mark.parametrize("needs", LABELLED)
def test_labels_and_metadata_are_those_of_the_patch(needs, data, recipe):
    batches = [source for source, _ in _batches(data, recipe, needs)]
    labels = data.store.labels_of(np.arange(len(data.store.ids)))
    parts = [data.parts[part] for part in ("source_train", "few", "target_adapt")]
    x_of = {row: x for part in parts for row, x in zip(part.rows.tolist(), part.metadata.x.tolist(), strict=True)}
    for batch, rows in zip(batches, _rows(data.store, batches), strict=True):
        assert np.array_equal(batch.labels.numpy(), labels.read(np.array(rows)))
        assert batch.metadata.x.tolist() == [x_of[row] for row in rows]
