"""The loop: the label guard's proof, determinism, equal starts and batches, every hook, and what must stop it."""

import gc
import inspect
import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from benchmark.common.errors import TrainingError
from benchmark.common.garbage import USUAL, while_loading, while_training
from benchmark.data import shards
from benchmark.data import store as store_module
from benchmark.data.store import open_store
from benchmark.training import trainer
from benchmark.training.confidence_sums import confidence_sums
from benchmark.training.config import TrainingConfig
from benchmark.training.fold_data import FoldData
from benchmark.training.loop import fitted
from benchmark.training.losses import LossBuffer
from benchmark.training.target_sample import look
from benchmark.training.trainer import Stepper, evaluate_part, state_of
from methods import registry
from methods.base import Method, MethodError, Needs

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = registry.available()
# One of each kind: what is proven here is the engine's part. Every method is held to the contract in test_conformance.
KINDS = sorted({method.needs: name for name, method in ALL.items() if not method.needs_series}.values())


@pytest.fixture(scope="module")
def source_model(data, recipe):
    """The weights that methods without source data start from."""
    state = _train(ALL["source-only"], data, recipe)
    return {name.removeprefix("network."): value for name, value in state.items()}


def _stepper(method, data, recipe, seed=0, log=lambda losses, step: None, weights=None):
    return Stepper(Fabric(accelerator="cpu", devices=1), method, None, data, recipe, seed, log, weights)


def _train(method, data, recipe, seed=0, log=lambda losses, step: None, weights=None):
    """All that the method holds in the end; one that learns from the test stream has seen it."""
    stepper = _stepper(method, data, recipe, seed, log, weights)
    with fitted(stepper) as trained:
        if method.needs is Needs.TEST_STREAM:
            stepper.stream(batch_size=2)
        return {name: value.clone() for name, value in state_of(trained.method).items()}


def _equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def _with_noise_for_masks(data, catalog, folder, parts, monkeypatch, seen=()):
    """The same fold over a store whose masks of some parts are noise."""
    spoilt, kept = (
        {str(patch) for part in names for patch in np.array(data.store.ids)[data.parts[part].rows]}
        for names in (parts, seen)
    )
    noisy = spoilt - kept
    read = shards.read_patches

    def spoil(catalog, rows):
        decoded = read(catalog, rows)
        if not noisy & set(rows["id"]):
            return decoded
        masks = np.random.default_rng(5).integers(0, 12, decoded.masks.shape).astype(np.uint8)
        return replace(decoded, masks=masks)

    monkeypatch.setattr(shards, "read_patches", spoil)
    store = open_store(catalog, folder)
    assert store.digest != data.store.digest and store.ids == data.store.ids
    return FoldData(store, data.parts, data.task)


@pytest.mark.parametrize("name", KINDS)
def test_target_masks_replaced_by_noise_change_nothing(
    name, data, catalog, recipe, source_model, tmp_path, monkeypatch
):
    """The label guard's proof; the bound reads target_adapt, and the few-label baseline its few patches, as they say,
    and nothing else."""
    method = ALL[name]
    hidden = ("target_test",) if method.needs is Needs.TARGET_LABELS else ("target_adapt", "target_test")
    seen = ("few",) if method.needs is Needs.FEW_TARGET_LABELS else ()
    blind = _with_noise_for_masks(data, catalog, tmp_path, hidden, monkeypatch, seen)
    weights = source_model if method.needs.starts_from_source else None
    assert _equal(_train(method, data, recipe, weights=weights), _train(method, blind, recipe, weights=weights))


def test_the_proof_can_fail(data, catalog, recipe, tmp_path, monkeypatch):
    blind = _with_noise_for_masks(data, catalog, tmp_path, ("target_adapt",), monkeypatch)
    assert not _equal(_train(ALL["oracle"], data, recipe), _train(ALL["oracle"], blind, recipe))
    blind = _with_noise_for_masks(data, catalog, tmp_path / "2", ("source_train",), monkeypatch)
    assert not _equal(_train(ALL["source-only"], data, recipe), _train(ALL["source-only"], blind, recipe))


