"""Which network was trained, where it is not the one that the config names."""

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from benchmark.training.loop import fitted
from benchmark.training.trainer import Stepper, evaluate_part, state_of
from methods import registry
from methods.base import Method, MethodError, TargetBatch

pytestmark = pytest.mark.usefixtures("networks_once")
ALL = registry.available()


class Plain(Method):
    def losses(self, source, target, progress):
        return {"segmentation": self.segmentation_loss(source)}


class Replaced(Plain):
    """One layer of the config's shape in place of the network."""

    def setup(self):
        self.network = nn.Conv2d(len(self.task.bands), len(self.task.classes), 1)


class OtherActivation(Plain):
    """No weight is another one."""

    def setup(self):
        self.network.model.decoder.act = nn.GELU()


class OwnDecoder(Plain):
    def setup(self):
        self.decoder = nn.Conv2d(len(self.task.classes), len(self.task.classes), 1, bias=False)

    def predict(self, batch):
        return self.decoder(self.network(batch))


class HelpingHead(OwnDecoder):
    """Its decoder helps to train, and predicts nothing."""

    predict = Method.predict


def _changed(method, data, recipe):
    weights = None
    if method.needs.starts_from_source:
        weights = Stepper(Fabric(accelerator="cpu"), Plain, None, data, recipe, 0, _ignore).method.network.state_dict()
    return Stepper(Fabric(accelerator="cpu"), method, None, data, recipe, 0, _ignore, weights).changed_network


def _ignore(metrics, step):
    pass


def test_a_change_is_told_with_the_parameters_beside_those_of_the_config(data, recipe):
    plain = Stepper(Fabric(accelerator="cpu"), Plain, None, data, recipe, 0, _ignore)
    size, classes = sum(weights.numel() for weights in plain.method.parameters()), len(data.task.classes)
    bands = len(data.task.bands)
    words = f"parameters; the config's has {size:,}"
    assert plain.changed_network == "" == _changed(HelpingHead, data, recipe)
    assert _changed(Replaced, data, recipe) == f"{bands * classes + classes:,} {words}"
    assert _changed(OtherActivation, data, recipe) == f"{size:,} {words}"
    assert _changed(OwnDecoder, data, recipe) == f"{size + classes**2:,} {words}"


class OwnNetwork(nn.Module):
    """Takes batches, as the config's network; and nothing else of it is there."""

    def __init__(self, bands, classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(bands, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, classes, 1))

    def forward(self, batch):
        return self.layers(batch.images / 255)


class BringsOne(Plain):
    def setup(self):
        self.network = OwnNetwork(len(self.task.bands), len(self.task.classes))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_method_may_bring_a_network_of_its_own(precision, data, recipe):
    fabric, losses = Fabric(accelerator="cpu", devices=1, precision=precision), []
    recipe = replace(recipe, steps=30, schedule="constant", checkpoints=1)
    stepper = Stepper(fabric, BringsOne, None, data, recipe, 0, lambda metrics, step: losses.append(metrics))
    size = sum(weights.numel() for weights in stepper.method.network.parameters())
    assert stepper.changed_network.startswith(f"{size:,} parameters; the config's has ")
    with fitted(stepper) as trained:
        first, last = losses[0]["train/loss/segmentation"], losses[-2]["train/loss/segmentation"]
        assert last < 0.8 * first and {weights.dtype for weights in trained.method.parameters()} == {torch.float32}
        assert {name.split(".")[1] for name in state_of(trained.method)} == {"layers"}
        trained.load(trained.checkpoints[0])
        again = evaluate_part(fabric, trained.method, data, "source_val")
        assert again.loss == trained.checkpoints[0].source_val.loss


def test_what_an_own_network_gives_is_of_full_precision(data, recipe):
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    method = Stepper(fabric, BringsOne, None, data, recipe, 0, _ignore).method
    batch = TargetBatch.of(torch.rand(1, len(data.task.bands), 8, 8) * 255)
    with fabric.autocast(), torch.no_grad():
        mixed = method.predict(batch)
    assert mixed.dtype is torch.float32 and torch.equal(mixed, mixed.bfloat16().float()), "computed in bfloat16"
    assert not torch.equal(mixed, method.predict(batch)), "without autocast, in float32"


@pytest.mark.parametrize("hook", ["fuse", "perturb"])
def test_features_of_an_own_network_are_changed_where_it_lets_a_method(hook, data, recipe):
    unheard = type("Unheard", (BringsOne,), {hook: lambda self, stage, features: features})
    with pytest.raises(MethodError, match=rf"Unheard\.{hook}\(\) .* own network OwnNetwork"):
        _changed(unheard, data, recipe)

    def setup(self):
        BringsOne.setup(self)
        self.network.perturbation = None

    heard = type("Heard", (unheard,), {"setup": setup})
    network = Stepper(Fabric(accelerator="cpu"), heard, None, data, recipe, 0, _ignore).method.network
    assert network.perturbation is not None


def test_of_the_built_in_methods_some_change_it(data, recipe):
    """Heads that predict nothing, second networks, teachers and averages of the weights are no other network."""
    changed = {name for name, method in ALL.items() if not method.needs_series and _changed(method, data, recipe)}
    others = {"clan", "continuous-domain-adversary", "instance-batch-norm", "metadata-fusion"}
    assert changed == others | {"lora", "rein", "soma"}
