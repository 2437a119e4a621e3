"""By hand: who learns what from a loss that reaches only some."""

import pytest
import torch
from torch import nn

from methods.parts.gradients import reach_only


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
