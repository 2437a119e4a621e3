"""Statistics by hand, and what restyling gives and takes."""

import torch

from methods.parts.feature_statistics import channel_statistics, restyle


def test_statistics_are_of_each_channel_of_each_image():
    # Two images with one channel of two pixels: 0, 2 has mean 1 and unbiased variance 2; 2, 6 has 4 and 8.
    features = torch.tensor([0.0, 2.0, 2.0, 6.0]).view(2, 1, 1, 2)
    mean, deviation = channel_statistics(features, epsilon=1.0)
    assert mean.flatten().tolist() == [1.0, 4.0]
    torch.testing.assert_close(deviation.flatten(), torch.tensor([3.0, 9.0]).sqrt())


def test_restyled_features_have_the_new_statistics():
    features = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    new = torch.full((2, 3, 1, 1), 4.0), torch.full((2, 3, 1, 1), 0.5)
    restyled = restyle(features, channel_statistics(features, 0.0), new)
    for found, wanted in zip(channel_statistics(restyled, 0.0), new, strict=True):
        torch.testing.assert_close(found, wanted.double())


def test_a_gain_and_an_offset_are_taken_away_with_the_style():
    features = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = 2.5 * features - 7
    back = restyle(changed, channel_statistics(changed, 1e-6), channel_statistics(features, 1e-6))
    torch.testing.assert_close(back, features, rtol=1e-5, atol=1e-5)


def test_a_map_of_one_pixel_has_no_deviation_and_a_finite_gradient():
    features = torch.ones(2, 3, 1, 1, requires_grad=True)
    _, deviation = channel_statistics(features, epsilon=0.25)
    assert (deviation == 0.5).all()
    deviation.sum().backward()
    assert (features.grad == 0).all()


def test_sums_of_half_precision_are_exact_and_its_dtype_stays():
    # 64 x 64 values around 300: in bfloat16, which is 2 apart there, a sum would be off by far more than 0.1.
    features = (300 + 20 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))).bfloat16()
    own = channel_statistics(features, 1e-6)
    torch.testing.assert_close(own[0].item(), features.double().mean().item(), rtol=0, atol=0.01)
    assert own[0].dtype == torch.float32 and restyle(features, own, own).dtype == torch.bfloat16
