"""Networks: any bands and sizes, weights from the seed alone or from a local file, and one clear line offline."""

import os
import pickle
import time
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmark.common.errors import NetworkError
from benchmark.models import segmentation as network_module
from benchmark.models.segmentation import NetworkSettings, build_network
from methods.base import TargetBatch

SMALL = NetworkSettings(encoder="tu-test_resnet", encoder_depth=2, decoder_channels=(8, 8))


def _build(settings=SMALL, bands=5, seed=0):
    return build_network(settings, bands, 4, np.zeros(bands), np.ones(bands), seed)


@pytest.mark.parametrize("size", [(32, 32), (33, 50), (7, 9)])
def test_images_of_any_size_give_logits_of_that_size(size):
    assert _build().eval()(TargetBatch.of(torch.rand(2, 5, *size))).shape == (2, 4, *size)


def test_raw_pixels_are_normalised_inside():
    mean, std = np.array([100.0, 50, 20, 10, 5]), np.array([10.0, 5, 4, 3, 2])
    inside = build_network(SMALL, 5, 4, mean, std, 0).eval()
    images = torch.rand(1, 5, 16, 16) * 255
    scale = [torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (mean, std)]
    outside = TargetBatch.of((images - scale[0]) / scale[1])
    torch.testing.assert_close(inside(TargetBatch.of(images)), _build().eval()(outside))


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = _build().state_dict()
    before = torch.get_rng_state()
    second = _build().state_dict()
    assert torch.equal(before, torch.get_rng_state()), "the global generator is left as it was"
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(value, _build(seed=1).state_dict()[name]) for name, value in first.items())


def test_every_stage_can_be_changed():
    network = _build().eval()
    images = torch.rand(2, 5, 16, 16)
    plain, seen = network(TargetBatch.of(images)), []
    network.perturbation = lambda stage, features: seen.append(stage) or features * 0
    changed = network(TargetBatch.of(images))
    assert seen == list(network.stages) and len(seen) == 2
    assert not torch.equal(plain, changed)


@pytest.mark.parametrize(
    ("encoder", "depth", "stages"),
    [
        ("resnet18", 3, 2),
        ("resnet18", 5, 4),
        pytest.param("vgg11", 5, 0, marks=pytest.mark.slow),
        ("mit_b0", 5, 4),
        ("tu-test_resnet", 3, 3),
        ("tu-tf_efficientnet_lite0", 4, 4),
        ("tu-convnext_atto", 4, 3),
    ],
)
def test_stages_are_those_that_run_or_none(encoder, depth, stages):
    settings = NetworkSettings(encoder=encoder, encoder_depth=depth, decoder_channels=(16,) * depth)
    for bands in (3, 5):
        network = build_network(settings, bands, 3, np.zeros(bands), np.ones(bands), 0)
        assert len(network.stages) == stages
    seen = []
    network.perturbation = lambda stage, features: seen.append(stage) or features
    network.eval()(TargetBatch.of(torch.rand(1, 5, 32, 32)))
    assert seen == [f"stage{number + 1}" for number in range(stages)] == list(network.stages)


def test_unused_blocks_behind_the_deepest_stage_are_dropped_and_change_nothing():
    import segmentation_models_pytorch as smp

    settings = NetworkSettings("light-fpn", "tu-tf_efficientnet_lite0", encoder_depth=3)
    encoder = _build(settings).model.encoder.eval()
    whole = smp.encoders.get_encoder(settings.encoder, in_channels=5, depth=3, weights=None).eval()
    assert len(encoder.model.blocks) < len(whole.model.blocks)
    encoder.load_state_dict(whole.state_dict(), strict=False)
    images = torch.rand(1, 5, 32, 32)
    for mine, theirs in zip(encoder(images), whole(images), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("encoder", "depth"), [("tu-test_resnet", 3), ("resnet18", 4), ("tu-convnext_atto", 4)])
def test_the_light_fpn_takes_encoders_of_any_kind(encoder, depth):
    """ConvNeXt has no stage at half the size."""
    network = _build(NetworkSettings("light-fpn", encoder, encoder_depth=depth)).eval()
    images = torch.rand(2, 5, 33, 50)
    logits, features = network(TargetBatch.of(images), return_features=True)
    assert logits.shape == (2, 4, 33, 50) and features.shape[1] == network.model.encoder.out_channels[-1]
    assert network.stages


