"""Changes of light by hand: constants, impulses, and images whose histograms are known."""

import pytest
import torch

from methods.parts.photometric import (
    adjust_brightness,
    adjust_contrast,
    adjust_gamma,
    blur,
    jitter,
    match_histograms,
    strong_view,
    value_shares,
)

BANDS = [0, 2]  # so that band 1 must stay


@pytest.fixture
def images():
    return torch.rand(3, 3, 9, 7, generator=torch.Generator().manual_seed(0)) * 255


def _random(seed=0):
    return torch.Generator().manual_seed(seed)


def _matched(images, references, bands):
    return match_histograms(images, value_shares(images), value_shares(references), bands)


CHANGES = {
    "jitter": lambda images: jitter(images, 0.25, 0.05, _random(), BANDS),
    "brightness": lambda images: adjust_brightness(images, torch.full((len(images), 2), 0.5), BANDS),
    "contrast": lambda images: adjust_contrast(images, torch.full((len(images), 2), 0.5), BANDS),
    "gamma": lambda images: adjust_gamma(images, torch.full((len(images), 2), 0.5), BANDS),
    "blur": lambda images: blur(images, torch.full((len(images),), 0.7), BANDS),
    "histograms": lambda images: _matched(images, images.flip(0) / 2, BANDS),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_the_named_bands_change_and_the_given_images_stay(images, change):
    before = images.clone()
    changed = CHANGES[change](images)
    assert torch.equal(images, before)
    assert torch.equal(changed[:, 1], images[:, 1])
    assert (changed != images)[:, BANDS].flatten(2).any(2).all()
    assert changed.min() >= 0 and changed.max() <= 255


@pytest.mark.parametrize("change", CHANGES)
def test_no_images_are_no_trouble(images, change):
    assert CHANGES[change](images[:0]).shape == (0, 3, 9, 7)


def test_brightness_is_a_factor_of_its_own_for_each_image_and_band(images):
    factors = torch.tensor([[0.5, 1.0], [1.5, 0.0], [1.0, 2.0]])
    changed = adjust_brightness(images, factors, BANDS)
    assert torch.equal(changed[:, BANDS], (images[:, BANDS] * factors[:, :, None, None]).clamp(0, 255))


def test_contrast_keeps_the_mean_of_each_band():
    image = torch.tensor([[[[90.0, 110.0]], [[50.0, 150.0]]]])
    changed = adjust_contrast(image, torch.tensor([[2.0, 0.5]]), [0, 1])
    torch.testing.assert_close(changed, torch.tensor([[[[80.0, 120.0]], [[75.0, 125.0]]]]))


def test_gamma_keeps_black_and_white(agrees):
    image = torch.tensor([0.0, 255 / 4, 255.0]).view(1, 1, 1, 3)
    changed = adjust_gamma(image, torch.tensor([[0.5]]), [0])
    agrees("source-only-augmented", "pixels of other gamma", changed, [0, 127.5, 255], rtol=1e-6)


def test_contrast_is_about_the_centre_that_is_given(agrees):
    image = torch.tensor([90.0, 110.0]).view(1, 1, 1, 2)
    changed = adjust_contrast(image, torch.tensor([[2.0]]), [0], torch.tensor([[80.0]]))
    agrees("source-only-augmented", "pixels of other contrast about a mean of 80", changed, [100, 140], rtol=1e-6)


def test_jitter_draws_within_its_strengths_for_each_image_and_for_each_band():
    # On images of one grey contrast does nothing: grey g becomes 255 (b g / 255) ** e with b and e in 0.75 to 1.25.
    grey = torch.full((200, 2, 2, 2), 100.0)
    common, own = (
        jitter(grey, *strengths, _random(), [0, 1])[:, :, 0, 0] / 255 for strengths in ((0.25, 0), (0, 0.25))
    )
    for changed, numbers in ((common, 200), (own, 400)):
        assert (0.75 * 100 / 255) ** 1.25 < changed.min() < 0.24 and 0.54 < changed.max() < (1.25 * 100 / 255) ** 0.75
        assert len(changed.flatten().unique()) == numbers
    assert torch.equal(common[:, 0], common[:, 1])
    assert torch.equal(own, jitter(grey, 0, 0.25, _random(), [0, 1])[:, :, 0, 0] / 255)


def test_jitter_moves_the_centre_of_contrast_with_the_brightness():
    # An image of the centre's own grey keeps to it, however strong the contrast.
    grey = torch.full((50, 1, 2, 2), 40.0)
    around, itself = (jitter(grey, 0.5, 0.2, _random(), [0], centres) for centres in (torch.full((50, 1), 40.0), None))
    torch.testing.assert_close(around, itself)
    elsewhere = jitter(grey, 0.5, 0.2, _random(), [0], torch.full((50, 1), 90.0))
    assert ((elsewhere - itself).abs() > 1).flatten(1).any(1).float().mean() > 0.8


def test_jitter_without_strength_changes_nothing(images):
    torch.testing.assert_close(jitter(images, 0.0, 0.0, _random(), BANDS), images, rtol=1e-5, atol=1e-3)


def test_an_impulse_becomes_a_gaussian_of_its_image_s_width(agrees):
    images = torch.zeros(2, 1, 17, 15)
    images[:, 0, 8, 7] = 255
    sigmas = torch.tensor([0.5, 1.1])
    rows, columns = torch.meshgrid(torch.arange(17) - 8, torch.arange(15) - 7, indexing="ij")
    bells = torch.exp(-(rows**2 + columns**2) / (2 * sigmas.double()[:, None, None] ** 2))
    bells[:, (rows.abs() > 4) | (columns.abs() > 4)] = 0  # three standard deviations of the wider one
    expected = 255 * bells / bells.sum((1, 2), keepdim=True)
    blurred = blur(images, sigmas, [0])[:, 0]
    torch.testing.assert_close(blurred.double(), expected, rtol=1e-4, atol=1e-5)
    peaks, quantity = blurred.amax((1, 2)), "peaks of two blurred impulses"
    agrees("source-only-augmented", quantity, peaks, expected.amax((1, 2)), rtol=1e-6)


def test_blur_keeps_a_surface_to_its_edges_and_fits_any_size():
    surface = torch.full((1, 2, 1, 2), 77.0)
    torch.testing.assert_close(blur(surface, torch.tensor([1.15]), [0]), surface)


def test_blur_is_not_rounded_by_autocast(images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = CHANGES["blur"](images)
    assert torch.equal(rounded, CHANGES["blur"](images))


def test_shares_are_of_pixels_at_or_below_a_value_and_can_be_averaged():
    images = torch.tensor([[0.0, 3.0, 3.0, 255.0], [3.0, 7.0, 7.0, 7.0]]).view(2, 1, 2, 2)
    shares = value_shares(images)[:, 0]
    assert shares[:, [0, 2, 3, 6, 7, 254, 255]].tolist() == [
        [0.25, 0.25, 0.75, 0.75, 0.75, 0.75, 1.0],
        [0.0, 0.0, 0.25, 0.25, 1.0, 1.0, 1.0],
    ]
    both = value_shares(images.view(1, 1, 2, 4))
    torch.testing.assert_close(shares.mean(0), both[0, 0])


def test_light_of_another_domain_is_undone(images):
    # The same place with another gain and offset in each band: its histogram is that of the place, moved.
    place = (images / 3).round()
    other = place * torch.tensor([2.0, 1.0, 3.0])[:, None, None] + torch.tensor([40.0, 0.0, 0.0])[:, None, None]
    torch.testing.assert_close(_matched(other, place, [0, 1, 2]), place)


def test_a_crop_is_moved_as_its_scene_is():
    # The scene's values 10 and 20 become 50 and 80; of a crop that holds the darker one alone, nothing becomes 80.
    scene, reference = (torch.tensor(values).view(1, 1, 1, 2) for values in ([10.0, 20.0], [50.0, 80.0]))
    crop = torch.full((1, 1, 2, 2), 10.0)
    assert (match_histograms(crop, value_shares(scene), value_shares(reference), [0]) == 50).all()
    assert (match_histograms(crop, value_shares(crop), value_shares(reference), [0]) == 80).all()


def test_equal_pixels_stay_equal(agrees):
    # Half of the pixels are at or below 10, and half of the reference is at or below 3; all are below 200.
    image = torch.tensor([10.0, 10.0, 200.0, 200.0]).view(1, 1, 2, 2)
    reference = torch.tensor([4.0, 1.0, 3.0, 9.0]).view(1, 1, 2, 2)
    matched = _matched(image, reference, [0])
    agrees("source-only-augmented", "pixels with another image's histogram", matched, [3, 3, 9, 9], rtol=0)


def test_most_images_get_other_light_and_half_of_them_a_blur():
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (400, 2, 6, 6), generator=random).float()
    changed = strong_view(images, 0.25, random, [0])
    assert torch.equal(changed[:, 1], images[:, 1])
    assert 0.85 < (changed != images).flatten(1).any(1).float().mean() < 0.95  # 1 - 0.2 * 0.5
    still_light = strong_view(images, 0.0, random, [0])  # noise loses much of its spread by most blurs, or none at all
    blurred = still_light[:, 0].std((1, 2)) < 0.99 * images[:, 0].std((1, 2))
    assert 0.35 < blurred.float().mean() < 0.55
