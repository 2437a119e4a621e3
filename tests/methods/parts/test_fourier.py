"""The style of a scene by hand: gains, whole patches and single ones. The swap is held against the official code beside
`style-randomization`."""

from dataclasses import replace

import pytest
import torch

from methods.parts.fourier import SceneStyle, low_amplitudes, restyle

BANDS, WINDOW = [0, 1], 0.07  # so that band 2 must stay; two frequencies in 32 pixels
PARTNERS = torch.tensor([2, 3, 0, 1])


@pytest.fixture
def patches():
    return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 200 + 20


@pytest.fixture
def source(source, patches, in_pool):
    return in_pool(source, patches, [0, 1, 2, 3], [0, 0, 0, 1, 1, 1, 2, 2], pool="labelled")


@pytest.fixture
def darker(target, patches, in_pool):
    """The same places in other light, a gain for each band."""
    gains = torch.tensor([0.5, 0.75, 0.9]).view(3, 1, 1)
    return in_pool(target, patches * gains, [4, 2, 1, 5], [0, 0, 0, 1, 1, 1, 2, 2], pool="unlabelled")


def transfer(extent, batch, references):
    return SceneStyle(WINDOW, extent, BANDS, seed=0).transfer(batch, references, PARTNERS)


def test_a_patch_takes_the_amplitudes_of_another_patch_before_it_is_cut(source, darker, patches):
    images = patches[[0, 1, 2, 3]]
    references = darker.origin.images(darker.origin.positions)[PARTNERS]
    swapped = restyle(images, low_amplitudes(images, WINDOW), low_amplitudes(references, WINDOW), WINDOW)
    expected = torch.cat([swapped[:, BANDS], images[:, 2:]], 1)
    torch.testing.assert_close(transfer("patch", source, darker), source.origin.cut(expected))


def test_of_one_ground_only_the_light_is_exchanged_by_zone(source, darker, patches):
    # The zones of the two pools show the same places, so what is exchanged is the gain of each band.
    alike = replace(darker, origin=replace(darker.origin, positions=torch.tensor([1, 4, 2, 0])))
    partners = torch.tensor([0, 3, 2, 1])  # each of the image's own zone
    styles = SceneStyle(0.5, "zone", BANDS, seed=0)  # of all frequencies
    found = styles.transfer(source, alike, partners)
    gains = torch.tensor([0.5, 0.75, 1.0]).view(3, 1, 1)
    torch.testing.assert_close(found, source.images * gains, rtol=1e-3, atol=1e-2)


def test_by_zone_a_dark_patch_stays_darker_than_a_bright_one(source, darker, patches):
    patches[0] *= 0.3
    by_patch, by_zone = (transfer(extent, source, darker)[:2, 0].mean((1, 2)) for extent in ("patch", "zone"))
    assert 0.8 < by_patch[0] / by_patch[1] < 1.25 and by_zone[0] / by_zone[1] < 0.4


def test_a_crop_or_a_batch_made_by_hand_is_restyled_by_itself(source, darker):
    by_hand = [replace(batch, origin=None) for batch in (source, darker)]
    found = transfer("crop", source, darker)
    for extent in ("crop", "patch", "zone", "domain"):
        torch.testing.assert_close(transfer(extent, *by_hand), found)
    torch.testing.assert_close(
        low_amplitudes(found, 0.07)[:, BANDS],
        low_amplitudes(darker.images[PARTNERS], 0.07)[:, BANDS],
        rtol=1e-4,
        atol=1e-3,
    )


def test_where_zones_hold_one_patch_a_zone_is_a_patch(source, darker):
    alone = [replace(batch, origin=replace(batch.origin, zones=torch.arange(8))) for batch in (source, darker)]
    assert torch.equal(transfer("zone", *alone), transfer("patch", *alone))


def test_whole_patches_are_read_once_for_each_batch(source, darker, reads):
    (source, of_source), (darker, of_darker) = reads(source), reads(darker)
    transfer("patch", source, darker)
    assert len(of_source) == len(of_darker) == 1
    transfer("patch", source, source)
    assert len(of_source) == 2


def test_where_there_was_no_amplitude_it_is_that_of_the_other():
    flat, other = torch.full((1, 1, 8, 8), 50.0), torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = restyle(flat, low_amplitudes(flat, 0.2), low_amplitudes(other, 0.2), 0.2)
    assert found.isfinite().all()
    torch.testing.assert_close(low_amplitudes(found, 0.2), low_amplitudes(other, 0.2), rtol=1e-4, atol=1e-4)
