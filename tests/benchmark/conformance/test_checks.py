"""Every method keeps the contract; and each check finds the method that breaks it."""

import copy
import inspect
import random
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmark import conformance
from benchmark.cli.app import main
from benchmark.conformance import CHECKS, Fixtures, check_method
from benchmark.conformance.cost import cost_of
from benchmark.experiments.labels import parse_label
from methods import registry
from methods.base import Method, tunable

pytestmark = pytest.mark.usefixtures("one_thread", "networks_once")
ALL = registry.available()
# Widths of their adversaries.
SMALL = {"adversarial-alignment": 8, "clan": 8, "continuous-domain-adversary": 32, "dann": 64, "fada": 32}


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory):
    return Fixtures(tmp_path_factory.mktemp("fixtures"), ALL["source-only"])


def _statuses(method, fixtures, hyperparameters=None):
    return {result.check: (result.status, result.why) for result in check_method(method, hyperparameters, fixtures)}


@pytest.fixture
def only(monkeypatch):
    """Leaves only some of the checks, in their order."""
    return lambda *names: monkeypatch.setattr(conformance, "CHECKS", {name: CHECKS[name] for name in names})


@pytest.mark.parametrize("name", [name for name, method in ALL.items() if not method.needs_series])
def test_every_method_keeps_the_contract(name, fixtures, monkeypatch):
    monkeypatch.setattr("benchmark.conformance.checks.cost_of", lambda subject, pairs: cost_of(subject, 1))
    label = f"{name}[width={SMALL[name]}]" if name in SMALL else name
    setting = parse_label(label)
    assert setting.method is ALL[name]
    statuses = _statuses(setting.method, fixtures, setting.hyperparameters)
    assert list(statuses) == list(CHECKS)
    assert not {check: why for check, (status, why) in statuses.items() if status == "fail"}
    assert all(why for status, why in statuses.values() if status == "not applicable")


class Plain(Method):
    def losses(self, source, target, progress):
        return {"segmentation": self.segmentation_loss(source)}


class NotANumber(Plain):
    def losses(self, source, target, progress):
        return {"segmentation": self.segmentation_loss(source) * float("nan")}


class IdleHead(Plain):
    def setup(self):
        self.head = nn.Linear(2, 2)


class MovesTheFrozen(Plain):
    def setup(self):
        self.network.model.segmentation_head.requires_grad_(False)

    def after_step(self, progress):
        self.network.model.segmentation_head[0].bias.data += 1


class Dicing(Plain):
    def losses(self, source, target, progress):
        return {"segmentation": self.segmentation_loss(source) * (1 + np.random.rand())}


class Counting(Plain):
    """Its count is a plain attribute, which nothing saves."""

    def setup(self):
        self.count = 0

    def losses(self, source, target, progress):
        self.count += 1
        return {"segmentation": self.segmentation_loss(source) * self.count}


class Watching(Plain):
    """What it saw on validation is a plain attribute."""

    def setup(self):
        self.seen = 1.0

    def validate(self, loss_of, progress):
        self.seen = loss_of(self.predict)

    def losses(self, source, target, progress):
        return {"segmentation": self.segmentation_loss(source) * self.seen}


class CountsForLater(Plain):
    """Its count will matter long after the few steps of the check."""

    def setup(self):
        self.count = 0

    def after_step(self, progress):
        self.count += 1


class Queues(Plain):
    """What it keeps is the same in the end, whatever the first step after a savepoint finds in it."""

    def setup(self):
        self.queue = deque(maxlen=2)

    def after_step(self, progress):
        self.queue.append(self.generator("queue").initial_seed())


class HidesTeachers(Plain):
    """Modules in a plain list are no children."""

    def setup(self):
        self.teachers = [copy.deepcopy(self.network)]

    def after_step(self, progress):
        with torch.no_grad():
            for mine, theirs in zip(self.teachers[0].parameters(), self.network.parameters(), strict=True):
                mine.lerp_(theirs, 0.5)


