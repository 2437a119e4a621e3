"""Which network was trained, where it is not the one that the config names."""

import pytest
from lightning_fabric import Fabric
from torch import nn

from benchmark.training.trainer import Stepper
from methods import registry
from methods.base import Method

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


def test_of_the_built_in_methods_three_change_it(data, recipe):
    """Heads, adversaries, teachers and averages of the weights are no other network."""
    changed = {name for name, method in ALL.items() if _changed(method, data, recipe)}
    assert changed == {"continuous-domain-adversary", "instance-batch-norm", "metadata-fusion"}
