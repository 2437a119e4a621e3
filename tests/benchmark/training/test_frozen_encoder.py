"""Training on a frozen encoder: what stays, what moves, and what cannot be trained on one."""

import copy
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric

from benchmark.common.errors import SettingsError
from benchmark.conformance.fixtures import train
from benchmark.experiments.jobs import recipe_content
from benchmark.models.settings import name_of_network
from benchmark.training.config import recipe_of
from benchmark.training.trainer import Stepper
from methods.base import MethodError
from methods.registry import find

CLOSED = "model.encoder.model.layer1.0.bn2.weight"
"""A scale that is 0 at the start, without pretrained weights: it closes a branch, and is trained."""

pytestmark = pytest.mark.usefixtures("networks_once")


@pytest.fixture
def frozen(recipe):
    return replace(recipe, network=replace(recipe.network, frozen=True))


def _stepper(name, data, recipe):
    method, fabric = find(name), Fabric(accelerator="cpu", devices=1)
    source = Stepper(fabric, find("source-only"), None, data, recipe, 0, _ignore).method.network
    weights = source.state_dict() if method.needs.starts_from_source else None
    return Stepper(fabric, method, None, data, recipe, 0, _ignore, weights)


def _ignore(metrics, step):
    pass


def _moved(name, data, recipe):
    """Return names of the network's tensors that a training changes, statistics among them."""
    stepper = _stepper(name, data, recipe)
    before = copy.deepcopy(stepper.method.network.state_dict())
    after = train(stepper).method.network.state_dict()
    return {key for key, value in before.items() if not torch.equal(value, after[key])}


@pytest.mark.parametrize("name", ["source-only", "dacs", "oracle", "swad", "shot", "cotta"])
def test_the_encoder_stays_as_it_is_to_the_bit_and_the_rest_is_trained(name, data, recipe, frozen):
    moved = _moved(name, data, frozen)
    assert moved and {key for key in moved if key.startswith("model.encoder.")} <= {CLOSED}
    assert any("encoder" in key for key in _moved(name, data, recipe)) or name == "cotta"  # whose rate is tiny


def test_no_weight_of_the_encoder_has_a_gradient_and_its_mode_is_that_of_a_prediction(data, frozen):
    network = _stepper("source-only", data, frozen).method.train().network
    weights = network.model.encoder.named_parameters(prefix="model.encoder")
    assert [key for key, each in weights if each.requires_grad] == [CLOSED]
    assert not any(module.training for module in network.model.encoder.modules())
    assert all(weights.requires_grad for weights in network.model.decoder.parameters())
    again = copy.deepcopy(network).train()
    assert not again.model.encoder.training and again.model.decoder.training, "so it is in the copy of a teacher"


def test_statistics_of_the_target_are_taken_in_a_frozen_encoder_too(data, frozen):
    stepper = train(_stepper("batch-norm-target", data, frozen))
    norms = [each for each in stepper.method.network.model.encoder.modules() if hasattr(each, "running_mean")]
    assert norms and all(each.running_mean.any() for each in norms), "taken from the target, after they were reset"


def test_test_time_training_of_scales_and_shifts_moves_those_of_a_frozen_encoder(data, frozen):
    moved = {key for key in _moved("tent", data, frozen) if key.startswith("model.encoder.")}
    assert moved and all(".bn" in key or "conv1." in key for key in moved)


@pytest.mark.parametrize("name", ["deep-coral", "source-coral", "sag-net"])
def test_what_teaches_the_encoder_alone_says_why_it_cannot(name, data, frozen):
    frozen = replace(frozen, network=replace(frozen.network, encoder="tu-test_efficientnet"))  # no scale is 0
    with pytest.raises(MethodError, match="the config's encoder is frozen, and this may be all it teaches"):
        train(_stepper(name, data, frozen))


def test_a_record_says_that_the_encoder_is_frozen_and_else_is_what_it_was_before(recipe, frozen):
    assert recipe_content(frozen)["network"]["frozen"] is True and "frozen" not in recipe_content(recipe)["network"]
    assert recipe_of(recipe_content(frozen)) == frozen and recipe_of(recipe_content(recipe)) == recipe
    assert name_of_network(frozen.network) == "unet tu-test_resnet (frozen)"
    with pytest.raises(SettingsError, match="a network of the series alone has none"):
        replace(frozen, network=replace(frozen.network, series="alone"))
