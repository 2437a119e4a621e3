"""The sample of pixels: fixed, of the right parts, and never of the test."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from benchmark import evidence as module
from benchmark.data.classes import IGNORE
from benchmark.evidence import agreement, gather, scores_of


@pytest.fixture(scope="module")
def fabric():
    return Fabric(accelerator="cpu", devices=1)


def first_band(classes):
    """Logits that hold the first band's value at each pixel."""
    return lambda batch: batch.images[:, :1].expand(-1, classes, -1, -1) * torch.arange(classes).view(1, -1, 1, 1)


def test_the_sample_is_of_the_pixels_it_says(fabric, data, monkeypatch):
    read = []
    monkeypatch.setattr(type(data.store), "read", _noting(type(data.store).read, read))
    classes = len(data.task.classes)
    found = gather(fabric, first_band(classes), data)
    allowed = {"target_adapt": set(data.parts["target_adapt"].rows), "source_val": set(data.parts["source_val"].rows)}
    assert set(read[0]) <= allowed["target_adapt"] and set(read[1]) <= allowed["source_val"]
    values = {int(value) for row in read[0] for value in np.unique(data.store.read(np.array([row]))[0, 0])}
    assert {round(float(value)) for value in found.target[:, 1]} <= values
    assert found.target.shape == (len(read[0]) * module.PIXELS, classes)
    assert len(found.labels) == len(found.source) and (found.labels != IGNORE).all()
    again = gather(fabric, first_band(classes), data)
    assert np.array_equal(found.target, again.target) and np.array_equal(found.labels, again.labels)


def _noting(read, rows_read):
    def reading(store, rows):
        rows_read.append(rows)
        return read(store, rows)

    return reading


def test_labels_belong_to_their_pixels(fabric, data):
    """A prediction that is the truth is right at every sampled pixel of source validation."""
    part, classes = data.parts["source_val"], len(data.task.classes)
    truth = {row: data.store.labels_of(part.rows).read(np.array([row]))[0] for row in part.rows}
    images = {data.store.read(np.array([row])).tobytes(): row for row in part.rows}

    def predict(batch):
        logits = torch.zeros(len(batch.images), classes, *batch.images.shape[-2:])
        for index, image in enumerate(batch.images):
            row = images.get(image.to(torch.uint8)[None].numpy().tobytes())
            if row is not None:
                known = torch.from_numpy(truth[row]).long().clamp(max=classes - 1)
                logits[index] = torch.nn.functional.one_hot(known, classes).movedim(-1, 0).float()
        return logits

    found = gather(fabric, predict, data)
    assert (found.source.argmax(1) == found.labels).all()


def test_without_unlabelled_target_images_there_is_no_evidence(fabric, data):
    empty = data.parts["target_adapt"].take(np.array([], dtype=np.int64))
    assert gather(fabric, None, replace(data, parts=data.parts | {"target_adapt": empty})) is None


def test_scores_tell_a_sure_checkpoint_from_one_without_an_idea(fabric, data):
    random = np.random.default_rng(0)
    vague = gather(fabric, first_band(len(data.task.classes)), data)
    vague = replace(vague, target=random.normal(size=vague.target.shape).astype(np.float32) * 0.01)
    sure = replace(vague, target=vague.target * 1e4)
    one, other = scores_of(vague), scores_of(sure)
    assert set(one) == set(other) and all(np.isfinite(list(one.values())))
    for name in ("target-entropy", "information-maximization", "nuclear-norm"):
        assert other[name] > one[name]


def test_who_agrees_with_the_others_scores_higher(fabric, data):
    like = gather(fabric, first_band(len(data.task.classes)), data)
    unlike = replace(like, target=-like.target)
    first, second, third = agreement([like, like, unlike])
    assert first == second > third


def test_a_window_of_each_patch_is_predicted_where_it_is_asked_for(fabric, data):
    sides, classes = [], len(data.task.classes)

    def predict(batch):
        sides.append(tuple(batch.images.shape[-2:]))
        return first_band(classes)(batch)

    found = gather(fabric, predict, data, window=8)
    assert set(sides) == {(8, 8)} and len(found.target) == gather(fabric, predict, data, 0).target.shape[0]
    assert set(sides) == {(8, 8), (data.store.size, data.store.size)}