@pytest.mark.parametrize("name", KINDS)
def test_target_masks_are_not_even_opened_while_training(name, data, recipe, source_model, monkeypatch):
    method = ALL[name]
    allowed = {"source_val", "target_adapt" if method.needs is Needs.TARGET_LABELS else "source_train"}
    allowed |= {"few"} if method.needs is Needs.FEW_TARGET_LABELS else set()
    rows = {row for part in allowed for row in data.parts[part].rows.tolist()}
    seen = set()
    read = store_module.Labels.read
    monkeypatch.setattr(store_module.Labels, "read", lambda self, rows: seen.update(rows.tolist()) or read(self, rows))
    with fitted(_stepper(method, data, recipe, weights=source_model if method.needs.starts_from_source else None)):
        assert seen and seen <= rows


@pytest.mark.parametrize("name", KINDS)
def test_the_same_seed_gives_the_same_bits(name, data, recipe, source_model):
    weights = source_model if ALL[name].needs.starts_from_source else None
    first = _train(ALL[name], data, recipe, weights=weights)
    torch.rand(7)  # what was drawn before must not matter
    assert _equal(first, _train(ALL[name], data, recipe, weights=weights))
    if ALL[name].needs.trains_on_labels:
        assert not _equal(first, _train(ALL[name], data, recipe, seed=1))


class Drawing(Method):
    """Notes what it starts from, what it sees and what it draws in its first step."""

    def setup(self):
        self.noted = {}
        self.head = nn.Linear(2, 2)
        self.noted["network"] = next(self.network.parameters()).detach().clone()
        self.noted["own module"] = self.head.weight.detach().clone()

    def losses(self, source, target, progress):
        own = torch.rand((), generator=self.generator("own"))
        here = {"images": source.images, "own draw": own, "global draw": torch.rand(())}
        self.noted = here | self.noted
        return {"segmentation": self.segmentation_loss(source)}


def test_another_seed_has_other_weights_batches_and_draws(data, recipe):
    """Else the spread over seeds would leave out what they share."""
    noted = []
    for seed in (0, 0, 1):
        with fitted(_stepper(Drawing, data, recipe, seed)) as trained:
            noted.append(trained.method.noted)
    first, again, other = noted
    assert {name for name in first if not torch.equal(first[name], again[name])} == set()
    assert {name for name in first if torch.equal(first[name], other[name])} == set() and len(first) == 5


@pytest.mark.parametrize("name", [name for name in KINDS if not ALL[name].needs.starts_from_source])
def test_images_are_normalised_by_what_the_source_is_like(name, data, recipe):
    images = data.store.read(data.parts["source_train"].rows).astype(np.float64)
    network = _stepper(ALL[name], data, recipe).method.network
    assert network.mean.flatten().tolist() == pytest.approx(images.mean((0, 2, 3)), rel=1e-5)
    assert network.std.flatten().tolist() == pytest.approx(images.std((0, 2, 3)), rel=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, method in ALL.items()
        if method.needs in (Needs.SOURCE_LABELS, Needs.TARGET_IMAGES) and not method.needs_series
    ],
)
def test_every_method_of_a_seed_starts_alike_and_sees_the_same_batches(name, data, recipe, monkeypatch):
    def first_images(method):
        seen = []
        original = method.step_losses

        def spy(self, source, target, progress):
            seen.append((source.images.clone(), next(self.network.parameters()).detach().clone()))
            return original(self, source, target, progress)

        monkeypatch.setattr(method, "step_losses", spy)
        _train(method, data, recipe)
        monkeypatch.undo()
        return seen

    mine, control = first_images(ALL[name]), first_images(ALL["source-only"])
    assert torch.equal(mine[0][1], control[0][1])
    if ALL[name].sampling_weights is Method.sampling_weights:
        assert all(torch.equal(a[0], b[0]) for a, b in zip(mine, control, strict=True))


class Sabotage(Method):
    """Its loss is not a number from step 2 on."""

    def losses(self, source, target, progress):
        return {"segmentation": self.segmentation_loss(source) * (float("nan") if progress.step >= 2 else 1)}