def test_the_light_fpn_uses_every_stage_and_has_the_width_that_is_asked_for():
    network = _build(NetworkSettings("light-fpn", "tu-test_resnet", encoder_depth=3, decoder_channels=(10,)))
    assert network.model.segmentation_head.in_channels == 10
    network(TargetBatch.of(torch.rand(2, 5, 32, 32))).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.model.decoder.parameters())


def test_the_deepest_features_come_with_the_logits():
    network = _build().eval()
    images = torch.rand(2, 5, 18, 16) * 255
    logits, features = network(TargetBatch.of(images), return_features=True)
    assert torch.equal(logits, network(TargetBatch.of(images))) and logits.shape[-2:] == (18, 16)
    assert features.shape == (2, network.model.encoder.out_channels[-1], 5, 4)  # padded to 20 x 16, and a quarter of it


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_encoder_weights_come_from_a_local_file_for_any_number_of_bands(tmp_path, suffix):
    donor = build_network(SMALL, 3, 4, np.zeros(3), np.ones(3), 7).model.encoder
    path = tmp_path / f"weights{suffix}"
    state = {name: value.contiguous() for name, value in donor.model.state_dict().items()} | {
        "fc.weight": torch.zeros(2)
    }
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    settings = NetworkSettings(SMALL.architecture, SMALL.encoder, str(path), 2, (8, 8))
    loaded = _build(settings)
    ours, theirs = loaded.model.encoder.model.state_dict(), donor.model.state_dict()
    same = [name for name in theirs if ours[name].shape == theirs[name].shape]
    assert len(same) == len(theirs) - 1, "all but the first layer, which has more bands now"
    assert all(torch.equal(ours[name], theirs[name]) for name in same)
    assert loaded(TargetBatch.of(torch.rand(2, 5, 16, 16))).shape == (2, 4, 16, 16)


def test_a_file_of_another_encoder_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(NetworkError, match=r"weights\.pth does not fit the encoder: \d+ of \d+ weights"):
        _build(NetworkSettings(SMALL.architecture, SMALL.encoder, str(path), 2, (8, 8)))


