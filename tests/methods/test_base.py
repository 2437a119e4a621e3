"""The contract: sealed entrances, the label guard's types, hyperparameters, the loss."""

from dataclasses import dataclass, fields, replace

import pytest
import torch

from methods.base import (
    IGNORE,
    Method,
    MethodError,
    Needs,
    Progress,
    TargetBatch,
    Task,
    choice,
    make_hyperparameters,
    switch,
    tunable,
)
from methods.parts.origin import Origin


class Plain(Method):
    """Cross-entropy, with hyperparameters to set."""

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(0.5, low=0.1, high=1.0)
        width: int = tunable(4, low=1, high=8)
        maps: str = choice("softmax", ("softmax", "entropy"))

    def losses(self, source, target, progress):
        return {"segmentation": self.segmentation_loss(source)}


def test_a_target_batch_has_no_place_for_labels():
    assert {field.name for field in fields(TargetBatch)} == {"images", "metadata", "origin"}
    assert {field.name for field in fields(Origin)} == {"pool", "positions", "zones", "domains", "images", "cut"}


def test_sealed_methods_cannot_be_overridden():
    with pytest.raises(MethodError, match=r"sealed method step_losses\(\)"):
        type("Sly", (Plain,), {"step_losses": lambda self: None})


def test_a_method_that_did_not_ask_for_target_images_is_not_given_any(network, task, source, target):
    with pytest.raises(MethodError, match="source labels"):
        Plain(network, task).step_losses(source, target, Progress(0, 1))


def test_a_method_that_asked_for_target_images_must_get_them(network, task, source):
    greedy = type("Greedy", (Plain,), {"needs": Needs.TARGET_IMAGES})
    with pytest.raises(MethodError, match="target images"):
        greedy(network, task).step_losses(source, None, Progress(0, 1))


def test_losses_must_come_back(network, task, source):
    lazy = type("Lazy", (Plain,), {"losses": lambda self, source, target, progress: {}})
    with pytest.raises(MethodError, match="nothing"):
        lazy(network, task).step_losses(source, None, Progress(0, 1))


@pytest.mark.parametrize(
    ("loss", "told"), [(1.0, "the extra loss is no scalar tensor, but a float"), (torch.ones(2), r"of shape \(2,\)")]
)
def test_a_loss_is_a_scalar_tensor(loss, told, network, task, source):
    careless = type("Careless", (Plain,), {"losses": lambda self, source, target, progress: {"extra": loss}})
    with pytest.raises(MethodError, match=told):
        careless(network, task).step_losses(source, None, Progress(0, 1))


def test_the_segmentation_loss_is_the_mean_over_valid_pixels(network, task, source):
    labels = source.labels.clone()
    labels[:, :16] = IGNORE
    batch = replace(source, labels=labels)
    logits = network(source)
    expected = torch.nn.functional.cross_entropy(logits[:, :, 16:], source.labels[:, 16:])
    torch.testing.assert_close(Plain(network, task).segmentation_loss(batch), expected)
    torch.testing.assert_close(Plain(network, task).segmentation_loss(batch, logits), expected)


def test_a_batch_without_a_valid_pixel_costs_nothing(network, task, source):
    empty = replace(source, labels=torch.full_like(source.labels, IGNORE))
    loss = Plain(network, task).segmentation_loss(empty)
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(network.model.segmentation_head.weight.grad).all()


def test_draws_depend_on_seed_purpose_and_step_alone(network, task):
    def draw(seed, purpose, step):
        method = Plain(network, task, seed=seed)
        method.progress = Progress(step, 10)
        return torch.rand(3, generator=method.generator(purpose)).tolist()

    assert draw(0, "mask", 4) == draw(0, "mask", 4)
    others = [draw(1, "mask", 4), draw(0, "crop", 4), draw(0, "mask", 5)]
    assert draw(0, "mask", 4) not in others and len({tuple(other) for other in others}) == 3


def test_hyperparameters_are_read_from_text():
    values = make_hyperparameters(Plain, {"weight": "0.25", "width": "2", "maps": "entropy"})
    assert (values.weight, values.width, values.maps) == (0.25, 2, "entropy")


def test_a_truth_value_is_read_from_text():
    class Switched(Plain):
        @dataclass(frozen=True)
        class Hyperparameters:
            warm: bool = switch(True)

    assert make_hyperparameters(Switched, {"warm": "False"}).warm is False
    with pytest.raises(MethodError, match="takes true or false, not 'no'"):
        make_hyperparameters(Switched, {"warm": "no"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wight": "1"}, "weight, width, maps"),
        ({"width": "wide"}, "takes a whole number, not 'wide'"),
        ({"maps": "softmin"}, "one of softmax, entropy"),
        ({"weight": "nan"}, "takes a finite number, not 'nan'"),
    ],
)
def test_wrong_hyperparameters_name_what_is_allowed(given, message):
    with pytest.raises(MethodError, match=message):
        make_hyperparameters(Plain, given)


def test_a_height_band_holds_no_light():
    assert Task(("a", "b"), ("red", "green", "blue", "nir", "height")).radiometric_bands == [0, 1, 2, 3]


def test_only_the_oracle_sees_target_labels():
    assert [need for need in Needs if need.is_bound] == [Needs.TARGET_LABELS]


def test_who_builds_on_the_control_is_not_the_control():
    control = type("Control", (Plain,), {"is_control": True})
    assert control.is_control and not type("Heir", (control,), {}).is_control
    shown = type("Shown", (Plain,), {"is_target_control": True, "control_for": "one thing"})
    heir = type("Heir", (shown,), {})
    assert shown.is_target_control and not heir.is_target_control and heir.control_for == ""
