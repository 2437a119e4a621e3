"""The loop: the label guard's proof, determinism, equal starts and batches, every hook, and what must stop it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from benchmark.data import shards
from benchmark.data import store as store_module
from benchmark.data.store import open_store
from benchmark.errors import TrainingError
from benchmark.training import FoldData, Stepper, evaluate_part, fitted
from methods import registry
from methods.base import Method, Needs

ALL = registry.available()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _train(method, data, recipe, seed=0, log=lambda losses, step: None):
    """The final weights, and the losses logged."""
    fabric = Fabric(accelerator="cpu", devices=1)
    with fitted(Stepper(fabric, method, None, data, recipe, seed, log)) as trained:
        return {name: value.clone() for name, value in trained.network.state_dict().items()}


def _equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def _with_noise_for_masks(data, catalog, folder, parts, monkeypatch):
    """The same fold over a store whose masks of some parts are noise."""
    noisy = {str(id_) for part in parts for id_ in np.array(data.store.ids)[data.parts[part].rows]}
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


@pytest.mark.parametrize("name", ALL)
def test_target_masks_replaced_by_noise_change_nothing(name, data, catalog, recipe, tmp_path, monkeypatch):
    """The label guard's proof, over every method; the bound reads target_adapt, as it says, and nothing else."""
    method = ALL[name]
    hidden = ("target_test",) if method.needs is Needs.TARGET_LABELS else ("target_adapt", "target_test")
    blind = _with_noise_for_masks(data, catalog, tmp_path, hidden, monkeypatch)
    assert _equal(_train(method, data, recipe), _train(method, blind, recipe))


def test_the_proof_can_fail(data, catalog, recipe, tmp_path, monkeypatch):
    blind = _with_noise_for_masks(data, catalog, tmp_path, ("target_adapt",), monkeypatch)
    assert not _equal(_train(ALL["oracle"], data, recipe), _train(ALL["oracle"], blind, recipe))
    blind = _with_noise_for_masks(data, catalog, tmp_path / "2", ("source_train",), monkeypatch)
    assert not _equal(_train(ALL["source-only"], data, recipe), _train(ALL["source-only"], blind, recipe))


@pytest.mark.parametrize("name", ALL)
def test_target_masks_are_not_even_opened_while_training(name, data, recipe, monkeypatch):
    method = ALL[name]
    allowed = {"source_val", "target_adapt" if method.needs is Needs.TARGET_LABELS else "source_train"}
    rows = {row for part in allowed for row in data.parts[part].rows.tolist()}
    seen = set()
    read = store_module.Labels.read
    monkeypatch.setattr(store_module.Labels, "read", lambda self, rows: seen.update(rows.tolist()) or read(self, rows))
    _train(method, data, recipe)
    assert seen and seen <= rows


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_bits(name, data, recipe):
    first = _train(ALL[name], data, recipe)
    torch.rand(7)  # what was drawn before must not matter
    assert _equal(first, _train(ALL[name], data, recipe))
    assert not _equal(first, _train(ALL[name], data, recipe, seed=1))


@pytest.mark.parametrize("name", sorted(set(ALL) - {"oracle"}))
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

    def __init__(self, *arguments):
        self.noted = []
        super().__init__(*arguments)

    def prepare(self, network):
        self.noted.append("prepare")
        return network

    def augment(self, source, target, progress):
        self.noted.append("augment")
        return replace(source, images=source.images * 0), target

    def perturb(self, stage, features):
        self.noted.append(f"perturb {stage}")
        return features

    def losses(self, source, target, progress):
        self.noted.append("losses")
        assert source.images.abs().sum() == 0 and target is not None
        assert not any(parameter.requires_grad for parameter in self.discriminator.parameters())
        return {"segmentation": self.segmentation_loss(source)}

    def adversary(self):
        return nn.Linear(1, 1)

    def adversary_losses(self, progress):
        self.noted.append("adversary")
        return {"adversary": self.discriminator(torch.ones(1, 1)).sum()}

    def after_step(self, progress):
        self.noted.append("after")

    def predict(self, images):
        self.noted.append("predict")
        return self.network(images)


def test_every_hook_is_called_in_its_place(data, recipe):
    fabric = Fabric(accelerator="cpu", devices=1)
    logged = []
    stepper = Stepper(
        fabric, Everything, None, data, recipe, 0, lambda losses, step: logged.append((step, set(losses)))
    )
    with fitted(stepper) as trained:
        noted = trained.method.noted
    step = ["augment", "losses", "perturb stage1", "perturb stage2", "adversary", "after"]
    assert noted[: 1 + 2 * len(step)] == ["prepare", *step, *step]
    assert "predict" in noted
    losses = [(step, names) for step, names in logged if "source_val/miou" not in names]
    assert losses == [(k, {"train/loss/segmentation", "train/loss/adversary"}) for k in range(4)]
    assert [step for step, names in logged if "source_val/miou" in names] == [2, 4]


def test_checkpoints_are_spread_evenly_and_can_be_put_back(data, recipe):
    fabric = Fabric(accelerator="cpu", devices=1)
    stepper = Stepper(fabric, ALL["source-only"], None, data, recipe, 0, lambda losses, step: None)
    with fitted(stepper) as trained:
        assert [checkpoint.step for checkpoint in trained.checkpoints] == [2, 4]
        last = {name: value.clone() for name, value in trained.network.state_dict().items()}
        trained.load(trained.checkpoints[0])
        assert not _equal(last, trained.network.state_dict())
        first = evaluate_part(fabric, trained.method, data, "source_val")
        assert first.loss == trained.checkpoints[0].source_val.loss
        trained.load(trained.checkpoints[1])
        assert _equal(last, trained.network.state_dict())
        assert trained.images == 4 * 2 and trained.seconds > 0


@pytest.mark.parametrize(
    "changes", [{"optimizer": "sgd", "schedule": "plateau"}, {"schedule": "constant"}, {"crop": 16}]
)
def test_other_recipes_train_too(changes, data, recipe):
    assert not _equal(
        _train(ALL["source-only"], data, recipe), _train(ALL["source-only"], data, replace(recipe, **changes))
    )
