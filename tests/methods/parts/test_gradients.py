"""By hand: who learns what from a loss, and from one that reaches only some."""

import pytest
import torch
from torch import nn

from methods.parts.errors import MethodError
from methods.parts.gradients import gradients_of, reach_only, reaches


@pytest.fixture
def weights():
    return [nn.Parameter(torch.tensor(value)) for value in (2.0, 3.0, 5.0)]


def test_the_value_stays_and_only_the_chosen_learn(weights):
    a, b, c = weights
    loss = reach_only((a * b) ** 2, [a])  # 36; its derivative by a is 2 a b^2 = 36
    assert loss.item() == 36
    loss.backward()
    assert a.grad.item() == 36 and b.grad is None and c.grad is None


def test_another_loss_on_the_same_graph_reaches_all(weights):
    a, b, _ = weights
    shared = a * b
    (reach_only(shared**2, [a]) + shared).backward()
    assert a.grad.item() == 36 + 3  # the second is the derivative of a b by a
    assert b.grad.item() == 2


def test_a_long_gradient_is_shortened_and_keeps_its_direction(weights):
    a, b, c = weights
    reach_only(3 * a + 4 * b + 12 * c, [a, b], largest=0.5).backward()  # of a and b, (3, 4) has norm 5
    torch.testing.assert_close(torch.stack([a.grad, b.grad]), torch.tensor([0.3, 0.4]))
    a.grad = b.grad = None
    reach_only(3 * a + 4 * b, [a, b], largest=6.0).backward()
    assert (a.grad.item(), b.grad.item()) == (3, 4), "a short one stays"


def test_what_the_loss_does_not_hang_on_gets_no_gradient(weights):
    a, _, c = weights
    reach_only(a**2, [a, c]).backward()
    assert a.grad.item() == 4 and c.grad is None


def test_a_gradient_of_zero_stays_finite(weights):
    a, _, _ = weights
    for largest in (0.1, float("inf")):
        a.grad = None
        reach_only(0 * a, [a], largest=largest).backward()
        assert a.grad.item() == 0


def test_gradients_can_be_part_of_a_loss(weights):
    a, b, c = weights
    (slope,) = gradients_of(a**3 * b, [a], create_graph=True)  # 3 a^2 b = 36
    assert slope.item() == 36
    (slope**2).backward()  # 2 * 36 * 6 a b
    assert a.grad.item() == 2 * 36 * 36 and c.grad is None


def test_of_gradients_the_graph_of_the_loss_is_kept_unless_it_is_given_up(weights):
    a, b, _ = weights
    loss = (a * b) ** 2
    gradients_of(loss, [a])
    gradients_of(loss, [a], retain_graph=False)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_gradients_say_what_they_cannot_derive_by(weights):
    a, b, c = weights
    with pytest.raises(MethodError, match="does not hang on 2 of 3 parameters"):
        gradients_of(a**2, [a, b, c])
    slope, nothing = gradients_of(a**2, [a, b], allow_unused=True)
    assert slope.item() == 4 and nothing is None
    with pytest.raises(MethodError, match="detached"):
        gradients_of(a.detach() ** 2, [a])


def _penalty(precision):
    """The gradient by a layer's weights of a penalty of the long gradients of what it gives."""
    random = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        for values in layer.parameters():
            values.copy_(torch.rand(values.shape, generator=random) - 0.5)
    images = torch.rand(2, 3, 8, 8, generator=random)
    with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
        loss = layer(images).float().square().mean()
        slopes = gradients_of(loss, layer.parameters(), create_graph=True)
    assert all(slope.dtype is torch.float32 for slope in slopes)
    sum(slope.square().sum() for slope in slopes).backward()
    return layer.weight.grad


@pytest.mark.parametrize(("precision", "rtol"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_second_order_gradients_under_mixed_precision_are_nearly_the_same(precision, rtol):
    whole, mixed = _penalty(torch.float32), _penalty(precision)
    assert not torch.equal(mixed, whole)
    torch.testing.assert_close(mixed, whole, rtol=rtol, atol=rtol * whole.abs().max().item())


def test_small_gradients_do_not_vanish_in_half_precision():
    weights = nn.Parameter(torch.ones(2, 2))
    with torch.autocast("cpu", torch.float16):
        loss = (torch.ones(2, 2) @ weights).float().sum() * 2e-8  # less than half of the smallest number of float16
        (slope,) = gradients_of(loss, [weights])
    torch.testing.assert_close(slope, torch.full((2, 2), 4e-8), rtol=1e-2, atol=0)


def test_what_a_loss_reaches(weights):
    a, b, c = weights
    shared = a * b.detach()
    assert reaches(shared + c, [c]) and reaches(shared, [b, a]) and reaches(a, [a])
    assert not reaches(shared, [b, c]) and not reaches(shared.detach(), [a]) and not reaches(c, [a])


def test_what_was_computed_in_full_precision_is_derived_in_it():
    random = torch.Generator().manual_seed(0)
    weights, inputs = nn.Parameter(torch.rand(8, 8, generator=random)), torch.rand(8, 8, generator=random)
    loss = (inputs @ weights).square().sum()
    (whole,) = gradients_of(loss, [weights])
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = gradients_of(loss, [weights], create_graph=True)
    assert torch.equal(found, whole)
