"""Networks that see a batch's series: normalised, with an auxiliary loss; no series is one without a valid date."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmark.common.errors import NetworkError
from benchmark.models.segmentation import NetworkSettings, build_network
from benchmark.models.settings import SERIES, SeriesInput
from methods.base import Method, SeriesBatch, SourceBatch, TargetBatch, Task
from methods.parts.metadata import Metadata

SETTINGS = NetworkSettings(
    "unet", "tu-test_resnet", encoder_depth=2, decoder_channels=(8, 8), series_widths=(8, 8), series_loss=0.5
)
SEEN = SERIES[1:]


def _network(series, **changes):
    settings = replace(SETTINGS, series=series, **changes)
    known = SeriesInput(0.25, (1000.0,) * 3, (500.0,) * 3)
    return build_network(settings, 5, 4, np.full(5, 100.0), np.full(5, 50.0), 0, known)


def _batch(count=2, side=16):
    random = torch.Generator().manual_seed(0)
    series = SeriesBatch(
        1000 + 500 * torch.randn(count, 3, 3, 8, 8, generator=random),
        torch.tensor([[-90.0, 0, 90]]).expand(count, 3),
        torch.ones(count, 3, dtype=torch.bool),
    )
    images = 255 * torch.rand(count, 5, side, side, generator=random)
    labels = torch.randint(4, (count, side, side), generator=random)
    return SourceBatch(images, labels, torch.zeros(count).long(), Metadata.unknown(count), None, series)


def _without(batch):
    return replace(batch, series=None)


@pytest.mark.parametrize("series", SEEN)
def test_logits_and_features_of_a_batch_with_a_series(series):
    network, batch = _network(series).eval(), _batch(side=18)
    logits, features = network(batch, return_features=True)
    assert logits.shape == (2, 4, 18, 18) and features.shape[0] == 2 and features.ndim == 4
    changed = replace(batch, series=batch.series.moved(40.0))
    assert not torch.allclose(network(changed), logits), "the days matter"


@pytest.mark.parametrize("series", SEEN)
def test_without_a_series_it_predicts_as_without_a_valid_date(series):
    network, batch = _network(series).eval(), _batch()
    empty = replace(batch, series=batch.series.only(torch.zeros(2, 3, dtype=torch.bool)))
    if series != "alone":  # whose borders, at which its convolutions see less, depend on the size of the series
        torch.testing.assert_close(network(_without(batch)), network(empty))
    assert bool(torch.isfinite(network(_without(batch))).all())
    assert not torch.allclose(network(batch), network(empty), atol=1e-4)


@pytest.mark.parametrize("series", ["late", "corrected", "published"])
def test_without_a_series_the_image_alone_decides(series):
    network, batch = _network(series).eval(), _without(_batch())
    normalized = ((batch.images - 100) / 50).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(batch), network.model(normalized))


def test_a_network_of_images_does_not_see_the_series():
    network, batch = _network("").eval(), _batch()
    assert torch.equal(network(batch), network(_without(batch)))
    assert torch.equal(
        network(batch), build_network(SETTINGS, 5, 4, np.full(5, 100.0), np.full(5, 50.0), 0).eval()(batch)
    )


def test_a_network_of_the_series_alone_sees_no_image():
    network, batch = _network("alone").eval(), _batch()
    assert torch.equal(network(batch), network(replace(batch, images=torch.zeros_like(batch.images))))
    assert network.stages == {} and network.multiple == 1


def test_series_are_normalised_by_band():
    network, batch = _network("alone").eval(), _batch()
    seen = []
    network.model.encoder.series.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    network(batch)
    torch.testing.assert_close(seen[0], (batch.series.values - 1000) / 500)


def _method(series, **changes):
    return Method(_network(series, **changes).train(), Task(("a", "b", "c", "d"), tuple("rgbnh")))


@pytest.mark.parametrize("series", ["late", "corrected", "published"])
def test_the_auxiliary_loss_is_part_of_the_segmentation_loss(series):
    method, batch = _method(series), _batch()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss = method.segmentation_loss(batch)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        logits = method.network(batch)
        auxiliary = method.network._last.auxiliary
    assert auxiliary.shape == logits.shape
    expected = F.cross_entropy(logits, batch.labels) + 0.5 * F.cross_entropy(auxiliary, batch.labels)
    torch.testing.assert_close(loss, expected)


def test_the_auxiliary_loss_is_of_this_very_batch_and_counts_once():
    method, batch = _method("late"), _batch()
    logits = method.network(batch)
    other = replace(batch, labels=batch.labels.clone())
    assert method.network.auxiliary_loss(other) is None, "the last pass was on another batch"
    method.network(replace(batch, images=batch.images + 1))
    method.network(TargetBatch(batch.images, batch.metadata, series=batch.series))  # as methods of both sides do
    first, second = (method.segmentation_loss(batch, logits) for _ in range(2))
    assert first > second == F.cross_entropy(logits, batch.labels)


@pytest.mark.parametrize(("series", "weight"), [("", 0.5), ("alone", 0.5), ("late", 0.0)])
def test_where_there_is_no_auxiliary_loss(series, weight):
    method, batch = _method(series, series_loss=weight), _batch()
    logits = method.network(batch)
    assert torch.equal(method.segmentation_loss(batch, logits), F.cross_entropy(logits, batch.labels))


def test_a_pass_that_is_not_trained_keeps_nothing_and_copies_are_free_of_it():
    network, batch = _network("late").train(), _batch()
    with torch.no_grad():
        network(batch)
    assert network._last.labels is None
    network(batch)
    assert copy.deepcopy(network)._last.labels is None
    network.eval()(TargetBatch.of(batch.images))


def test_settings_that_cannot_be():
    with pytest.raises(NetworkError, match="there is none"):
        build_network(replace(SETTINGS, series="late"), 5, 4, np.zeros(5), np.ones(5), 0)
    with pytest.raises(NetworkError, match="multiples of 4"):
        _network("late", series_widths=(6, 8))
