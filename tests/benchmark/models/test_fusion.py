"""Image and series: each sample's own series, where the image is, and the image alone where there is no series."""

from itertools import pairwise

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.common.errors import NetworkError
from benchmark.models.fusion import FUSIONS, SeriesNetwork, resample
from benchmark.models.light_fpn import LightFPN
from benchmark.models.temporal import UTAE

CELLS = 0.25  # an image of 32 pixels covers 8 of 16 pixels of the series
ALL = torch.ones(3, 4, dtype=torch.bool)
DAYS = torch.tensor([[0.0, 90, 180, 270]]).expand(3, 4)


def _series_network():
    return UTAE(3, encoder_widths=(8, 8), decoder_widths=(8,), heads=2)


def _image_network(encoder="tu-test_resnet"):
    options = {"encoder_depth": 2, "decoder_channels": (8, 8), "encoder_weights": None}
    return smp.Unet(encoder, in_channels=5, classes=4, **options)


class _Both(nn.Module):
    """A fusion with its image's network, whose images are padded to multiples of four."""

    def __init__(self, fusion, dropout, image):
        super().__init__()
        self.image = image
        self.fusion = FUSIONS[fusion](image.encoder, _series_network(), 4, CELLS, dropout)

    def forward(self, images, *series):
        height, width = size = images.shape[-2:]
        padded = F.pad(images, (0, -width % 4, 0, -height % 4), mode="replicate")
        return self.fusion(self.image, _as_in_training(padded), size, *series)


def _network(fusion, dropout=0.0, image=_image_network):
    torch.manual_seed(0)
    return _Both(fusion, dropout, image()).eval()


def _inputs(size=(32, 32)):
    torch.manual_seed(1)
    return torch.randn(3, 5, *size), torch.randn(3, 4, 3, 16, 16)


def _as_in_training(images):
    return images.contiguous(memory_format=torch.channels_last)  # whose sums have another order


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("size", [(32, 32), (31, 18), (7, 9)])
def test_logits_have_the_size_of_the_image(fusion, size):
    images, series = _inputs(size)
    found = _network(fusion)(images, series, DAYS, ALL)
    assert found.logits.shape == found.auxiliary.shape == (3, 4, *size)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_of_both_logits_reach_all_parameters(fusion):
    network = _network(fusion).train()
    found = network(*_inputs(), DAYS, ALL)
    (found.logits.square().mean() + found.auxiliary.square().mean()).backward()
    # timm's blocks begin as identities: the gradients of some of their weights are zero at first.
    zero = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert [name for name in zero if not name.startswith("image.encoder.model.layer")] == []


def test_published_fusion_gives_all_samples_the_first_ones_average():
    corrected, published = (_network(fusion)(*_inputs(), DAYS, ALL) for fusion in ("corrected", "published"))
    difference = (corrected.logits - published.logits).abs().amax((1, 2, 3))
    assert difference[0] < 1e-6 and bool((difference[1:] > 1e-4).all())
    assert torch.equal(corrected.auxiliary, published.auxiliary)
    images, series = _inputs()
    alike = [_network(fusion)(images, series[:1].expand_as(series), DAYS, ALL) for fusion in ("corrected", "published")]
    torch.testing.assert_close(alike[0].logits, alike[1].logits)


