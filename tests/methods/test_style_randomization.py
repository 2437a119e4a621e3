"""Held against YanchaoYang/FDA's own numbers: the swap, and which images and bands it touches."""

import numpy as np
import torch

from methods.base import Progress
from methods.parts.fourier import low_amplitudes, restyle
from methods.style_randomization import StyleRandomization


def swapped_with(images, references, share):
    return restyle(images, low_amplitudes(images, share), low_amplitudes(references, share), share)


def test_the_swap_equals_the_official_numpy_code(fixture_values, agrees):
    values = fixture_values("fda")
    images, references = (torch.tensor(values[name], dtype=torch.float64) for name in ("in_src", "in_trg"))
    names = [f"out_np_{key}" for key in ("0p01", "0p05", "0p09", "0p1")]
    shares = dict(zip(names, (0.01, 0.05, 0.09, 0.1), strict=True))
    swapped = torch.stack(
        [values.kept(name, swapped_with(images, references, share)) for name, share in shares.items()]
    )
    expected = np.stack([values[name] for name in names])
    source, quantity = values.source("YanchaoYang/FDA"), "restyled images with four widths of the window"
    agrees("style-randomization", quantity, swapped, expected, source, rtol=0, atol=1e-8)


def test_swapping_with_oneself_changes_nothing(source):
    images = source.images.double()
    torch.testing.assert_close(swapped_with(images, images, 0.09), images)


def test_only_light_is_changed_and_the_given_batch_stays(network, task, source):
    method = StyleRandomization(network, task, StyleRandomization.Hyperparameters(probability=1.0))
    before = source.images.clone()
    changed, _ = method.augment(source, None, Progress(0, 1))
    assert torch.equal(source.images, before)
    assert torch.equal(changed.images[:, 2], before[:, 2]), "a height has no style"
    assert (changed.images[:, :2] != before[:, :2]).flatten(1).any(1).all()
    assert torch.equal(changed.labels, source.labels)


def test_about_a_share_of_the_images_is_changed(network, task, source):
    method = StyleRandomization(network, task, StyleRandomization.Hyperparameters(probability=0.25))
    changed = 0
    for step in range(100):
        method.progress = Progress(step, 100)
        images = method.augment(source, None, method.progress)[0].images
        changed += int((images != source.images).flatten(1).any(1).sum())
    assert 60 < changed < 140  # of 400


def test_whole_patches_are_exchanged_unless_the_crop_is_asked_for(network, task, source, in_pool):
    random = torch.Generator().manual_seed(0)
    batch = in_pool(source, torch.rand(4, 3, 32, 32, generator=random) * 255, range(4))

    def changed(extent):
        options = StyleRandomization.Hyperparameters(probability=1.0, extent=extent)
        return StyleRandomization(network, task, options).augment(batch, None, Progress(0, 1))[0].images

    assert torch.equal(changed("patch"), changed("zone")), "each patch is a zone of its own"
    assert not torch.allclose(changed("patch"), changed("crop"), atol=1.0)