def test_a_loss_that_is_no_number_is_named_with_its_step(data, recipe):
    with pytest.raises(TrainingError, match="the segmentation loss is nan at step 2"):
        _train(Sabotage, data, recipe)


class Everything(Method):
    """Uses each hook, and notes it."""

    needs = Needs.TARGET_IMAGES

    def setup(self):
        self.noted = ["setup"]
        self.head = nn.Linear(2, 2)
        nn.init.ones_(self.head.weight)

    def sampling_weights(self, class_pixels):
        assert class_pixels.shape[1] == len(self.task.classes) and class_pixels.sum() > 0
        self.noted.append("weights")
        return torch.eye(len(class_pixels))[0]

    def fuse(self, stage, features):
        self.noted.append(f"fuse {stage}")
        return features

    def validate(self, loss_of, progress):
        assert loss_of(self.predict) > 0
        self.noted.append("validate")

    def augment(self, source, target, progress):
        self.noted.append("augment")
        return replace(source, images=source.images * 0), target

    def perturb(self, stage, features):
        self.noted.append(f"perturb {stage}")
        return features

    def losses(self, source, target, progress):
        self.noted.append("losses")
        assert source.images.abs().sum() == 0 and target is not None
        assert not any(parameter.requires_grad for parameter in self.second_network.parameters())
        return {"segmentation": self.segmentation_loss(source), "head": self.head.weight.square().sum()}

    def make_second_network(self):
        return nn.Linear(1, 1)

    def second_losses(self, progress):
        self.noted.append("second")
        return {"second": self.second_network(torch.ones(1, 1)).sum()}

    def after_step(self, progress):
        self.noted.append("after")

    def predict(self, batch):
        self.noted.append("predict")
        return self.network(batch)


def test_every_hook_is_called_in_its_place(data, recipe):
    fabric = Fabric(accelerator="cpu", devices=1)
    logged = []
    stepper = Stepper(
        fabric, Everything, None, data, recipe, 0, lambda losses, step: logged.append((step, set(losses)))
    )
    with fitted(stepper) as trained:
        noted = trained.method.noted
    stages = [f"{hook} {stage}" for stage in ("stage1", "stage2") for hook in ("fuse", "perturb")]
    step = ["augment", "losses", *stages, "second", "after"]
    look = ["predict", "fuse stage1", "fuse stage2"]  # four steps are fewer than the validations: one after each
    assert noted[: 2 + len(step) + 4] == ["setup", "weights", *step, *look, "validate"]
    assert noted.count("validate") == 4
    second = noted[2 + len(step) + 4 + len(step) :]
    assert second[:7] == [*look, "validate", *look], "the second step ends with a validation, then a checkpoint"
    assert not any(hook.startswith("perturb") for hook in second[: second.index("augment")])
    assert state_of(trained.method)["head.weight"].sum() < 3.99, "what the method made is trained with the network"
    losses = [(step, names) for step, names in logged if "source_val/miou" not in names]
    assert losses == [(k, {f"train/loss/{name}" for name in ("segmentation", "head", "second")}) for k in range(4)]
    assert [step for step, names in logged if "source_val/miou" in names] == [2, 4]


class Plain(Method):
    def losses(self, source, target, progress):
        return {"segmentation": self.segmentation_loss(source)}


class Apart(Plain):
    """Says class 0 of the source, and class 1 of everything else."""

    def predict(self, batch):
        return torch.stack([0 * batch.images[:, 0] + (index == 1) for index in range(len(self.task.classes))], 1)

    def predict_source(self, batch):
        return self.predict(batch).roll(-1, 1)


def test_source_validation_may_be_predicted_apart(data, recipe):
    fabric = Fabric(accelerator="cpu", devices=1)
    method = Stepper(fabric, Apart, None, data, recipe, 0, lambda losses, step: None).method
    for part, said in (("source_val", 0), ("target_test", 1), ("target_adapt", 1)):
        predicted = evaluate_part(fabric, method, data, part).total()[:-1].sum(0)
        assert predicted.nonzero()[0].tolist() == [said]
    evidence = look(fabric, method, data, 0).evidence
    assert (evidence.source.argmax(1) == 0).all() and (evidence.target.argmax(1) == 1).all()


