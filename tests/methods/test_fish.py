"""The mean of gradients along the inner loop: by hand, its expansion, and what it does to two domains."""

from dataclasses import replace

import torch

from methods.base import Progress
from methods.fish import Fish, images_of

NOW = Progress(0, 1)


def _weights(network):
    return list(network.parameters())


def _gradients(network, task, source, domain):
    part = images_of(source, (source.domains == domain).nonzero().flatten())
    return torch.autograd.grad(Fish(network, task).segmentation_loss(part), _weights(network))


def _found(network, task, source, rate, step=0):
    method = Fish(network, task, Fish.Hyperparameters(inner_rate=rate))
    loss = method.step_losses(source, None, Progress(step, 100))["segmentation"]
    return torch.autograd.grad(loss, _weights(network))


def _exact(network, source):
    """In double precision, and with stored statistics, so that a pass leaves no trace."""
    return network.double().eval(), replace(source, images=source.images.double())


def _flat(tensors):
    return torch.cat([each.flatten() for each in tensors])


def test_the_step_is_that_of_two_inner_steps(network, task, source, agrees):
    network, source = _exact(network, source)
    before = [weight.detach().clone() for weight in _weights(network)]
    found = _found(network, task, source, 0.1)
    assert all(torch.equal(*pair) for pair in zip(_weights(network), before, strict=True)), "the weights are back"
    expected = []
    for order in ((0, 1), (1, 0)):
        for domain in order:
            gradients = _gradients(network, task, source, domain)
            with torch.no_grad():
                for weight, gradient in zip(_weights(network), gradients, strict=True):
                    weight -= 0.1 * gradient
        expected.append((_flat(before) - _flat(weight.detach() for weight in _weights(network))) / 0.2)
        with torch.no_grad():
            for weight, old in zip(_weights(network), before, strict=True):
                weight.copy_(old)
    one = min(expected, key=lambda each: (each - _flat(found)).abs().max().item())
    agrees("fish", "gradient of a step for two domains", _flat(found), one, rtol=1e-9, atol=1e-9)


def test_over_both_orders_it_is_the_gradient_of_the_product_of_gradients(network, task, source, agrees):
    network, source = _exact(network, source)
    rate = 1e-4
    orders = [_flat(_found(network, task, source, rate, step)) for step in range(20)]
    two = {tuple(each.tolist()): each for each in orders}
    assert len(two) == 2, "the order is drawn at each step"
    moved = (sum(two.values()) / 2 - _flat(_found(network, task, source, 0.0))) / rate
    pair = [
        torch.autograd.grad(
            Fish(network, task).segmentation_loss(images_of(source, torch.tensor(rows))),
            _weights(network),
            create_graph=True,
        )
        for rows in ([0, 1], [2, 3])
    ]
    product = sum((first * second).sum() for first, second in zip(*pair, strict=True))
    expected = -_flat(torch.autograd.grad(product, _weights(network))) / 4  # of two domains: rate / (2 * 2)
    quantity = "change of the step by the inner loop, over its rate"
    agrees("fish", quantity, moved, expected, rtol=1e-2, atol=1e-3 * expected.abs().max().item())


def test_the_gradients_of_two_domains_become_alike(network, task, source):
    network, source = _exact(network, source)
    start = {name: value.clone() for name, value in network.state_dict().items()}

    def likeness(rate):
        network.load_state_dict(start)
        method = Fish(network, task, Fish.Hyperparameters(inner_rate=rate))
        optimizer = torch.optim.SGD(network.parameters(), 0.05)
        for step in range(60):
            optimizer.zero_grad()
            method.step_losses(source, None, Progress(step, 60))["segmentation"].backward()
            optimizer.step()
        first, second = (_flat(_gradients(network, task, source, domain)) for domain in (0, 1))
        return (first @ second).item()

    assert likeness(1.0) > likeness(0.0)


def test_one_domain_is_plain_training_and_ignored_pixels_teach_nothing(network, task, source, one_odd_image):
    single = replace(source, domains=torch.ones(4, dtype=torch.int64))
    found = _found(network, task, single, 0.1)
    plain = torch.autograd.grad(Fish(network, task).segmentation_loss(single), _weights(network))
    torch.testing.assert_close(_flat(found), _flat(plain))
    assert not _flat(_found(network, task, one_odd_image[0], 0.1)).any()


def test_under_autocast_each_inner_step_sees_the_weights_of_the_last(network, task, source):
    network.eval()
    found = []
    for cache in (True, False):  # autocast keeps copies of weights in half precision, or makes them at each use
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=cache):
            found.append(_flat(_found(network, task, source, 1.0)))
    torch.testing.assert_close(*found, rtol=1e-6, atol=0)