WRAPPERS = {
    "lightning.ckpt": lambda state: {"state_dict": {f"model.seg_model.encoder.model.{k}": v for k, v in state.items()}},
    "checkpoint.PTH": lambda state: {"model_state_dict": state, "epoch": 3},
    "parallel.pt": lambda state: {"model": {f"module.backbone.{name}": value for name, value in state.items()}},
    "compiled.weights": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_weights_are_found_under_the_usual_wrappers_and_prefixes(tmp_path, name):
    state = build_network(SMALL, 3, 4, np.zeros(3), np.ones(3), 7).model.encoder.model.state_dict()
    torch.save(WRAPPERS[name](state), tmp_path / name)
    settings = NetworkSettings(SMALL.architecture, SMALL.encoder, str(tmp_path / name), 2, (8, 8))
    loaded = build_network(settings, 3, 4, np.zeros(3), np.ones(3), 0).model.encoder.model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_weights_of_as_many_bands_are_taken_as_they_are(tmp_path):
    state = _build().model.encoder.model.state_dict()
    path = tmp_path / "five.pth"
    torch.save({f"encoder.model.{name}": value for name, value in state.items()}, path)
    settings = NetworkSettings(SMALL.architecture, SMALL.encoder, str(path), 2, (8, 8))
    loaded = _build(settings).model.encoder.model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    with pytest.raises(NetworkError, match=r"1 of \d+ weights .*, \(\d+, 5, .* where \(\d+, 3, .* is needed; the file"):
        build_network(settings, 3, 4, np.zeros(3), np.ones(3), 0)


def test_weights_that_cannot_be_meant_are_refused(tmp_path):
    state = build_network(SMALL, 3, 4, np.zeros(3), np.ones(3), 7).model.encoder.model.state_dict()
    path = tmp_path / "weights.pth"
    settings = NetworkSettings(SMALL.architecture, SMALL.encoder, str(path), 2, (8, 8))
    torch.save(
        {
            f"{who}.{name}": value.float() + shift
            for who, shift in (("a", 0), ("b", 1))
            for name, value in state.items()
        },
        path,
    )
    with pytest.raises(NetworkError, match=r"holds the encoder 2 times, as 'a\.' and 'b\.'"):
        _build(settings)
    torch.save(
        {name: value * float("nan") if value.is_floating_point() else value for name, value in state.items()}, path
    )
    with pytest.raises(NetworkError, match="numbers that are not finite"):
        _build(settings)


def test_a_missing_file_is_named():
    with pytest.raises(NetworkError, match=r"no file /nowhere/x\.pth"):
        _build(NetworkSettings(SMALL.architecture, SMALL.encoder, "/nowhere/x.pth", 2, (8, 8)))


def test_without_a_network_pretrained_weights_fail_at_once(monkeypatch):
    monkeypatch.setattr(network_module, "HUB", ("127.0.0.1", 9))  # nothing listens there
    started = time.monotonic()
    with pytest.raises(NetworkError, match=r"cannot be reached.*--encoder-weights"):
        _build(NetworkSettings("unet", "resnet34", "imagenet"))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("settings", [NetworkSettings("unet", "resnet3"), NetworkSettings("unett", "resnet34")])
def test_unknown_names_are_one_line(settings):
    with pytest.raises(NetworkError, match="cannot build"):
        _build(settings)


def test_the_flair_baseline_has_the_published_size():
    network = _build(NetworkSettings("unet", "resnet34"))
    assert 24.0e6 < sum(parameter.numel() for parameter in network.parameters()) < 24.8e6


@pytest.mark.parametrize(("architecture", "depth"), [("unet", 4), ("unetplusplus", 3), ("fpn", 4)])
def test_an_encoder_of_fewer_stages_gets_a_decoder_of_as_many(architecture, depth):
    network = _build(NetworkSettings(architecture, "tu-test_resnet", encoder_depth=depth))
    assert network(TargetBatch.of(torch.rand(2, 5, 32, 32))).shape == (2, 4, 32, 32)


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
def test_a_pickle_that_poses_as_weights_is_one_line_and_never_runs(tmp_path, suffix):
    path, ran = tmp_path / f"weights{suffix}", tmp_path / "ran"
    for write in (lambda: path.write_bytes(pickle.dumps(_Payload(ran))), lambda: torch.save(_Payload(ran), path)):
        write()
        with pytest.raises(NetworkError, match=rf"cannot read encoder weights from .*weights\{suffix}: ") as caught:
            _build(NetworkSettings(SMALL.architecture, SMALL.encoder, str(path), 2, (8, 8)))
        assert not ran.exists() and "\n" not in str(caught.value) and "weights_only" not in str(caught.value)


@pytest.mark.parametrize("content", [[1], torch.zeros(2), {1: 2}, {"state_dict": 3}])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(NetworkError, match="no state_dict"):
        _build(NetworkSettings(SMALL.architecture, SMALL.encoder, str(tmp_path / "weights.pth"), 2, (8, 8)))


def test_weights_that_are_packed_to_a_bomb_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pth", "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("archive/data/0", b"\0" * 20_000_000)
    with pytest.raises(NetworkError, match="says that it holds 20,000,000 bytes"):
        _build(NetworkSettings(SMALL.architecture, SMALL.encoder, str(tmp_path / "weights.pth"), 2, (8, 8)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (NetworkSettings("pspnet", "resnet18", encoder_depth=4), "gives logits of 32 x 32 pixels"),
        (NetworkSettings("light-fpn", "resnet18", decoder_channels=(8, 8)), "a light FPN has one width"),
        (NetworkSettings("unet", "tu-maxvit_pico_rw_256"), r"cannot predict: height .* take another encoder"),
    ],
)
def test_a_network_that_cannot_be_trained_fails_before_any_job(settings, message):
    with pytest.raises(NetworkError, match=message):
        network_module.check_network(settings, 5, 4)


def test_an_encoder_whose_stages_give_lists_has_none():
    settings = NetworkSettings("light-fpn", "tu-hrnet_w18_small", encoder_depth=3)
    assert network_module.build_network(settings, 3, 4, np.zeros(3), np.ones(3), 0).stages == {}