class Detached(Plain):
    def losses(self, source, target, progress):
        return super().losses(source, target, progress) | {"extra": self.network(source).mean().detach()}


class OfTheImagesAlone(Plain):
    """The gradient of its second loss ends at the images."""

    def losses(self, source, target, progress):
        return super().losses(source, target, progress) | {"extra": source.images.requires_grad_().mean()}


class OfTheFrozen(Plain):
    """Its optimiser has only the head."""

    def optimizer(self):
        return torch.optim.SGD(self.network.model.segmentation_head.parameters(), lr=0.1)

    def losses(self, source, target, progress):
        return super().losses(source, target, progress) | {"extra": next(self.network.parameters()).square().sum()}


class OfTheFirst(Plain):
    """The loss of the second network is one of the first."""

    def make_second_network(self):
        return nn.Linear(1, 1)

    def second_losses(self, progress):
        return {"extra": next(self.network.parameters()).square().sum()}


@pytest.mark.parametrize(
    ("method", "hook"),
    [
        (Detached, "losses"),
        (OfTheImagesAlone, "losses"),
        (OfTheFrozen, "losses"),
        (OfTheFirst, "second_losses"),
    ],
)
def test_a_loss_that_teaches_nothing_is_told_at_the_first_step(method, hook, data, recipe):
    stepper, line = _stepper(method, data, recipe), inspect.getsourcelines(getattr(method, hook))[1]
    where = rf"{method.__name__}\.{hook}\(\) \(test_trainer\.py:{line}\): the extra loss is detached"
    with pytest.raises(MethodError, match=where), fitted(stepper):
        pass
    assert stepper.method.progress.step == 0


class WarmsUp(Plain):
    """Its second loss is the constant 0 for a while."""

    def losses(self, source, target, progress):
        extra = self.network(source).square().mean() if progress.step > 1 else torch.zeros(())
        return super().losses(source, target, progress) | {"extra": extra}


def test_a_loss_that_is_0_for_a_while_is_no_mistake(data, recipe):
    with fitted(_stepper(WarmsUp, data, recipe)) as trained:
        assert len(trained.checkpoints) == 2


class TwoPasses(Plain):
    def losses(self, source, target, progress):
        extra = self.network(source).square().mean() / 100
        return super().losses(source, target, progress) | {"extra": extra}


class OneAfterTheOther(Plain):
    def losses(self, source, target, progress):
        loss = self.segmentation_loss(source)
        learned = self.learn(loss)
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward()  # nothing is kept for it
        assert not learned.requires_grad and learned == loss
        return {"segmentation": learned, "extra": self.network(source).square().mean() / 100}


class AllAtOnce(TwoPasses):
    def losses(self, source, target, progress):
        losses = super().losses(source, target, progress)
        return {name: self.learn(loss) for name, loss in losses.items()}


class LearnsNothing(Plain):
    def losses(self, source, target, progress):
        return {"segmentation": self.learn(self.segmentation_loss(source).detach())}


@pytest.mark.parametrize("method", [OneAfterTheOther, AllAtOnce])
def test_losses_that_are_learned_one_after_the_other_teach_as_their_sum_does(method, data, recipe):
    logged, states = ([], []), []
    for kind, log in zip((TwoPasses, method), logged, strict=True):
        states.append(_train(kind, data, recipe, log=lambda values, step, log=log: log.append((step, values))))
    assert _equal(*states) and logged[0] == logged[1]


def test_a_loss_that_is_learned_at_once_and_teaches_nothing_is_told(data, recipe):
    match = r"LearnsNothing\.losses\(\) .*: the learned loss is detached"
    with pytest.raises(MethodError, match=match), fitted(_stepper(LearnsNothing, data, recipe)):
        pass


class Coarse(Plain):
    """Its logits are of half of the size."""

    def predict(self, batch):
        return self.network(batch)[..., ::2, ::2]


class CoarseStream(Coarse):
    needs = Needs.TEST_STREAM


class CoarseLook(Plain):
    def validate(self, loss_of, progress):
        loss_of(lambda batch: self.network(batch)[..., ::2, ::2])