class Consumes(Plain):
    """A stream of random numbers stands somewhere."""

    def setup(self):
        self.stream = {"draws": random.Random(0), "arrays": np.random.default_rng(0)}

    def after_step(self, progress):
        self.stream["arrays"].random()


class HandsOn(Plain):
    """What a step hands on to its own end, and functions, need not be kept."""

    def setup(self):
        self.measure = lambda images: images.mean((1, 2, 3))

    def losses(self, source, target, progress):
        self._seen = self.measure(source.images), {"step": progress.step}
        return super().losses(source, target, progress)


class KeepsItsCount(Counting):
    def state(self):
        return {"count": self.count}

    def load_state(self, state):
        self.count = state["count"]


class WritesOnly(Counting):
    def state(self):
        return {"count": self.count}


class NotNeutral(Plain):
    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=0.1, high=2.0, neutral=0.5)

    def losses(self, source, target, progress):
        loss = self.segmentation_loss(source)
        return {"segmentation": loss, "extra": self.hyperparameters.weight * loss.square()}


class NeedsTwo(Plain):
    """The spread over a batch of one is no number."""

    def losses(self, source, target, progress):
        return {
            "segmentation": self.segmentation_loss(source),
            "spread": self.network(source).mean((1, 2, 3)).std(),
        }


class NeedsMultiplesOfFour(Plain):
    def losses(self, source, target, progress):
        side = source.images.shape[-1] // 4
        source.images.view(len(source.images), 5, -1, 4, side, 4)
        return super().losses(source, target, progress)


class NeedsSomeClass(Plain):
    """Divides by how many pixels are of other classes than the first two."""

    def losses(self, source, target, progress):
        others = (source.labels[source.labels < 12] > 1).sum()
        return {"segmentation": self.segmentation_loss(source) / others.clamp(max=1)}


class NeedsTwoDomains(Plain):
    def losses(self, source, target, progress):
        first, second = source.domains.unique()[:2]
        return {"segmentation": self.segmentation_loss(source) * (1 + 0 * (first + second))}


class NeedsLabels(Plain):
    def losses(self, source, target, progress):
        return {"segmentation": nn.functional.cross_entropy(self.network(source), source.labels, ignore_index=255)}


class Careless(Plain):
    def augment(self, source, target, progress):
        source.images.mul_(0.5)
        return source, target


class Together(Plain):
    def predict(self, batch):
        return self.network(replace(batch, images=batch.images - batch.images.mean() + 100))


class FullPrecision(Plain):
    """The product is a matrix of bfloat16 where precision is mixed, which NumPy does not know."""

    def losses(self, source, target, progress):
        logits = self.network(source)
        pixels = logits.detach().transpose(0, 1).flatten(1)
        trace = float(np.trace((pixels @ pixels.T).numpy()))
        return {"segmentation": self.segmentation_loss(source, logits) * (1 + 1e-9 * trace)}


class Forgetful(Plain):
    """What it predicts with is a plain attribute."""

    def setup(self):
        self.shift = 0.0

    def after_step(self, progress):
        self.shift += 1.0

    def predict(self, batch):
        return self.network(batch) * (1 + self.shift)