@pytest.mark.parametrize("fusion", ["corrected", "late"])
def test_each_sample_is_predicted_from_its_own_series(fusion):
    images, series = _inputs()
    together = _network(fusion)(images, series, DAYS, ALL).logits
    alone = [_network(fusion)(images[[n]], series[[n]], DAYS[[n]], ALL[[n]]).logits for n in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_without_a_valid_date_the_image_alone_decides(fusion):
    images, series = _inputs()
    valid = ALL.clone()
    valid[1] = False
    network = _network(fusion)
    found, image = network(images, series, DAYS, valid), network.image(_as_in_training(images))
    assert bool(torch.isfinite(found.auxiliary).all())
    assert torch.equal(found.logits[1], image[1]) and not torch.allclose(found.logits[0], image[0], atol=1e-3)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_dropped_series_leaves_the_image_alone_and_only_in_training(fusion):
    network, images_and_series = _network(fusion, dropout=1.0), _inputs()
    kept = _network(fusion)(*images_and_series, DAYS, ALL)
    assert torch.equal(network(*images_and_series, DAYS, ALL).logits, kept.logits)
    network.fusion.training = True  # not its parts, whose batch statistics would differ
    found = network(*images_and_series, DAYS, ALL)
    assert torch.equal(found.logits, network.image(_as_in_training(images_and_series[0])))
    assert torch.equal(found.auxiliary, kept.auxiliary), "the auxiliary loss still trains the series' network"


def test_stages_get_the_map_where_the_image_is_and_the_average_of_the_whole():
    """Of one stage, by hand: the middle 8 × 8 pixels of the map through a 1 × 1 convolution, enlarged, and the mean."""
    network, seen = _network("corrected"), []
    images, series = _inputs()
    maps = network.fusion.series(series, DAYS, ALL).maps[0]
    raw = network.image.encoder(images)
    network.image.encoder.register_forward_hook(lambda module, inputs, features: seen.append(features))
    network(images, series, DAYS, ALL)
    assert torch.equal(seen[0][0], raw[0]), "the input is left as it was: no decoder uses it"
    for stage in (1, 2):
        middle = network.fusion.cropped[str(stage)](maps)
        enlarged = F.interpolate(middle, scale_factor=raw[stage].shape[-1] / 8, mode="bilinear")
        start, side = enlarged.shape[-1] // 4, raw[stage].shape[-1]
        expected = raw[stage] + enlarged[..., start : start + side, start : start + side]
        expected = expected + network.fusion.collapsed[str(stage)](maps.mean((2, 3)))[..., None, None]
        torch.testing.assert_close(seen[0][stage], expected)


def test_late_fusion_adds_the_logits():
    network, (images, series) = _network("late"), _inputs()
    found = network(images, series, DAYS, ALL)
    torch.testing.assert_close(found.logits, network.image(images) + found.auxiliary)


def test_series_network_predicts_the_pixels_of_an_image():
    torch.manual_seed(0)
    network = SeriesNetwork(_series_network(), 4, CELLS).eval()
    images, series = _inputs()
    fine, coarse = network.encoder(images, series, DAYS, ALL)
    assert fine.shape == (3, 8, 16, 16) and coarse.shape == (3, 8, 4, 4)  # of the middle 8 x 8 pixels, at half size
    found = network(images, series, DAYS, ALL)
    enlarged = F.interpolate(network.segmentation_head(fine), scale_factor=4, mode="bilinear")[..., 16:48, 16:48]
    torch.testing.assert_close(found, enlarged)
    assert torch.equal(found, network(torch.zeros_like(images), series, DAYS, ALL)), "no image is seen"
    network.train()(images, series, DAYS, ALL).square().mean().backward()
    assert all(value.grad is not None and value.grad.any() for value in network.parameters())


def test_window_of_an_image_by_hand():
    # Columns 0 … 7; an image of 4 pixels of half a column covers columns 3 and 4: centres at 2.75, 3.25, 3.75, 4.25.
    columns = torch.arange(8.0).expand(1, 1, 8, 8)
    expected = torch.tensor([2.75, 3.25, 3.75, 4.25])
    torch.testing.assert_close(resample(columns, 0.5, (4, 4), (4, 4), (4, 4))[0, 0, 0], expected)
    # With two more pixels to the right, padding, the window goes on to the right alone.
    padded = resample(columns, 0.5, (4, 4), (4, 6), (4, 6))[0, 0, 0]
    torch.testing.assert_close(padded, torch.cat([expected, torch.tensor([4.75, 5.25])]))


def test_images_larger_than_their_series_are_refused():
    images, series = _inputs((80, 80))
    with pytest.raises(NetworkError, match=r"80 x 80 pixels covers 20.0 x 20.0 of the 16 x 16 pixels"):
        _network("corrected")(images, series, DAYS, ALL)


@pytest.mark.parametrize(
    "image",
    [
        lambda: LightFPN(smp.encoders.get_encoder("tu-test_resnet", in_channels=5, depth=2, weights=None), 4),
        lambda: smp.Unet("tu-convnext_atto", encoder_depth=4, encoder_weights=None, in_channels=5, classes=4,
                         decoder_channels=(8, 8, 8, 8)),
        lambda: smp.DeepLabV3Plus("resnet18", encoder_weights=None, in_channels=5, classes=4),
    ],
)  # fmt: skip
def test_any_pyramid_takes_a_series(image):
    network = _network("corrected", image=image)
    images, series = _inputs((64, 64))
    found = network(images, series, DAYS, ALL)
    assert found.logits.shape == (3, 4, 64, 64) and not torch.equal(found.logits, network.image(images))


def test_vits_are_refused_at_the_stages():
    vit = smp.DPT("tu-vit_tiny_patch16_224", encoder_depth=4, encoder_weights=None, in_channels=5, classes=4)
    with pytest.raises(NetworkError, match="take the fusion late"):
        FUSIONS["corrected"](vit.encoder, _series_network(), 4, CELLS)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_lower_precision_runs(fusion):
    full = _network(fusion)(*_inputs(), DAYS, ALL).logits
    with torch.autocast("cpu", torch.bfloat16):
        mixed = _network(fusion)(*_inputs(), DAYS, ALL).logits
    images, series = (values.bfloat16() for values in _inputs())
    half = _network(fusion).bfloat16()(images, series, DAYS, ALL).logits
    for found in (mixed, half):
        torch.testing.assert_close(found.float(), full, atol=0.1, rtol=0.1)


def test_size_with_the_published_settings():
    """24.4 million parameters of the U-Net, as published, and the fusion's by hand: stages of 64, 64, 128, 256, 512."""
    image = smp.Unet("resnet34", encoder_weights=None, in_channels=5, classes=13)
    network = FUSIONS["corrected"](image.encoder, UTAE(10), 13, 0.02)
    count = {name: sum(value.numel() for value in part.parameters()) for name, part in network.named_children()}
    assert round(sum(value.numel() for value in image.parameters()) / 1e5) == 244
    assert count["cropped"] == (64 + 1) * (64 + 64 + 128 + 256 + 512)
    widths = [(128, 128, 64), (128, 128, 64), (85, 106, 128), (128, 192, 256), (213, 362, 512)]
    layers = [pair for of_stage in widths for pair in pairwise((64, *of_stage))]
    assert count["collapsed"] == sum((inputs + 1) * outputs for inputs, outputs in layers)
