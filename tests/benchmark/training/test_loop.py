"""A training that is interrupted and goes on is the unbroken one, to the bit."""

import math
from collections import deque

import pytest
import torch
from lightning_fabric import Fabric

from benchmark.training import savepoints
from benchmark.training.loop import fitted
from benchmark.training.savepoints import Savepoints
from benchmark.training.trainer import Stepper, state_of
from methods import registry
from methods.base import Method, MethodError, Needs

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = registry.available()
# One of each kind that trains; every method is held to going on in the middle in test_conformance.
KINDS = sorted(
    {
        method.needs: name
        for name, method in ALL.items()
        if method.needs is not Needs.TEST_STREAM and not method.needs_series
    }.values()
)


class Killed(BaseException):
    """In place of a signal."""


@pytest.fixture(autouse=True)
def whatever_it_takes(monkeypatch):
    """A savepoint after every step, though it takes longer than the step."""
    monkeypatch.setattr(savepoints, "SHARE", math.inf)


@pytest.fixture(scope="module")
def weights(data, recipe):
    """The source model that some methods start from."""
    fabric = Fabric(accelerator="cpu", devices=1)
    stepper = Stepper(fabric, ALL["source-only"], None, data, recipe, 0, lambda losses, step: None)
    return stepper.method.network.state_dict()


def _fit(method: type[Method], data, recipe, points: Savepoints, weights, dies_after: float = math.inf):
    """What is left of a training: its curves, the state in the end and the checkpoints' scores."""
    curves = []
    fabric = Fabric(accelerator="cpu", devices=1)
    given = weights if method.needs.starts_from_source else None
    stepper = Stepper(fabric, method, None, data, recipe, 0, lambda losses, step: curves.append((step, losses)), given)
    step_of = stepper.step

    def step(source, target, progress):
        step_of(source, target, progress)
        if progress.step == dies_after:
            raise Killed

    stepper.step = step
    with fitted(stepper, savepoints=points) as trained:
        scores = [(c.step, c.source_val.loss, c.source_val.total().tolist()) for c in trained.checkpoints]
        trained.load(trained.checkpoints[0])
        first = {name: value.clone() for name, value in state_of(trained.method).items()}
        trained.load(trained.checkpoints[1])
        return curves, scores, first, state_of(trained.method), trained.images


@pytest.mark.parametrize("name", KINDS)
def test_interrupted_anywhere_it_ends_the_same(name, data, recipe, weights, tmp_path, networks_once):
    whole = _fit(ALL[name], data, recipe, Savepoints(tmp_path / "whole", {}, math.inf), weights)
    points = Savepoints(tmp_path / "cut", {}, every=0)
    for dies_after in (1, 2, 3):
        with pytest.raises(Killed):
            _fit(ALL[name], data, recipe, points, weights, dies_after)
        assert points.newest()["step"] == dies_after, "a step that was begun is not saved, the one before it is"
    curves, scores, first, last, images = _fit(ALL[name], data, recipe, points, weights)
    assert curves == whole[0], "every point once, in order"
    assert (scores, images) == (whole[1], whole[4])
    for mine, theirs in ((first, whole[2]), (last, whole[3])):
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_a_finished_training_is_not_repeated(data, recipe, weights, tmp_path):
    points = Savepoints(tmp_path / "cut", {}, every=0)
    whole = _fit(ALL["source-only"], data, recipe, points, weights)
    again = _fit(ALL["source-only"], data, recipe, points, weights, dies_after=3)  # which never comes
    assert again[:2] == whole[:2]


def test_nothing_is_saved_before_it_is_due(data, recipe, weights, tmp_path):
    points = Savepoints(tmp_path / "cut", {}, every=math.inf)
    _fit(ALL["source-only"], data, recipe, points, weights)
    assert not list(points.folder.glob("step-*"))


class Remembering(Method):
    """Weights a step by the mean of the last losses, and predicts with how many steps it has made."""

    def setup(self):
        self.recent, self.steps = deque([1.0], maxlen=3), 0

    def losses(self, source, target, progress):
        loss = self.segmentation_loss(source)
        self.recent.append(loss.item())
        return {"segmentation": loss * sum(self.recent) / len(self.recent)}

    def after_step(self, progress):
        self.steps += 1

    def predict(self, batch):
        return super().predict(batch) + torch.arange(len(self.task.classes)).view(-1, 1, 1) * self.steps

    def state(self):
        return {"recent": list(self.recent), "steps": self.steps}

    def load_state(self, state):
        self.recent, self.steps = deque(state["recent"], maxlen=3), state["steps"]


def test_what_a_method_holds_besides_tensors_is_gone_on_from_and_each_checkpoint_is_scored_with_its_own(
    data, recipe, weights, tmp_path
):
    whole = _fit(Remembering, data, recipe, Savepoints(tmp_path / "whole", {}, math.inf), weights)
    points = Savepoints(tmp_path / "cut", {}, every=0)
    for dies_after in (1, 3):
        with pytest.raises(Killed):
            _fit(Remembering, data, recipe, points, weights, dies_after)
    curves, scores, _, last, _ = _fit(Remembering, data, recipe, points, weights)
    assert (curves, scores) == whole[:2]
    assert all(torch.equal(last[key], whole[3][key]) for key in last)
    stepper = Stepper(
        Fabric(accelerator="cpu", devices=1), Remembering, None, data, recipe, 0, lambda losses, step: None
    )
    with fitted(stepper) as trained:
        for checkpoint in trained.checkpoints:
            trained.load(checkpoint)
            assert trained.method.steps == checkpoint.step


@pytest.mark.parametrize(
    ("value", "where"),
    [(deque(), r"state\(\)\['a'\] is a deque"), ([{"b": {1}}], r"state\(\)\['a'\]\[0\]\['b'\] is a set")],
)
def test_what_no_file_can_hold_is_refused_before_it_is_lost(value, where, data, recipe, weights, tmp_path):
    """A savepoint with it could be written, but not read."""
    method = type("Strange", (Remembering,), {"state": lambda self: {"a": value}})
    with pytest.raises(MethodError, match=rf"Strange\.{where}"):
        _fit(method, data, recipe, Savepoints(tmp_path, {}, every=0), weights)
    assert not list(tmp_path.glob("step-*"))