@pytest.mark.parametrize("method", [Coarse, CoarseStream, CoarseLook])
def test_a_prediction_of_a_wrong_shape_is_told(method, data, recipe):
    with pytest.raises(MethodError, match=r"\.predict\(\) .*of shape \(\d+, 12, 16, 16\); expected .*, 12, 32, 32\)"):
        _train(method, data, recipe)


class Probe(Plain):
    """A head with an optimiser of its own, which says what the features know and teaches the network nothing."""

    def make_second_network(self):
        return nn.Conv2d(len(self.task.classes), 1, kernel_size=1)

    def second_optimizer(self, parameters):
        return torch.optim.SGD(parameters, lr=0.5)

    def losses(self, source, target, progress):
        logits = self.network(source)
        self.kept = logits.detach(), source.images[:, :1] / 255
        return {"segmentation": self.segmentation_loss(source, logits)}

    def second_losses(self, progress):
        logits, light = self.kept
        return {"light": (self.second_network(logits) - light).square().mean()}


def test_a_head_that_learns_apart_has_its_own_optimiser(data, recipe):
    stepper = _stepper(Probe, data, recipe)
    before = stepper.method.second_network.weight.detach().clone()
    with fitted(stepper) as trained:
        assert not torch.equal(before, stepper.method.second_network.weight)
        mine = {name: value.clone() for name, value in state_of(trained.method).items()}
    assert not any(name.startswith("second_network") for name in mine)
    assert _equal(mine, _train(Plain, data, recipe))


class Smooth(Plain):
    """A penalty of long gradients, through a module of its own."""

    def setup(self):
        self.head = nn.Conv2d(len(self.task.classes), len(self.task.classes), kernel_size=1)

    def losses(self, source, target, progress):
        logits = self.head(self.network(source))
        assert logits.dtype is torch.float32, "what a module gives is of full precision"
        segmentation = self.segmentation_loss(source, logits)
        slopes = self.gradients(segmentation, self.head.parameters(), create_graph=True)
        return {"segmentation": segmentation, "penalty": sum(slope.square().sum() for slope in slopes)}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_loss_may_hold_gradients(precision, data, recipe):
    losses = []
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    stepper = Stepper(fabric, Smooth, None, data, recipe, 0, lambda metrics, step: losses.append(metrics))
    with fitted(stepper):
        assert losses[0]["train/loss/penalty"] > 0


def test_of_many_steps_every_nth_loss_is_logged_and_every_loss_is_looked_at():
    assert [replace(TrainingConfig(), steps=steps).curve_every for steps in (4, 1999, 2000, 475_000)] == [1, 1, 2, 475]
    logged = []
    losses = LossBuffer(lambda metrics, step: logged.append((step, metrics)), every=3)
    for step in range(25):
        losses.add({"one": torch.tensor(float(step))}, step)
    losses.flush()
    assert logged == [(step, {"train/loss/one": float(step)}) for step in range(0, 25, 3)]
    losses.add({"one": torch.tensor(math.nan)}, 25)
    with pytest.raises(TrainingError, match="the one loss is nan at step 25"):
        losses.flush()


def test_garbage_is_looked_for_as_usual_where_something_is_trained(data, recipe):
    while_loading()
    try:
        _stepper(ALL["source-only"], data, recipe)
        assert gc.get_threshold() == USUAL
    finally:
        while_training()


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux is asked to keep memory")
def test_the_memory_of_a_batch_is_kept_for_the_next():
    """Each page of memory that the system gives is a fault; a kept block has none."""
    batches = """
import resource, numpy, torch
from benchmark.common.garbage import while_training
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def make():
    before = faults()
    for _ in range(5):
        torch.from_numpy(numpy.ones((64, 5, 128, 128), numpy.uint8)).float()
    return faults() - before
print(make())
while_training()
make(), make()
print(make())
"""
    found = subprocess.run([sys.executable, "-c", batches], capture_output=True, text=True, check=True).stdout.split()
    returned, kept = map(int, found)
    assert kept < returned / 2


