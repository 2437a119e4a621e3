"""Batches are functions of seed and step: balanced, whole, and the same for everybody."""

import gc
from collections import Counter
from dataclasses import replace
from types import FunctionType, ModuleType

import numpy as np
import pytest
import torch

from benchmark.data.batches import BalancedSampler, Batches, WeightedSampler, ahead
from benchmark.data.shards import Shard
from benchmark.data.store import Images, Labels, Store
from methods.parts.metadata import Metadata


def _batches(store, rows, **changes):
    settings = {"batch_size": 4, "crop": 16, "turn": True, "seed": 0, "purpose": "labelled"} | changes
    domains = np.arange(len(rows)) % 2
    metadata = replace(Metadata.unknown(len(rows)), x=torch.from_numpy(rows).float())
    return Batches(store, rows, domains, metadata, store.labels_of(rows), **settings)


def test_every_domain_is_seen_equally_often_whatever_its_size():
    domains = np.array([0] * 20 + [1] * 3 + [2] * 7)
    drawn = BalancedSampler(domains, 0, "test").draw(0, 300)
    assert Counter(domains[drawn].tolist()) == {0: 100, 1: 100, 2: 100}


def test_within_a_domain_all_patches_are_seen_before_any_is_again():
    domains = np.array([0] * 5 + [1] * 2)
    drawn = BalancedSampler(domains, 0, "test").draw(0, 20)
    of_first = [patch for patch in drawn if domains[patch] == 0]
    assert sorted(of_first[:5]) == sorted(of_first[5:10]) == [0, 1, 2, 3, 4]


def test_the_stream_can_be_entered_anywhere():
    sampler = BalancedSampler(np.array([0, 0, 0, 1, 1]), 3, "test")
    whole = sampler.draw(0, 40)
    np.testing.assert_array_equal(np.concatenate([sampler.draw(0, 13), sampler.draw(13, 27)]), whole)


def test_seed_and_purpose_each_change_the_stream():
    domains = np.zeros(50, dtype=int)
    streams = [BalancedSampler(domains, seed, purpose).draw(0, 50) for seed, purpose in ((0, "a"), (1, "a"), (0, "b"))]
    assert not np.array_equal(streams[0], streams[1]) and not np.array_equal(streams[0], streams[2])


@pytest.mark.parametrize("weights", [None, np.ones(8)], ids=["balanced", "weighted"])
def test_seed_and_purpose_each_change_which_patches_come_and_how_they_are_seen(store, weights):
    def comes(seed, purpose):
        batches = _batches(store, np.arange(8), weights=weights, batch_size=8, seed=seed, purpose=purpose)
        return batches.at(0)[4].positions.tolist()

    def seen(seed, purpose):
        return _batches(store, np.arange(1), batch_size=8, seed=seed, purpose=purpose).at(0)[0].numpy().tobytes()

    for stream in (comes, seen):
        assert stream(0, "labelled") == stream(0, "labelled")
        assert len({str(stream(*address)) for address in ((0, "labelled"), (1, "labelled"), (0, "unlabelled"))}) == 3


def test_images_and_labels_are_cut_and_turned_alike(store):
    rows = np.arange(8)
    images, labels, domains, *_ = _batches(store, rows).at(3)
    assert images.shape == (4, 5, 16, 16) and labels.shape == (4, 16, 16) and domains.tolist().count(0) == 2
    for image, label in zip(images.numpy(), labels.numpy(), strict=True):
        assert any(_holds(store, row, image, label) for row in rows)


def _holds(store, row, image, label):
    """Whether some cut and turn of a stored patch gives exactly this image, and the same one this label."""
    rows = np.array([row])
    whole, mask = store.read(rows)[0], store.labels_of(rows).read(rows)[0]
    for turn in range(8):
        back, back_label = (np.flip(a, -1) if turn >= 4 else a for a in (image, label))
        back, back_label = (np.rot90(a, -(turn % 4), axes=(-2, -1)) for a in (back, back_label))
        windows = np.lib.stride_tricks.sliding_window_view(whole[0], (16, 16))
        for top, left in np.argwhere((windows == back[0]).all((-2, -1))):
            place = np.s_[..., top : top + 16, left : left + 16]
            if np.array_equal(whole[place], back) and np.array_equal(mask[place], back_label):
                return True
    return False


def test_without_turning_and_cropping_a_batch_is_the_stored_patches(store):
    images, *_ = _batches(store, np.arange(2), crop=32, turn=False, batch_size=2).at(0)
    assert {images[i].numpy().tobytes() for i in range(2)} == {image.tobytes() for image in store.read(np.arange(2))}


