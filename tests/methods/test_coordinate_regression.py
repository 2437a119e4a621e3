"""The regressed place against GeoMultiTaskNet's own numbers, by hand, and what it does to the features."""

import json
import math
from dataclasses import replace

import pytest
import torch

from methods.base import IGNORE, Progress, SourceBatch, TargetBatch
from methods.coordinate_regression import CoordinateRegression, coordinate_head, place_loss
from methods.parts.metadata import Metadata, coordinate_encoding

FIRST = Progress(0, 1)
MIDDLE = (489353.59, 6587552.2)  # metres; where all sines are 0 and all cosines 1


def at(*places):
    x, y = torch.tensor(places, dtype=torch.float64).unbind(1)
    return replace(Metadata.unknown(len(places)), x=x, y=y)


def test_the_loss_is_that_against_the_official_encoding(fixture_values, agrees):
    values = fixture_values("metadata_cida_flair_geomt")
    records = json.loads(str(values["in_flair_meta"])).values()
    metadata = at(*[(record["patch_centroid_x"], record["patch_centroid_y"]) for record in records])
    regressed = torch.linspace(-1, 1, 3 * 256).view(3, 256)
    expected = torch.nn.functional.mse_loss(regressed, torch.tensor(values["out_geomt_coord_enc"]))
    loss, source = place_loss(regressed, metadata), values.source("VMarsocci/geomultitasknet")
    agrees("coordinate-regression", "loss of three places", loss, expected, source, rtol=1e-5)


def test_patches_of_unknown_place_do_not_count():
    """At the middle an all-zero guess is wrong by 1 in the cosines, half of the numbers, and right in the sines."""
    guess = torch.zeros(3, 256, requires_grad=True)
    loss = place_loss(guess, at(MIDDLE, (math.nan, MIDDLE[1]), (math.nan, math.nan)))
    assert loss.item() == 0.5
    loss.backward()
    assert guess.grad[0].any() and not guess.grad[1:].any()


def test_no_known_place_costs_nothing():
    guess = torch.ones(2, 256, requires_grad=True)
    loss = place_loss(guess, Metadata.unknown(2))
    loss.backward()
    assert loss.item() == 0 and not guess.grad.any()


def test_single_precision_blurs_only_the_shortest_waves():
    """float32 holds a northing of 7e6 in steps of 0.5, and so 6587552.2 as 6587552.0: up to 0.25 + 0.2 metres off, and
    the angle by as much times the wave's frequency, which falls from 1 to 1e-4 a metre in 64 steps."""
    y = torch.linspace(6e6, 7.1e6, 999, dtype=torch.float64)
    exact, rounded = (coordinate_encoding(values / 10, values)[:, 128:] for values in (y, y.float()))
    off = (exact - rounded).abs().view(999, 64, 2).amax((0, 2))
    frequency = 1e4 ** (-torch.arange(64) / 64)
    assert (off <= 0.5 * frequency + 1e-6).all()


def test_the_head_takes_any_image_size_and_one_patch():
    head = coordinate_head(6)
    widths = [layer.out_features for layer in head if isinstance(layer, torch.nn.Linear)]
    assert widths == [1024, 512, 256]
    for features in (torch.rand(1, 6, 1, 1), torch.rand(2, 6, 7, 9)):
        assert head(features).isfinite().all()


def test_the_losses_are_weighted_and_of_both_domains(network, task, source, target):
    places = [(6e5 + 1e4 * i, 6.5e6) for i in range(4)]
    source = replace(source, metadata=at(*places))
    losses = {}
    for weight in (1.0, 3.0):
        torch.manual_seed(0)
        method = CoordinateRegression(network, task, CoordinateRegression.Hyperparameters(weight=weight))
        losses[weight] = method.step_losses(source, replace(target, metadata=at(*places)), FIRST)
    for name in ("source_place", "target_place"):
        assert losses[3.0][name].item() == pytest.approx(3 * losses[1.0][name].item(), rel=1e-5)
    assert losses[1.0]["source_place"] != losses[1.0]["target_place"]
    assert losses[1.0]["segmentation"].item() == pytest.approx(losses[3.0]["segmentation"].item(), rel=1e-5)


@pytest.mark.parametrize("name", ["source_place", "target_place"])
def test_the_place_trains_encoder_and_head_but_no_decoder(network, task, source, target, name):
    places = at(*[(6e5, 6.5e6)] * 4)
    method = CoordinateRegression(network, task)
    losses = method.step_losses(replace(source, metadata=places), replace(target, metadata=places), FIRST)
    losses[name].backward()
    assert network.model.segmentation_head.weight.grad is None
    trained = [*network.model.encoder.parameters(), *method.head.parameters()]
    assert all(parameter.grad.isfinite().all() for parameter in trained)
    assert network.stages["stage1"][0].weight.grad.any()


def test_nothing_known_of_one_patch(network, task, source, target):
    """No label and no place: all losses are 0, and the weights stay."""
    method = CoordinateRegression(network, task)
    one = SourceBatch(
        source.images[:1], torch.full_like(source.labels[:1], IGNORE), source.domains[:1], Metadata.unknown(1)
    )
    losses = method.step_losses(one, TargetBatch(target.images[:1], Metadata.unknown(1)), FIRST)
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0, 0]
    assert not any(parameter.grad.any() for parameter in method.parameters())


def test_the_features_come_to_tell_places_apart(network, task, source, target):
    """Dark images at one place and bright ones at another: after a short training the head knows which is where."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on tensors so small, several only wait for each other
    torch.manual_seed(0)
    method = CoordinateRegression(network, task)
    metadata = at((6e5, 6.5e6), (8e5, 6.9e6))
    images = torch.tensor([40.0, 220.0])[:, None, None, None].expand(2, 3, 8, 8)
    batch = TargetBatch(images, metadata)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
    costs = []
    for step in range(25):
        optimizer.zero_grad()
        losses = method.step_losses(
            SourceBatch(images, source.labels[:2, :8, :8], source.domains[:2], metadata), batch, Progress(step, 25)
        )
        sum(losses.values()).backward()
        optimizer.step()
        costs.append(losses["target_place"].item())
    torch.set_num_threads(threads)
    # What does not look at the image gives each the mean of both places at best.
    encoding = coordinate_encoding(metadata.x, metadata.y)
    blind = (encoding - encoding.mean(0)).square().mean().item()
    assert costs[-1] < blind / 10 < costs[0]
