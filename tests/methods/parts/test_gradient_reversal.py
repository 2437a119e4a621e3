"""Held against thuml/Transfer-Learning-Library's layer and fungtion/DANN's schedule."""

import torch

from methods.parts.gradient_reversal import reversal_strength, reverse_gradient


def test_the_gradient_is_that_of_the_official_layer(fixture_values, agrees):
    values, iterations = fixture_values("dann_cdan_mdd_mcc"), (0, 1, 500, 1000, 5000)
    feature, gradients = torch.tensor(1.0, requires_grad=True), []
    for iteration in iterations:
        # The official layer's own warm start: speed 1, and 1000 iterations.
        reversed_ = reverse_gradient(feature, reversal_strength(iteration / 1000, speed=1.0))
        gradients += torch.autograd.grad(reversed_, feature)
    expected = [values[f"out_grl_warm_iter{iteration}"].item() for iteration in iterations]
    quantity, source = "reversed gradient at five iterations", values.source("thuml/Transfer-Learning-Library")
    agrees("dann", quantity, torch.stack(gradients), expected, source, rtol=1e-5)


def test_the_schedule_is_the_published_one(fixture_values):
    expected = fixture_values("dann_cdan_mdd_mcc")["out_grl_dann_p"]
    strengths = [reversal_strength(fraction) for fraction in (0, 0.1, 0.25, 0.5, 0.75, 1)]
    torch.testing.assert_close(strengths, expected.tolist(), rtol=1e-9, atol=1e-12)


def test_the_features_stay_as_they_are():
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    reversed_ = reverse_gradient(features, 0.3)
    assert torch.equal(reversed_, features) and reversed_.dtype == features.dtype