def test_a_pool_without_labels_gives_none(store):
    rows = np.arange(4)
    unknown = Metadata.unknown(4)
    batches = Batches(
        store, rows, np.zeros(4, int), unknown, None, batch_size=2, crop=8, turn=True, seed=0, purpose="x"
    )
    assert batches.at(0)[1] is None


def test_making_batches_ahead_changes_nothing(store):
    batches = _batches(store, np.arange(8))
    for step, batch in enumerate(ahead(batches, range(5))):
        expected = batches.at(step)
        assert all(torch.equal(a, b) for a, b in zip(batch[:3], expected[:3], strict=True))
        assert torch.equal(batch[3].x, expected[3].x)


def test_each_patch_brings_its_own_metadata(store):
    images, _, _, metadata, *_ = _batches(store, np.arange(8), crop=32, turn=False).at(0)
    for image, row in zip(images, metadata.x.tolist(), strict=True):
        assert np.array_equal(image, store.read(np.array([int(row)]))[0])


@pytest.mark.parametrize("crop", [16, 32])
def test_the_origin_leads_from_crops_to_whole_patches_and_back(store, crop, monkeypatch):
    rows, zones = np.array([5, 1, 6, 3]), np.array([0, 1, 1, 2])
    batches, read = _batches(store, rows, crop=crop, batch_size=8, zones=zones), []
    read_images = Images.read

    def counted(images, positions):
        read.append(positions)
        return read_images(images, positions)

    monkeypatch.setattr(Images, "read", counted)
    images, _, domains, metadata, origin, _ = batches.at(2)
    assert len(read) == 1, "a batch reads its own images, and nothing for its origin"
    whole = origin.images(origin.positions)
    assert whole.dtype == torch.float32 and torch.equal(origin.cut(whole), images.float())
    assert torch.equal(torch.from_numpy(rows)[origin.positions].float(), metadata.x)
    assert torch.equal(origin.domains[origin.positions], domains)
    assert origin.zones.tolist() == [0, 1, 1, 2] and origin.pool == "labelled"


def test_nothing_that_a_batch_refers_to_leads_to_labels(store):
    batches = _batches(store, np.array([5, 1, 6, 3]))
    masks = [shard.masks for shard in store.shards]
    for batch in (batches.at(0), next(ahead(batches, [0]))):
        reached = list(_reachable(batch[0]) + _reachable(batch[2:]))  # all but its own labels
        assert any(isinstance(thing, Images) for thing in reached), "the search goes through the origin"
        assert not [thing for thing in reached if isinstance(thing, Store | Shard | Labels | Batches)]
        arrays = [thing for thing in reached if isinstance(thing, np.ndarray)]
        assert any(np.shares_memory(array, store.shards[0].images) for array in arrays), "and down to the files"
        assert not any(np.shares_memory(array, mask) for array in arrays for mask in masks)
    assert any(isinstance(thing, Labels) for thing in _reachable(batches.at)), "the search goes through methods"


def _reachable(root):
    """All objects that references lead to, but for modules, types and what those and a function's module hold."""
    found, left = {}, [root]
    while left:
        thing = left.pop()
        if id(thing) in found or isinstance(thing, type | ModuleType):
            continue
        found[id(thing)] = thing
        if isinstance(thing, FunctionType):
            left += [thing.__closure__, thing.__defaults__, thing.__kwdefaults__, thing.__dict__]
        else:
            left += [*gc.get_referents(thing), getattr(thing, "base", None)]  # arrays do not tell theirs
    return list(found.values())


def test_an_error_while_making_a_batch_is_not_lost(store):
    rows = np.arange(4)
    allowed = store.labels_of(rows[:1])
    settings = {"batch_size": 4, "crop": 8, "turn": True, "seed": 0, "purpose": "x"}
    batches = Batches(store, rows, np.zeros(4, int), Metadata.unknown(4), allowed, **settings)
    with pytest.raises(PermissionError):
        next(ahead(batches, range(3)))


def test_weights_say_how_often_each_patch_is_drawn():
    sampler = WeightedSampler(np.array([0.0, 3.0, 1.0, 0.0]), 0, "labelled")
    drawn = np.bincount(sampler.draw(0, 4000), minlength=4) / 4000
    assert drawn[0] == drawn[3] == 0 and abs(drawn[1] - 0.75) < 0.03
    assert sampler.draw(7, 5).tolist() == sampler.draw(0, 12)[7:].tolist()  # position by position


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, np.nan], [2.0, -1.0]])
def test_weights_that_say_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="finite numbers of 0 or more"):
        WeightedSampler(np.array(weights), 0, "labelled")
