"""Every family of encoders under every head at the crops of the presets: built and run, or refused in one line."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from benchmark.common.errors import NetworkError
from benchmark.models.encoders import with_larger_patches
from benchmark.models.segmentation import NetworkSettings, SegmentationNetwork, build_network, check_network
from methods.base import TargetBatch

CROPS = (32, 64, 96)
HEADS = {"unet": 5, "fpn": 5, "segformer": 5, "upernet": 5, "dpt": 4}
SWIN, VIT = "tu-swin_tiny_patch4_window7_224", "tu-vit_tiny_patch16_224"
QUICK = ("resnet18", "mit_b0", "tu-convnext_atto", "tu-test_vit")
BY_DEFAULT = {("unet", "mit_b0"), ("upernet", "tu-convnext_atto")} | {(head, QUICK[0]) for head in HEADS}
BY_DEFAULT |= {(head, QUICK[3]) for head in HEADS}
SLOW = ("tu-resnet18", "mit_b2", "tu-convnext_tiny", SWIN, "tu-swinv2_tiny_window8_256", VIT, "tu-vit_small_patch8_224")
FOR_DPT = "take --architecture dpt --encoder-depth 4"
FOR_VIT = "the head dpt is for plain ViTs, such as tu-vit_small_patch16_224"
REFUSED = {
    **{(head, encoder): FOR_DPT for encoder in (*QUICK, *SLOW) if "vit" in encoder for head in HEADS if head != "dpt"},
    **{("dpt", encoder): FOR_VIT for encoder in ("resnet18", "mit_b0", "mit_b2")},
}
"""All other combinations are built."""


def _build(head: str, encoder: str, weights: str = "", depth: int = 0, bands: int = 4) -> SegmentationNetwork:
    settings = NetworkSettings(head, encoder, weights, depth or HEADS[head])
    return build_network(settings, bands, 3, np.zeros(bands), np.ones(bands), 0)


@pytest.mark.parametrize(
    ("head", "encoder"),
    [
        pytest.param(head, encoder, marks=() if (head, encoder) in BY_DEFAULT else pytest.mark.slow)
        for encoder in (*QUICK, *SLOW)
        for head in HEADS
    ],
)
def test_a_head_on_an_encoder_is_built_and_run_or_refused_in_one_line(head, encoder):
    if (head, encoder) in REFUSED:
        with pytest.raises(NetworkError, match=REFUSED[head, encoder]) as refusal:
            _build(head, encoder)
        assert "\n" not in str(refusal.value)
        return
    network = _build(head, encoder)
    for crop in CROPS:
        logits, features = network.train()(TargetBatch.of(torch.rand(2, 4, crop, crop)), return_features=True)
        assert logits.shape == (2, 3, crop, crop) and features.shape[0] == 2 and features.ndim == 4
    logits.mean().backward()
    with torch.no_grad():  # whole patches, which are larger than crops, and of any size
        assert network.eval()(TargetBatch.of(torch.rand(1, 4, 47, 130))).shape == (1, 3, 47, 130)
        assert network.features(torch.rand(2, 4, 64, 64)).shape == (2, features.shape[1])


@pytest.mark.parametrize(
    ("head", "encoder", "depth", "message"),
    [
        (
            "dpt",
            "tu-test_vit",
            5,
            "build dpt on tu-test_vit: .*; the head dpt takes four stages: --encoder-depth 4",
        ),
        ("light-fpn", "tu-test_vit", 4, FOR_DPT),
        ("dpt", "tu-eva02_tiny_patch14_224", 4, "ViTs with patches of 4, 8, 16 or 32 pixels, and not of 14"),
        ("unet", "tu-maxvit_pico_rw_256", 5, "on tu-maxvit_pico_rw_256 at depth 5 cannot predict: .*; take another"),
    ],
)
def test_what_does_not_fit_says_what_would(head, encoder, depth, message):
    with pytest.raises(NetworkError, match=message):
        _build(head, encoder, depth=depth)


def test_patches_of_14_pixels_become_such_of_16_that_give_the_same_for_an_enlarged_image():
    """On a slope of light, which any enlargement leaves one, in the middle of each patch."""
    vit = timm.create_model("test_vit", num_classes=0, img_size=64)
    random = torch.Generator().manual_seed(0)
    embedding = torch.randn(64, 3, 14, 14, generator=random)
    positions = torch.arange(1.0 + 5 * 5).view(1, -1, 1).expand(1, 26, 64)
    state = {"patch_embed.proj.weight": embedding, "pos_embed": positions, "other": torch.ones(1)}
    larger = with_larger_patches(vit, state)
    assert larger["patch_embed.proj.weight"].shape == (64, 3, 16, 16) and larger["other"] is state["other"]
    slope, enlarged = (((torch.arange(side) + 0.5) / side).expand(1, 3, side, side) for side in (14, 16))
    before, after = ((image * weight).sum((1, 2, 3)) for image, weight in (
        (slope, embedding), (enlarged, larger["patch_embed.proj.weight"])
    ))  # fmt: skip
    assert (before - after).norm() < 0.1 * before.norm()
    assert larger["pos_embed"].shape == (1, 1 + 4 * 4, 64) and larger["pos_embed"][0, 0, 0] == 0
    assert larger["pos_embed"][0, 1:].mean().item() == pytest.approx(positions[0, 1:].mean().item(), rel=1e-3)
    assert with_larger_patches(vit, larger) is larger and with_larger_patches(torch.nn.Identity(), state) is state


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
def test_dinov2_is_loaded_with_patches_of_16_pixels(encoder, tmp_path):
    save_file(timm.create_model(encoder, num_classes=0).state_dict(), tmp_path / "w.safetensors")
    network = _build("dpt", f"tu-{encoder}", str(tmp_path / "w.safetensors")).eval()
    assert network(TargetBatch.of(torch.rand(1, 4, 96, 96))).shape == (1, 3, 96, 96)


@pytest.mark.slow
def test_an_encoder_without_the_option_for_any_size_is_built_as_it_is():
    """Of timm's encoders with a published size, MViT takes others without being asked to."""
    assert _build("unet", "tu-mvitv2_tiny").eval()(TargetBatch.of(torch.rand(1, 4, 64, 64))).shape == (1, 3, 64, 64)


