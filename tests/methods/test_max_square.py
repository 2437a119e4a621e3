"""Held against ZJULearning/MaxSquareLoss's own losses and gradients."""

from dataclasses import replace

import pytest
import torch

from methods.base import IGNORE, Progress
from methods.max_square import MaxSquare, image_wise_max_square, max_square

REPOSITORY = "ZJULearning/MaxSquareLoss"


def of_the_fixture(values, images):
    return torch.tensor(values["in_logits"][:images], dtype=torch.float64, requires_grad=True)


def test_the_plain_loss_equals_the_official_one(fixture_values, agrees):
    values = fixture_values("maxsquare")
    logits = of_the_fixture(values, 2)
    loss = max_square(logits)
    loss.backward()
    agrees("max-square", "loss without weights", loss, values["out_maxsquare64"], values.source(REPOSITORY), rtol=1e-9)
    official, gradient = torch.tensor(values["out_grad_maxsquare64"]), values.kept("out_grad_maxsquare64", logits.grad)
    torch.testing.assert_close(gradient, official, rtol=1e-9, atol=1e-15)


def test_the_image_wise_loss_equals_the_official_one(fixture_values, agrees):
    values = fixture_values("maxsquare")
    logits = of_the_fixture(values, 1)
    loss = image_wise_max_square(logits, 0.2)
    loss.backward()
    # The official weights are float32 in the float64 fixture too.
    source, official = values.source(REPOSITORY), values["out_grad_iw_maxsquare64"]
    gradient = values.kept("out_grad_iw_maxsquare64", logits.grad)
    agrees("max-square", "image-wise loss", loss, values["out_iw_maxsquare64"], source, rtol=1e-6)
    agrees("max-square", "gradient of the image-wise loss", gradient, official, source, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 5])  # as many classes as images is where the official code would go wrong
def test_each_image_of_a_batch_has_its_own_histogram(classes):
    logits = 5 * torch.randn(2, classes, 6, 7, generator=torch.Generator().manual_seed(0))
    alone = [image_wise_max_square(image[None], 0.2) for image in logits]
    torch.testing.assert_close(image_wise_max_square(logits, 0.2), (alone[0] + alone[1]) / 2)


def test_without_a_ratio_all_pixels_count_the_same():
    # w = 1 / N for every pixel: the sum over N pixels is a mean, without the 1/2 of the plain loss.
    logits = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(image_wise_max_square(logits, 0.0), 2 * max_square(logits))


def test_a_rare_class_gets_a_larger_share():
    # One pixel in 16 is of class 1, and all are equally sure. With ratio 1 both classes weigh the same, so the rare
    # pixel's gradient is that of 15 others.
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 0] = 2
    logits[0, :, 0, 0] = torch.tensor([0.0, 2.0])
    logits.requires_grad_()
    image_wise_max_square(logits, 1.0).backward()
    size = logits.grad.abs().sum(1)[0]
    torch.testing.assert_close(size[0, 0], 15 * size[1, 1])


def test_the_loss_rewards_certainty_and_a_step_grows_it(network, task, source, target):
    method = MaxSquare(network, task, MaxSquare.Hyperparameters(weight=1.0))
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)

    def certainty():
        return network(target).softmax(1).square().sum(1).mean().item()

    before = certainty()
    method.step_losses(source, target, Progress(0, 1))["max_square"].backward()
    optimizer.step()
    assert certainty() > before


def test_the_weighting_is_a_choice(network, task, source, target):
    losses = [
        MaxSquare(network, task, MaxSquare.Hyperparameters(weighting=weighting)).step_losses(
            source, target, Progress(0, 1)
        )
        for weighting in ("image-wise", "none")
    ]
    torch.testing.assert_close(losses[0]["segmentation"], losses[1]["segmentation"])
    assert losses[0]["max_square"] != losses[1]["max_square"]
    torch.testing.assert_close(losses[1]["max_square"], 0.1 * max_square(network(target)))


def test_one_image_of_an_odd_size_without_labels(network, task, source, target):
    method = MaxSquare(network, task)
    labels = torch.full((1, 31, 29), IGNORE)
    source = replace(source, images=source.images[:1, :, :31, :29], labels=labels, domains=source.domains[:1])
    target = replace(target, images=target.images[:1, :, :31, :29])
    losses = method.step_losses(source, target, Progress(0, 1))
    sum(losses.values()).backward()
    assert losses["segmentation"] == 0 and losses["max_square"].isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