def test_checkpoints_are_spread_evenly_and_can_be_put_back(data, recipe):
    fabric = Fabric(accelerator="cpu", devices=1)
    stepper = Stepper(fabric, ALL["source-only"], None, data, recipe, 0, lambda losses, step: None)
    with fitted(stepper) as trained:
        assert [checkpoint.step for checkpoint in trained.checkpoints] == [2, 4]
        last = {name: value.clone() for name, value in state_of(trained.method).items()}
        trained.load(trained.checkpoints[0])
        assert not _equal(last, state_of(trained.method))
        first = evaluate_part(fabric, trained.method, data, "source_val")
        assert first.loss == trained.checkpoints[0].source_val.loss
        trained.load(trained.checkpoints[1])
        assert _equal(last, state_of(trained.method))
        assert trained.images == 4 * 2 and trained.seconds > 0


@pytest.mark.parametrize(
    "changes", [{"optimizer": "sgd", "schedule": "plateau"}, {"schedule": "constant"}, {"crop": 16}]
)
def test_other_recipes_train_too(changes, data, recipe):
    assert not _equal(
        _train(ALL["source-only"], data, recipe), _train(ALL["source-only"], data, replace(recipe, **changes))
    )


def _rates(method, data, recipe):
    """The learning rate of each step."""
    stepper, rates = _stepper(method, data, recipe), []
    step_of = stepper.step

    def step(*batches):
        rates.append(stepper._optimizer.param_groups[0]["lr"])
        step_of(*batches)

    stepper.step = step
    with fitted(stepper):
        return rates


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_optimizer_has_the_values_of_the_recipe(name, data, recipe):
    changed = replace(recipe, optimizer=name, weight_decay=0.3, momentum=0.7, schedule="constant")
    (group,) = _stepper(ALL["source-only"], data, changed)._optimizer.param_groups
    assert group["weight_decay"] == 0.3 and group["lr"] == recipe.learning_rate
    assert group.get("momentum", 0.7) == 0.7


def test_one_cycle_rises_to_the_learning_rate_and_falls(data, recipe):
    rates = _rates(ALL["source-only"], data, replace(recipe, schedule="one-cycle", steps=40))
    highest = int(np.argmax(rates))
    assert 4 <= highest <= 7 and rates[highest] == pytest.approx(recipe.learning_rate, rel=0.05)
    assert all(a < b for a, b in pairwise(rates[: highest + 1]))
    assert all(a > b for a, b in pairwise(rates[highest:]))
    assert 0 < rates[-1] < rates[0] < recipe.learning_rate / 20


def test_a_method_may_keep_its_rate_whatever_the_schedule(data, recipe):
    assert len(set(_rates(ALL["source-only"], data, recipe))) == 4
    assert set(_rates(ALL["swad"], data, recipe)) == {ALL["swad"].Hyperparameters().learning_rate}


class Looking(Method):
    """Counts the patches that its validations see."""

    validations = 3

    def setup(self):
        self.seen = []

    def validate(self, loss_of, progress):
        count = []
        loss_of(lambda batch: count.append(len(batch.images)) or self.predict(batch))
        self.seen.append((progress.step, sum(count)))

    def losses(self, source, target, progress):
        return {"segmentation": self.segmentation_loss(source)}


def test_validations_are_spread_evenly_and_look_at_a_sample(data, recipe, monkeypatch):
    monkeypatch.setattr("benchmark.training.trainer.VALIDATION_PATCHES", 1)
    with fitted(_stepper(Looking, data, replace(recipe, steps=6))) as trained:
        assert trained.method.seen == [(2, 1), (4, 1), (6, 1)]


class Peeking(Method):
    """Looks once, at the end."""

    validations = 1

    def validate(self, loss_of, progress):
        self.loss = loss_of(self.predict)

    def losses(self, source, target, progress):
        return {"segmentation": self.segmentation_loss(source)}


def test_what_a_method_looks_at_is_its_prediction_of_source_validation(data, recipe):
    with fitted(_stepper(Peeking, data, recipe)) as trained:
        assert trained.method.loss == trained.checkpoints[-1].source_val.loss


