"""Pseudo-labels and their confidence as in vikolss/DACS; thresholds worked out by hand, and the effect they have."""

import torch

from methods.base import IGNORE
from methods.parts.pseudo_labels import (
    balanced_labels,
    class_thresholds,
    confident_labels,
    confident_share,
)


def test_labels_and_share_equal_the_official_ones(fixture_values, agrees):
    values = fixture_values("dacs_classmix")
    confidence, labels = confident_labels(torch.tensor(values["in_teacher_logits"]))
    assert torch.equal(labels, torch.tensor(values["out_pl_argmax"]))
    share, source = confident_share(confidence, 0.968), values.source("vikolss/DACS")
    agrees("dacs", "share of confident pixels", share, values["out_pl_weight_0p968"], source, rtol=1e-5)


def test_a_threshold_is_the_confidence_at_a_rank_within_its_class():
    confidence = torch.tensor([0.5, 0.9, 0.7, 0.6, 0.95, 0.8, 0.3])
    labels = torch.tensor([0, 0, 0, 0, 0, 2, 3])
    # Class 0 has five pixels, .95 .9 .7 .6 .5: 0.4 of them are two, down to .9; 0.5 of them are 2.5, so two as well.
    # Half a pixel of class 2 or 3 is none, and class 1 has none at all.
    for share in (0.4, 0.5):
        thresholds = class_thresholds(confidence, labels, 5, share)
        torch.testing.assert_close(thresholds, torch.tensor([0.9, *[torch.nan] * 4]), equal_nan=True)
    everything = class_thresholds(confidence, labels, 5, 1.0)
    torch.testing.assert_close(everything, torch.tensor([0.5, torch.nan, 0.8, 0.3, torch.nan]), equal_nan=True)


def test_the_class_that_exceeds_its_threshold_most_wins():
    probabilities = torch.tensor([[0.6, 0.4], [0.8, 0.2], [0.5, 0.5]]).T.view(1, 2, 1, 3)
    # .6/.8 and .4/.3: the second; .8/.8 and .2/.3: the first, at exactly its threshold; .5/.8 and .5/.3: the second.
    labels = balanced_labels(probabilities, torch.tensor([0.8, 0.3]))
    assert labels.tolist() == [[[1, 0, 1]]]
    assert balanced_labels(probabilities, torch.tensor([0.9, 0.7])).tolist() == [[[IGNORE] * 3]]


def test_a_rare_unsure_class_gets_its_share():
    random = torch.Generator().manual_seed(0)
    labels = (torch.rand(10000, generator=random) < 0.02).long()
    confidence = torch.rand(10000, generator=random) * 0.2 + torch.where(labels == 1, 0.5, 0.8)
    probabilities = torch.where(torch.arange(2)[:, None] == labels, confidence, 1 - confidence).view(1, 2, 100, 100)
    selected = balanced_labels(probabilities, class_thresholds(confidence, labels, 2, 0.3)).flatten()
    for index in (0, 1):
        share = (selected[labels == index] == index).float().mean().item()
        torch.testing.assert_close(share, 0.3, rtol=0, atol=0.01)
    one_for_all = confidence.quantile(0.7)
    assert not (confidence[labels == 1] >= one_for_all).any(), "a single threshold takes none of the rare class"
