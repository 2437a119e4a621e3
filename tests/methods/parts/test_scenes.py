"""Which patches are measured: once, the same after a resumption, and none that a method does not ask for."""

from dataclasses import replace

import pytest
import torch

from methods.parts.scenes import MOST, SceneStatistics, cut_alike, whole_images

ZONES, DOMAINS = [0, 0, 1, 1, 1, 2], [0, 0, 0, 1, 1, 1]


@pytest.fixture
def patches():
    """Six, each of one value but for its upper left quarter, which is black."""
    images = torch.tensor([10.0, 30.0, 50.0, 70.0, 110.0, 200.0]).view(6, 1, 1, 1).expand(6, 3, 8, 8).clone()
    images[..., :4, :4] = 0
    return images


@pytest.fixture
def batch(source, patches, in_pool):
    return in_pool(source, patches, [1, 2, 4, 5], ZONES, DOMAINS)


def brightest(images):
    return images.amax((2, 3))


def test_whole_patches_and_their_cuts(batch, patches):
    assert torch.equal(whole_images(batch), patches[[1, 2, 4, 5]])
    assert torch.equal(cut_alike(whole_images(batch), batch), batch.images)
    by_hand = replace(batch, origin=None)
    assert whole_images(by_hand) is by_hand.images and cut_alike(patches, by_hand) is patches


@pytest.mark.parametrize(
    ("extent", "expected"),
    [
        ("crop", [0, 0, 0, 0]),
        ("patch", [30, 50, 110, 200]),
        ("zone", [20, 230 / 3, 230 / 3, 200]),
        ("domain", [30, 30, 380 / 3, 380 / 3]),
    ],
)
def test_the_extent_says_what_is_measured(batch, extent, expected):
    found = SceneStatistics(brightest, extent, seed=0).of(batch)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32)[:, None].expand(4, 3))
    by_hand = SceneStatistics(brightest, extent, seed=0).of(replace(batch, origin=None))
    assert torch.equal(by_hand, brightest(batch.images))


def test_whole_patches_that_were_read_before_are_not_read_again(batch, reads):
    batch, read = reads(batch)
    whole = whole_images(batch)
    found = SceneStatistics(brightest, "patch", seed=0).of(batch, whole)
    assert torch.equal(found, brightest(whole)) and len(read) == 1


def test_a_zone_is_measured_once_and_pools_are_told_apart(source, patches, in_pool):
    measured = []

    def measure(images):
        measured.append(len(images))
        return brightest(images)

    statistics = SceneStatistics(measure, "zone", seed=0)
    first = statistics.of(in_pool(source, patches, [0, 1, 0, 2], ZONES))
    assert sorted(measured) == [2, 3]
    assert torch.equal(statistics.of(in_pool(source, patches, [0, 1, 1, 2], ZONES)), first) and len(measured) == 2
    other = statistics.of(in_pool(source, patches / 2, [0, 1, 0, 2], ZONES, pool="b"))
    assert torch.equal(other, first / 2) and len(measured) == 4


def test_of_many_patches_some_are_measured_the_same_whenever_it_begins(source, in_pool):
    patches = torch.rand(3 * MOST, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    seen = []

    def found(seed, position):
        batch = in_pool(source, patches, [position], domains=[0] * len(patches))
        return SceneStatistics(lambda images: seen.append(len(images)) or brightest(images), "domain", seed).of(batch)

    assert torch.equal(found(0, 5), found(0, 40)) and not torch.equal(found(0, 5), found(1, 5))
    assert set(seen) == {MOST}
