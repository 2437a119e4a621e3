"""The templates and weights of the paper's Algorithm 1, class by class; and what they undo."""

import pytest
import torch
from torch import nn

from methods.base import Progress, TargetBatch
from methods.parts.head import classifier
from methods.t3a import T3A, admit, class_weights


def _entropy(row):
    probabilities = row.softmax(0)
    return -(probabilities * probabilities.log()).sum().item()


def _by_the_paper(weights, features, outputs, most):
    """Supports with their labels and entropies, filtered, and the new weights of each class."""
    everything = [(weights[k], weights @ weights[k]) for k in range(len(weights))]
    everything += list(zip(features, outputs, strict=True))
    found = []
    for name in range(len(weights)):
        mine = [(_entropy(row), feature) for feature, row in everything if int(row.argmax()) == name]
        kept = sorted(mine, key=lambda pair: pair[0])[:most]
        total = sum((feature / feature.norm() for _, feature in kept), torch.zeros_like(weights[0]))
        found.append(total / total.norm() if kept else total)
    return torch.stack(found)


@pytest.mark.parametrize("most", [1, 5, 100])
def test_two_batches_give_the_weights_of_the_paper(most, agrees):
    random = torch.Generator().manual_seed(0)
    weights = torch.randn(4, 6, generator=random)
    batches = [torch.randn(30, 6, generator=random) for _ in range(2)]
    kept = admit(torch.zeros(4, most, 6), torch.full((4, most), torch.inf), weights, weights @ weights.T)
    for features in batches:
        kept = admit(*kept, features, features @ weights.T)
    features = torch.cat(batches)
    expected = _by_the_paper(weights, features, features @ weights.T, most)
    quantity = f"weights after two batches, {most} templates of a class"
    agrees("t3a", quantity, class_weights(*kept), expected, rtol=1e-4, atol=1e-6)


def test_the_classifier_s_weights_are_the_first_templates(network, task):
    head = network.model.segmentation_head = nn.Conv2d(6, 3, 3, padding=1)
    with torch.no_grad():
        head.weight.copy_(torch.eye(3, 54).view(3, 6, 3, 3))
        head.bias.zero_()
    method = T3A(network, task)
    assert method.entropies.isfinite().sum(1).tolist() == [1, 1, 1]
    torch.testing.assert_close(class_weights(method.templates, method.entropies), head.weight.detach().flatten(1))


def test_a_batch_counts_in_its_prediction_and_stays_after_the_update(network, task, target):
    method = T3A(network, task, T3A.Hyperparameters(templates=5)).eval()
    method.progress = Progress(0, 1)
    start = method.templates.clone(), method.entropies.clone()
    with torch.no_grad():
        logits = method.predict(target)
        plain = network(target)
    assert torch.equal(method.templates, start[0]) and not classifier(network)._forward_hooks
    assert logits.shape == plain.shape and not torch.allclose(logits, plain)
    method.adapt(target)
    assert not torch.equal(method.templates, start[0])
    assert (method.entropies <= start[1]).all(), "templates get surer"
    saved = T3A(network, task, T3A.Hyperparameters(templates=5))
    saved.load_state_dict(method.state_dict())
    assert torch.equal(saved.templates, method.templates)


def test_templates_follow_features_that_have_moved(network, task):
    """Between source and target all features turn by 40 degrees, and a class is crossed by the old border."""
    random = torch.Generator().manual_seed(0)
    truth = torch.randint(2, (4, 16, 16), generator=random)
    angle = torch.deg2rad(torch.tensor([0.0, 90.0])[truth] + 40 + 12 * torch.randn(4, 16, 16, generator=random))
    features = torch.stack([angle.cos(), angle.sin(), *torch.zeros(4, *angle.shape)], 1)
    head = network.model.segmentation_head
    with torch.no_grad():
        head.weight.zero_()
        head.weight[0, 0], head.weight[1, 1] = 5.0, 5.0
        head.bias.copy_(torch.tensor([0.0, 0.0, -10.0]))
    network.forward = lambda batch: head(batch.images)
    method, right = T3A(network, task).eval(), []
    for step in range(3):
        method.progress = Progress(step, 3)
        with torch.no_grad():
            logits = method.predict(TargetBatch.of(features))
        right.append((logits.argmax(1) == truth).float().mean().item())
        method.adapt(TargetBatch.of(features))
    before = (head(features).argmax(1) == truth).float().mean().item()
    assert before < 0.9 and right[0] > before + 0.05 and min(right) > 0.95


def test_one_image_of_odd_size_under_autocast(network, task):
    batch = TargetBatch.of(torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255)
    method = T3A(network, task).eval()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert method.predict(batch).isfinite().all()
    method.adapt(batch)
    assert method.templates.isfinite().all()
