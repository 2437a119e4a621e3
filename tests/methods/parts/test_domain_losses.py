"""Losses a domain, against a loop over the domains."""

from dataclasses import replace

import torch
from torch.nn import functional as F

from methods.base import IGNORE
from methods.parts.domain_losses import domain_losses, domain_means, mean_over


def test_each_domain_has_the_mean_over_its_own_valid_pixels(source):
    labels = source.labels.clone()
    labels[0], labels[2, 5:] = IGNORE, IGNORE  # so that the mean over images is another one than that over pixels
    batch = replace(source, labels=labels, domains=torch.tensor([3, 0, 0, 1]))
    logits = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    losses, present = domain_losses(logits, batch, 5)
    assert present.tolist() == [True, True, False, False, False], "domain 3 is in the batch, without a valid pixel"
    for domain, rows in ((0, [1, 2]), (1, [3])):
        expected = F.cross_entropy(logits[rows], labels[rows], ignore_index=IGNORE)
        torch.testing.assert_close(losses[domain], expected, rtol=1e-5, atol=0)
    assert losses[2:].tolist() == [0, 0, 0]


def test_a_batch_of_ignored_pixels_has_losses_of_zero_that_can_be_differentiated(source):
    logits = torch.randn(4, 3, 32, 32, requires_grad=True)
    losses, present = domain_losses(logits, replace(source, labels=torch.full_like(source.labels, IGNORE)), 2)
    assert not present.any()
    mean_over(losses, present).backward()
    assert not logits.grad.any()


def test_losses_reach_the_logits_of_their_own_domain_only(source):
    logits = torch.randn(4, 3, 32, 32, requires_grad=True)
    domain_losses(logits, source, 2)[0][1].backward()
    assert not logits.grad[:2].any() and logits.grad[2:].all()


def test_half_precision_is_widened_before_the_mean(source):
    logits = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(3)).bfloat16()
    losses, _ = domain_losses(logits, source, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(domain_losses(logits, source, 2)[0], losses)
    torch.testing.assert_close(losses[0], F.cross_entropy(logits[:2].float(), source.labels[:2]), rtol=1e-5, atol=0)


def test_values_of_pixels_that_are_not_valid_do_not_count():
    values = torch.tensor([[[1.0, torch.nan, 3.0]]])
    means, _ = domain_means(values, ~values.isnan(), torch.tensor([1]), 2)
    assert means.tolist() == [0, 2]


def test_absent_domains_are_in_no_mean():
    assert mean_over(torch.tensor([1.0, 7.0, 3.0]), torch.tensor([True, False, True])) == 2