def test_the_settings_are_tried_at_the_crop_of_the_training(monkeypatch):
    seen = []
    predict = SegmentationNetwork.forward
    monkeypatch.setattr(
        SegmentationNetwork, "forward", lambda self, batch: seen.append(batch.images.shape[-1]) or predict(self, batch)
    )
    check_network(NetworkSettings("dpt", "tu-test_vit", encoder_depth=4), 4, 3, crop=96)
    assert seen == [96]


@pytest.mark.parametrize("classifier", [10, 0], ids=["with a classifier", "without"])
@pytest.mark.parametrize(
    ("head", "encoder"),
    [
        ("dpt", "tu-test_vit"),
        ("unet", "tu-convnext_atto"),
        pytest.param("dpt", VIT, marks=pytest.mark.slow),
        pytest.param("upernet", SWIN, marks=pytest.mark.slow),
        pytest.param("unet", "tu-mvitv2_tiny", marks=pytest.mark.slow),  # of which timm wraps the whole network
    ],
)
def test_weights_come_from_a_file_as_timm_saves_it(head, encoder, classifier, tmp_path):
    torch.manual_seed(1)
    published = timm.create_model(encoder.removeprefix("tu-"), num_classes=classifier).state_dict()
    save_file(published, tmp_path / "w.safetensors")
    network = _build(head, encoder, str(tmp_path / "w.safetensors"))
    assert network.eval()(TargetBatch.of(torch.rand(1, 4, 32, 32))).shape == (1, 3, 32, 32)
    held = {tensor.double().sum().item() for tensor in published.values() if tensor.numel() > 1}
    loaded, random = (
        [tensor.double().sum().item() for tensor in each.model.encoder.model.state_dict().values()]
        for each in (network, _build(head, encoder))
    )
    assert sum(value in held for value in loaded) >= len(loaded) - 1 > sum(value in held for value in random) + 5
