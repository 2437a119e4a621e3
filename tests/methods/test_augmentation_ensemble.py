"""The mean over eight views, worked out by hand; it turns with the image, and a wrong turn is outvoted."""

import torch

from methods.augmentation_ensemble import VIEWS, AugmentationEnsemble, view_of
from methods.base import TargetBatch
from methods.cotta import turn, turn_back
from methods.parts.metadata import Metadata
from methods.parts.series import SeriesBatch


def ensemble(network, task, **values):
    return AugmentationEnsemble(network, task, AugmentationEnsemble.Hyperparameters(**values)).eval()


def test_it_is_the_mean_of_the_probabilities_of_the_views(network, task, target, agrees):
    method = ensemble(network, task, brightness=0.3)
    total = 0
    for number in range(8):
        lit = target.images.clone()
        lit[:, :2] = (lit[:, :2] * (0.7 + 0.6 * number / 7)).clamp(0, 255)
        logits = network(TargetBatch(turn(lit, number), target.metadata))
        total = total + turn_back(logits, number).softmax(1) / 8
    quantity = "probabilities averaged over views"
    agrees("augmentation-ensemble", quantity, method.predict(target).exp()[0], total[0], rtol=1e-4, atol=1e-6)


def test_the_prediction_turns_with_the_image(network, task, target):
    method = ensemble(network, task, brightness=0.0)
    turned = TargetBatch(turn(target.images, 5), target.metadata)
    torch.testing.assert_close(method.predict(turned), turn(method.predict(target), 5), rtol=1e-4, atol=1e-5)
    assert (network(turned) - turn(network(target), 5)).abs().max() > 0.01


def test_a_view_in_which_the_model_is_wrong_is_outvoted(task):
    """A model that takes an upright bright edge for another class, and no edge of another direction."""

    def network(batch):
        wrong = (batch.images[:, :1, :, 1:] - batch.images[:, :1, :, :-1] > 50).float()
        wrong = torch.nn.functional.pad(wrong, (1, 0))
        return torch.cat([1 - wrong, wrong, torch.zeros_like(wrong)], 1) * 9

    images = torch.full((1, 3, 8, 8), 50.0)
    images[..., 4:] = 150.0
    batch = TargetBatch(images, Metadata.unknown(1))
    method = ensemble(torch.nn.Identity(), task, brightness=0.0)
    method.network.forward = network
    assert (network(batch).argmax(1) == 1).any() and (method.predict(batch).argmax(1) == 0).all()


def test_views_turn_series_and_light_leaves_the_height(target):
    series = SeriesBatch(torch.rand(4, 2, 3, 5, 5), torch.zeros(4, 2), torch.ones(4, 2, dtype=torch.bool))
    batch, images = TargetBatch(target.images, target.metadata, series=series), target.images.clone()
    views = [view_of(batch, number, 0.5, [0, 1]) for number in range(VIEWS)]
    assert torch.equal(batch.images, images)
    for number, view in enumerate(views):
        assert torch.equal(turn_back(view.images, number)[:, 2], images[:, 2])
        assert torch.equal(turn_back(view.series.values, number), series.values)
    assert len({view.images[:, 0].mean().item() for view in views}) == VIEWS


def test_one_image_of_odd_size(network, task):
    batch = TargetBatch(torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255, Metadata.unknown(1))
    assert ensemble(network, task).predict(batch).shape == (1, 3, 31, 17)
