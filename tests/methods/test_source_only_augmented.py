"""Which images the control changes, and how far."""

from dataclasses import replace

import pytest
import torch

from methods import source_only_augmented as augmented
from methods.base import Progress
from methods.source_only_augmented import SourceOnlyAugmented

OFF = {"matching": 0.0, "jitter": 0.0, "blur": 0.0}


def _augmented(network, task, source, step=0, **values):
    method = SourceOnlyAugmented(network, task, SourceOnlyAugmented.Hyperparameters(**OFF | values))
    method.progress = Progress(step, 100)
    return method.augment(source, None, method.progress)[0]


def test_with_no_probability_it_is_plain_training(network, task, source):
    assert torch.equal(_augmented(network, task, source).images, source.images)


@pytest.mark.parametrize("change", OFF)
def test_each_change_touches_light_only_and_leaves_the_given_batch(network, task, source, change):
    before = source.images.clone()
    changed = _augmented(network, task, source, **{change: 1.0})
    assert torch.equal(source.images, before)
    assert torch.equal(changed.images[:, 2], before[:, 2]), "a height has no light"
    assert (changed.images != before)[:, :2].flatten(2).any(2).all()
    assert torch.equal(changed.labels, source.labels) and torch.equal(changed.domains, source.domains)


@pytest.mark.parametrize("change", OFF)
def test_each_image_is_changed_with_its_probability_and_by_its_own_draws(network, task, source, change):
    same = replace(source, images=source.images[:1, :, :8, :8].repeat(4, 1, 1, 1))
    # Matching an image with itself changes nothing: let the other domain be darker.
    same.images[2:] *= 0.5
    changed, alike = 0, 0
    for step in range(50):
        images = _augmented(network, task, same, step, **{change: 0.25}).images
        rows = (images != same.images).flatten(1).any(1)
        changed += int(rows.sum())
        alike += int(rows[0] and rows[1] and torch.equal(images[0], images[1]))
    assert 25 < changed < 75  # of 200; three standard deviations are 18
    assert change == "matching" or not alike


def test_the_changes_are_drawn_apart(network, task, source):
    batch = replace(
        source,
        images=source.images.repeat(50, 1, 1, 1),
        labels=source.labels.repeat(50, 1, 1),
        domains=source.domains.repeat(50),
    )
    rows = [
        (_augmented(network, task, batch, **{change: 0.5}).images != batch.images).flatten(1).any(1) for change in OFF
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert 70 < (rows[one] == rows[other]).sum() < 130, "of 200, about half agree"


def test_an_image_takes_the_histogram_of_another_domain(network, task, source):
    images = (source.images / 8).floor() * 8
    images[1] = images[0].flip(-1)  # of one histogram, so that its ties are those of its partner
    images[2:, :2] = images[:2, :2] / 4 + 20  # the other domain: the same places, darker
    changed = _augmented(network, task, replace(source, images=images), matching=1.0).images
    for row in range(4):
        mine = changed[row, 0].flatten().sort().values
        partners = [images[other, 0].flatten().sort().values for other in ((2, 3) if row < 2 else (0, 1))]
        assert any(torch.allclose(mine, partner) for partner in partners)


def test_a_step_trains_the_network_and_equals_itself(network, task, source):
    network.eval()
    method = SourceOnlyAugmented(network, task)
    losses = [method.step_losses(source, None, Progress(step, 9))["segmentation"] for step in (3, 3, 4)]
    assert losses[0] == losses[1] != losses[2], "the draws are those of the step"
    losses[0].backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_one_image_of_one_domain_of_odd_size(network, task, source):
    one = replace(
        source, images=source.images[:1, :, :7, :5], labels=source.labels[:1, :7, :5], domains=source.domains[:1]
    )
    changed = _augmented(network, task, one, matching=1.0, jitter=1.0, blur=1.0)
    assert changed.images.shape == (1, 3, 7, 5) and changed.images.isfinite().all()


def test_a_narrower_blur_than_the_least_of_the_default_is_possible(network, task, source):
    narrow, usual = (_augmented(network, task, source, blur=1.0, sigma=sigma).images for sigma in (0.1, 0.6))
    # The nearest neighbour's weight is exp(-50), less than a bit of a value.
    torch.testing.assert_close(narrow, source.images)
    assert (usual - source.images).abs().max() > 1


@pytest.mark.parametrize(("changes", "count"), [({}, 0), ({"matching": 1.0}, 1), ({"jitter": 1.0}, 1)])
def test_whole_patches_are_read_once_and_only_for_what_needs_them(
    network, task, in_pool, source, reads, changes, count
):
    patches = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 255
    for extent, expected in (("patch", count), ("zone", 4 * count), ("crop", 0)):
        batch, read = reads(in_pool(source, patches, range(4)))
        _augmented(network, task, batch, **changes, extent=extent)
        assert len(read) == expected
    batch, read = reads(in_pool(source, patches, range(4)))
    _augmented(network, task, batch, matching=1.0, jitter=1.0)
    assert len(read) == 1, "both look at the same patches"


def test_contrast_is_changed_about_the_mean_of_the_scene_whose_light_an_image_has(
    network, task, in_pool, source, monkeypatch
):
    patches = torch.tensor([20.0, 20.0, 120.0, 120.0]).view(4, 1, 1, 1).expand(4, 3, 16, 16)
    batch, centres = in_pool(source, patches, range(4)), []
    monkeypatch.setattr(augmented, "jitter", lambda images, *others: centres.append(others[-1]) or images)
    for matching in (0.0, 1.0):
        _augmented(network, task, batch, matching=matching, jitter=1.0)
    assert [found[:, 0].tolist() for found in centres] == [[20, 20, 120, 120], [120, 120, 20, 20]]


def test_the_histogram_is_that_of_the_whole_patch_unless_the_crop_is_asked_for(network, task, in_pool, source):
    # A quarter of each whole patch is cut. It is darker than the rest in one domain, and brighter in the other.
    patches = torch.tensor([20.0, 20.0, 120.0, 120.0]).view(4, 1, 1, 1).expand(4, 3, 16, 16).clone()
    patches[..., :8, :8] += torch.tensor([-10.0, -10.0, 10.0, 10.0]).view(4, 1, 1, 1)
    batch = in_pool(source, patches, range(4))
    for extent, expected in (("patch", [120, 120, 20, 20]), ("crop", [130, 130, 10, 10])):
        found = _augmented(network, task, batch, matching=1.0, extent=extent).images[:, 0]
        assert found.flatten(1).unique(dim=1).flatten().tolist() == expected


def test_contrast_is_changed_about_the_mean_of_the_whole_patch(network, task, in_pool, source):
    # Crops of one value: about their own mean nothing changes but brightness and gamma, which are the same for both.
    patches = torch.full((4, 3, 16, 16), 100.0)
    patches[..., :8, :8] = 40
    batch = in_pool(source, patches, range(4))
    whole, crop, by_hand = (
        _augmented(network, task, given, jitter=1.0, extent=extent).images[:, :2]
        for given, extent in ((batch, "patch"), (batch, "crop"), (replace(batch, origin=None), "patch"))
    )
    assert torch.equal(crop, by_hand) and ((whole - crop).abs() > 0.1).flatten(1).all()
