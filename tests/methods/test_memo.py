"""Held against numbers of the official code (zhangmarvin/memo); views agree more after the step, nothing is kept."""

from dataclasses import replace

import torch

from methods.augmentation_ensemble import VIEWS, view_of
from methods.base import TargetBatch
from methods.cotta import turn_back
from methods.memo import MEMO, marginal_entropy
from methods.parts.batch_norm import mixed_statistics
from methods.parts.metadata import Metadata


def memo(network, task, **values):
    return MEMO(network, task, MEMO.Hyperparameters(**values)).eval()


def test_the_marginal_entropy_and_its_gradient_are_the_official_ones(fixture_values, agrees):
    values = fixture_values("memo")
    logits = torch.tensor(values["in_logits"]).requires_grad_()
    loss = marginal_entropy(logits[:, None]).mean()
    (slope,) = torch.autograd.grad(loss, logits)
    source = values.source("zhangmarvin/memo")
    agrees("memo", "marginal entropy", loss, values["out_loss"], source, rtol=1e-5)
    agrees("memo", "its gradient by the logits", slope, values["out_grad"], source, rtol=1e-4, atol=1e-6)


def test_the_entropy_is_of_each_pixel_and_over_views(task):
    """Two views that are certain of different classes have the entropy of a coin, whatever the other pixels are."""
    certain = torch.full((2, 1, 2, 1, 2), -50.0)
    certain[0, :, 0, :, 0] = certain[1, :, 1, :, 0] = certain[:, :, 0, :, 1] = 50.0
    expected = torch.tensor([[[2.0, 1.0]]]).log()
    torch.testing.assert_close(marginal_entropy(certain), expected, rtol=0, atol=1e-6)


def entropy_over_views(method, batch):
    with mixed_statistics(method.network, method.hyperparameters.prior):
        views = [view_of(batch, number, 0.2, method.task.radiometric_bands) for number in range(VIEWS)]
        logits = torch.stack([turn_back(method.network(view), number) for number, view in enumerate(views)])
    return marginal_entropy(logits).mean()


def test_the_step_is_gradient_descent_on_the_marginal_entropy(make_network, task, target):
    """The same step taken by an optimiser on the network itself gives the same prediction, and a lower loss."""
    one = TargetBatch(target.images[:1], target.metadata.take(slice(1)))
    method = memo(network := make_network(), task, learning_rate=0.05)
    predicted = method.predict(one)
    before = entropy_over_views(method, one).item()
    network.requires_grad_(True)
    updates = torch.optim.SGD(network.parameters(), lr=0.05)
    entropy_over_views(method, one).backward()
    updates.step()
    with mixed_statistics(network, 16.0), torch.no_grad():
        torch.testing.assert_close(network(one), predicted, rtol=1e-4, atol=1e-5)
    assert entropy_over_views(method, one).item() < before


def test_each_image_starts_from_the_source_and_nothing_is_kept(network, task, target):
    stored = {name: value.clone() for name, value in network.state_dict().items()}
    method = memo(network, task, learning_rate=0.05)
    with torch.inference_mode():
        together = method.predict(replace(target, images=target.images + 0))
    rows = [slice(row, row + 1) for row in reversed(range(4))]
    alone = [method.predict(TargetBatch(target.images[row], target.metadata.take(row))) for row in rows]
    torch.testing.assert_close(torch.cat(alone[::-1]), together)
    assert all(torch.equal(value, stored[name]) for name, value in network.state_dict().items())
    assert not any(weights.requires_grad for weights in network.parameters()) and not together.requires_grad


def test_without_a_step_and_the_batch_it_is_the_source_model(network, task, target):
    method = memo(network, task, learning_rate=0.0, prior=1e9)
    torch.testing.assert_close(method.predict(target), network.eval()(target), rtol=1e-4, atol=1e-4)
    assert (memo(network, task, learning_rate=0.05).predict(target) - network(target)).abs().max() > 0.01


def test_one_image_of_odd_size(network, task):
    batch = TargetBatch(torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255, Metadata.unknown(1))
    assert memo(network, task).predict(batch).isfinite().all()