@pytest.mark.parametrize(
    ("method", "check", "why"),
    [
        (NotANumber, "losses are finite", "the segmentation loss is nan at step 0; nothing was learned yet"),
        (IdleHead, "what it means to train moves, nothing else", "2 of 31 weights that require a gradient do not move"),
        (MovesTheFrozen, "what it means to train moves, nothing else", "1 frozen weights of the network move"),
        (Dicing, "the same seed gives the same bits", "differ in"),
        (Counting, "resumed in the middle, the same bits", "not put back: count;"),
        (WritesOnly, "resumed in the middle, the same bits", "not put back: count;"),
        (Watching, "resumed in the middle, the same bits", "not put back: seen;"),
        (CountsForLater, "resumed in the middle, the same bits", "the same weights here, but not put back: count;"),
        (Queues, "resumed in the middle, the same bits", "the same weights here, but not put back: queue;"),
        (HidesTeachers, "resumed in the middle, the same bits", "the same weights here, but not put back: teachers;"),
        (Consumes, "resumed in the middle, the same bits", "the same weights here, but not put back: stream;"),
        (NotNeutral, "with its weight at zero it is source-only", "differ from source-only's by"),
        (NeedsTwo, "batch of one", "nan"),
        (NeedsMultiplesOfFour, "odd image sizes", "RuntimeError"),
        (NeedsSomeClass, "a batch without some class", "inf"),
        (NeedsTwoDomains, "one source domain", "ValueError: not enough values"),
        (NeedsLabels, "all pixels ignored", "nan"),
        (Careless, "batches are left as they are", "changes the images of the batch"),
        (Together, "each patch is predicted by itself", "the method does not say so"),
        (FullPrecision, "mixed precision", "BFloat16"),
        (Forgetful, "state survives saving and loading", "keep it in modules and buffers"),
    ],
)  # fmt: skip
def test_each_check_finds_the_method_that_breaks_it(method, check, why, fixtures, only):
    only(check)
    status, reason = _statuses(method, fixtures)[check]
    assert status == "fail" and why in reason


@pytest.mark.parametrize("method", [HandsOn, KeepsItsCount])
def test_what_is_put_back_or_made_by_each_step_is_no_fault(method, fixtures, only):
    only("resumed in the middle, the same bits")
    assert _statuses(method, fixtures) == {"resumed in the middle, the same bits": ("pass", "")}


class Broken(Plain):
    def losses(self, source, target, progress):
        return {"segmentation": torch.nn.functional.conv2d(source.images, source.labels)}


def test_an_error_names_the_line_of_the_method_and_is_told_once(fixtures):
    first, rest = check_method(Broken, None, fixtures)
    line = inspect.getsourcelines(Broken)[1] + 2
    assert first.status == "fail" and f"(test_checks.py:{line})" in first.why
    assert rest.check == f"the other {len(CHECKS) - 1} checks" and rest.status == "not applicable"


def test_what_hangs_on_two_equal_trainings_says_nothing_where_they_differ(fixtures, only):
    checks = "resumed in the middle, the same bits", "noise for target labels changes nothing"
    only(*checks)
    told = "not applicable", "two trainings with one seed differ already"
    assert _statuses(Dicing, fixtures) == dict.fromkeys(checks, told)


def test_a_method_that_sees_hidden_labels_is_found(fixtures, monkeypatch, only):
    """Where the guard itself were broken: the labelled pool of a plain method becomes the target's."""
    from benchmark.training.fold_data import FoldData

    monkeypatch.setattr(FoldData, "labelled", lambda self, needs: self.parts["target_adapt"])
    only("noise for target labels changes nothing")
    ((status, why),) = _statuses(Plain, fixtures).values()
    assert status == "fail" and "with noise for the hidden target masks" in why


def test_a_method_that_says_its_prediction_hangs_on_the_batch_may(fixtures, only):
    only("each patch is predicted by itself")
    honest = type("Honest", (Together,), {"depends_on_batch": True})
    assert _statuses(honest, fixtures)["each patch is predicted by itself"][0] == "not applicable"


def test_the_command_tells_what_fails(fixtures, monkeypatch, capsys, only):
    import sys

    monkeypatch.setitem(sys.modules, "tests_conformance", sys.modules[__name__])
    monkeypatch.setattr(conformance, "Fixtures", lambda folder, control, recipe: fixtures)
    only("losses are finite", "what it means to train moves, nothing else", "with its weight at zero it is source-only")
    assert main(["check", "tests_conformance:IdleHead", "tests_conformance:Plain"]) == 1
    text = capsys.readouterr().out
    assert "1 check fails: what it means to train moves, nothing else" in text and "not applicable" in text
    assert "tests_conformance:Plain: keeps the contract" in text
    assert main(["check", "tests_conformance:Plain"]) == 0
