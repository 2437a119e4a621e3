"""Held against thuml/Transfer-Learning-Library's domain adversarial loss; and who learns what from it."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from methods.base import Progress
from methods.dann import DANN, domain_loss


def test_the_loss_and_its_gradients_equal_the_official_ones(fixture_values, agrees):
    values = fixture_values("dann_cdan_mdd_mcc")
    classifier = nn.Sequential(nn.Conv2d(6, 5, 1), nn.ReLU(), nn.Conv2d(5, 1, 1))
    with torch.no_grad():  # the fixture's closed form: the i-th tensor is 0.3 sin(0.7 k + i)
        for index, parameter in enumerate(classifier.parameters()):
            k = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_((0.3 * torch.sin(0.7 * k + index)).view_as(parameter))
    source, target = (torch.tensor(values[key])[:, :, None, None].requires_grad_() for key in ("in_f_s", "in_f_t"))
    loss = domain_loss(classifier, source, target, float(values["out_dann_grl_coeff_700"]))
    loss.backward()
    official = values.source("thuml/Transfer-Learning-Library")
    agrees("dann", "loss of the classifier", loss, values["out_dann_loss"], official, rtol=1e-5)
    gradients = torch.cat([leaf.grad.flatten() for leaf in (source, target, classifier[0].weight)])
    expected = np.concatenate([values[f"out_dann_grad_{key}"].ravel() for key in ("fs", "ft", "D0w")])
    agrees("dann", "gradient of features and classifier", gradients, expected, official, rtol=1e-5, atol=1e-7)


def test_the_encoder_learns_the_opposite_of_what_the_classifier_learns(network, task, source, target):
    method = DANN(network, task, DANN.Hyperparameters(weight=0.5, width=16))
    encoder = network.model.encoder["layer1"][0].weight

    def gradients(loss):
        return torch.autograd.grad(loss, (encoder, method.classifier[0].weight))

    reversed_ = gradients(method.step_losses(source, target, Progress(3, 10))["domain"])
    judged = [method.classifier(network(batch, return_features=True)[1]) for batch in (source, target)]
    plain = gradients((nn.functional.softplus(-judged[0]).mean() + nn.functional.softplus(judged[1]).mean()) / 2)
    strength = 0.5 * torch.tanh(torch.tensor(10 * 0.3 / 2))  # 2 / (1 + exp(-x)) - 1 = tanh(x / 2)
    torch.testing.assert_close(reversed_[0], -strength * plain[0], rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(reversed_[1], plain[1], rtol=1e-4, atol=1e-8)


def test_at_first_and_without_weight_only_the_classifier_learns(network, task, source, target):
    for weight, step in ((1.0, 0), (0.0, 5)):
        method = DANN(network, task, DANN.Hyperparameters(weight=weight, width=16))
        method.step_losses(source, target, Progress(step, 10))["domain"].backward()
        encoder = [parameter.grad for parameter in network.model.encoder.parameters()]
        assert all((gradient == 0).all() for gradient in encoder)
        assert all(parameter.grad.abs().sum() > 0 for parameter in method.classifier.parameters())
        assert network.model.segmentation_head.weight.grad is None, "features end before the head"


def test_a_step_of_the_encoder_fools_a_classifier_that_can_tell(network, task, source, target):
    # The target is the source in less light.
    target = replace(target, images=source.images * 0.5)
    method = DANN(network, task, DANN.Hyperparameters(width=16))
    network.eval()  # batch statistics would hide the light
    optimizer = torch.optim.Adam(method.classifier.parameters(), lr=3e-2)

    def loss(step):
        return method.step_losses(source, target, Progress(step, 10))["domain"]

    blind = loss(0).item()
    for _ in range(40):
        optimizer.zero_grad()
        loss(0).backward()
        optimizer.step()
    telling = loss(9)
    telling.backward()
    torch.optim.SGD(network.model.encoder.parameters(), lr=0.1).step()
    assert telling < 0.8 * blind
    assert loss(9) > 1.2 * telling


def test_the_classifier_is_trained_and_saved_with_the_method(network, task):
    method = DANN(network, task)
    assert method.second_network is None
    assert method.classifier[0].weight.shape == (1024, 6, 1, 1), "as many channels as the deepest features"
    assert "classifier.0.weight" in method.state_dict()
    assert all(parameter.requires_grad for parameter in method.classifier.parameters())


def test_one_image_of_an_odd_size_without_labels_under_autocast(network, task, one_odd_image):
    method = DANN(network, task)
    with torch.autocast("cpu", torch.bfloat16):
        losses = method.step_losses(*one_odd_image, Progress(1, 2))
    sum(losses.values()).backward()
    assert losses["segmentation"] == 0
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())
