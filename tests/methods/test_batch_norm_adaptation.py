"""Held against bethgelab/robustness's own logits for every prior, and DequanWang/tent's for the batch alone."""

import numpy as np
import torch

from methods.base import TargetBatch, Task
from methods.batch_norm_adaptation import BatchNormAdaptation
from methods.parts.metadata import Metadata

FIVE = Task(classes=("a", "b", "c", "d", "e"), bands=("red", "green", "blue"))


def adaptation(network, task, prior):
    return BatchNormAdaptation(network, task, BatchNormAdaptation.Hyperparameters(prior=prior)).eval()


def test_the_predictions_equal_the_official_ones(fixture_values, official_network, agrees):
    values, priors = fixture_values("bn_adapt_prior"), (0, 1, 2, 8, 16, 1000)
    batch = TargetBatch(torch.tensor(values["in_x0"]), Metadata.unknown(2))
    logits = torch.stack([adaptation(official_network(), FIVE, float(prior)).predict(batch) for prior in priors])
    expected = np.stack([values[f"out_bayes_N{prior}_logits"] for prior in priors])
    source, quantity = values.source("bethgelab/robustness"), "logits with six priors from 0 to 1000 images"
    agrees("batch-norm-adaptation", quantity, logits, expected, source, rtol=1e-5, atol=2e-5)


def test_the_variance_is_unbiased_where_training_has_the_biased_one(fixture_values, official_network):
    values = fixture_values("tent")
    images = torch.tensor(values["in_x0"])
    logits = adaptation(official_network(), FIVE, 0.0).predict(TargetBatch(images, Metadata.unknown(2)))
    biased = torch.tensor(values["out_norm_logits_x0"]).view(2, 8, 8, 5).permute(0, 3, 1, 2)
    assert (logits - biased).abs().max() > 0.01, "128 values a channel: variances differ by 1 / 127"
    many = images.repeat(64, 1, 1, 1)  # 8192 values: the same mean and biased variance
    logits = adaptation(official_network(), FIVE, 0.0).predict(TargetBatch(many, Metadata.unknown(128)))
    torch.testing.assert_close(logits[:2], biased, rtol=1e-3, atol=2e-3)


def test_nothing_is_learned_and_nothing_kept(network, task, target):
    method = adaptation(network, task, 4.0)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    first = method.predict(target)
    method.adapt(target)
    torch.testing.assert_close(method.predict(target), first, atol=0, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_another_contrast_of_the_whole_batch_is_undone(network, task, target):
    # TinyNetwork centres at 128: there a gain is a gain of every layer's input. An offset is one but at the border.
    plain = adaptation(network, task, 0.0).predict(target)
    bright = TargetBatch((target.images - 128) * 0.6 + 128, target.metadata)
    torch.testing.assert_close(adaptation(network, task, 0.0).predict(bright), plain, rtol=1e-2, atol=1e-3)
    moved = [(adaptation(network, task, prior).predict(bright) - plain).abs().mean() for prior in (0.0, 4.0, 1e6)]
    assert moved[0] < moved[1] / 20 < moved[2] / 20


def test_a_large_prior_is_the_source_model(network, task, target):
    network(target)  # statistics other than 0 and 1
    torch.testing.assert_close(adaptation(network, task, 1e9).predict(target), network.eval()(target))


def test_one_image_of_odd_size(network, task):
    images = torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255
    logits = adaptation(network, task, 16.0).predict(TargetBatch(images, Metadata.unknown(1)))
    assert logits.shape == (1, 3, 31, 17) and logits.isfinite().all()