def test_on_a_plateau_a_bound_follows_zones_that_it_is_not_trained_on(data, recipe, monkeypatch):
    """Source validation, which the target's labels say nothing of, must not set its rate."""
    pool = data.parts["target_adapt"]
    part = pool.take(np.arange(4) % len(pool.rows))
    zones = np.array([f"{part.domains[0]}|zone {number}" for number in range(4)])
    part = replace(part, domains=np.repeat(part.domains[:1], 4), zones=zones)
    fold = replace(data, parts=data.parts | {"target_adapt": part})
    trained_on, held_back = fold.split_bound()
    assert held_back.zones.tolist() == zones[3:].tolist() and trained_on.zones.tolist() == zones[:3].tolist()
    stepper = _stepper(ALL["oracle"], fold, replace(recipe, schedule="plateau"))
    losses = []
    monkeypatch.setattr(stepper._scheduler, "step", losses.append)
    with fitted(stepper) as trained:
        source_losses = [checkpoint.source_val.loss for checkpoint in trained.checkpoints]
        last = stepper._loss_on(held_back, trained.method.predict)
    assert len(losses) == 2 and losses[1] == pytest.approx(last, rel=0.2) and losses != source_losses


def test_where_no_domain_has_four_zones_a_bound_is_trained_on_all(data):
    pool = data.parts["target_adapt"]
    three = replace(pool, zones=np.array([f"{name}|{number % 3}" for number, name in enumerate(pool.domains)]))
    trained_on, held_back = replace(data, parts=data.parts | {"target_adapt": three}).split_bound()
    assert trained_on.rows.tolist() == held_back.rows.tolist() == pool.rows.tolist()


def test_a_method_that_changes_features_needs_an_encoder_with_stages(data, recipe):
    network = replace(recipe.network, encoder="vgg11", encoder_depth=3, decoder_channels=(8, 8, 8))
    with pytest.raises(TrainingError, match=r"MixStyle changes features between the stages .* vgg11 are unknown"):
        _train(ALL["mix-style"], data, replace(recipe, network=network))


class Noting(Method):
    """Draws from both generators at every batch of the stream."""

    needs = Needs.TEST_STREAM

    def setup(self):
        self.drawn = []

    def predict(self, batch):
        own = torch.rand((), generator=self.generator("own"))
        self.drawn.append((self.progress.step, self.progress.steps, own.item(), torch.rand(()).item()))
        return super().predict(batch)


def test_the_draws_of_a_stream_are_addressed_by_its_batches(data, recipe):
    def drawn():
        stepper = _stepper(Noting, data, recipe)
        stepper.stream(batch_size=2)
        return stepper.method.drawn

    once, batches = drawn(), -(-len(data.parts["target_test"].rows) // 2)
    assert [draw[:2] for draw in once[::2]] == [(number, batches) for number in range(batches)]
    assert once == drawn(), "whatever was drawn before the stream"
    assert [len({draw[kind] for draw in once}) for kind in (2, 3)] == [batches, 2 * batches]


@pytest.mark.parametrize("order", ["place", "shuffled", "recurring"])
def test_the_stream_comes_in_the_order_of_the_recipe(order, data, recipe, monkeypatch):
    """In the tiny world all orders are the same, so another one is put in its place."""
    monkeypatch.setattr(trainer, "arrival", lambda part, asked, seed: asked == order and seed == 5 and [np.array([1])])
    stepper = _stepper(Noting, data, replace(recipe, stream_order=order), seed=5)
    assert stepper.stream(batch_size=2).before.total().sum() == data.store.size**2


@pytest.mark.parametrize("needs", list(Needs))
def test_the_temperature_is_of_a_network_that_its_method_knows_source_data_of(data, needs):
    """What trains from a source model has none; before the test stream the network is the source model."""
    fabric, method = Fabric(accelerator="cpu", devices=1), SimpleNamespace(needs=needs)
    confidence = confidence_sums(fabric, method, data, 1.5).confidence()
    assert (confidence.temperature == 1.5) == (needs is not Needs.SOURCE_MODEL)
    assert len(confidence.pixels) == len(set(data.parts["target_test"].zones))
