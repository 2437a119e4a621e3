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

NOW = Progress(0, 1)


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
    assert {field.name for field in fields(TargetBatch)} == {"images", "metadata", "origin", "series"}
    with pytest.raises(AttributeError, match=r"has no labels, but .*; a method never sees labels of the target"):
        print(TargetBatch.of(torch.zeros(1, 2, 4, 4)).labels)
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


@pytest.mark.parametrize(
    ("given", "came"),
    [
        ({}, "an empty dict"),
        (None, "None"),
        (torch.ones(()), r"a tensor of shape \(\)"),
        ([torch.ones(())], "a list"),
        ({0: torch.ones(())}, "a loss called 0"),
    ],
)
@pytest.mark.parametrize("hook", ["losses", "second_losses"])
def test_what_is_no_dictionary_of_losses_is_told_with_its_hook_and_line(given, came, hook, network, task, source):
    careless = type("Careless", (Plain,), {hook: lambda self, *given_to_it: given})
    method, line = careless(network, task), getattr(careless, hook).__code__.co_firstlineno
    expected = rf"Careless\.{hook}\(\) \(test_base\.py:{line}\) returned {came}; expected a dictionary of named scalar"
    with pytest.raises(MethodError, match=expected):
        method.second_step_losses(NOW) if hook == "second_losses" else method.step_losses(source, None, NOW)


@pytest.mark.parametrize(
    ("loss", "came"),
    [
        (1.0, "a float"),
        (torch.ones(2), r"a tensor of shape \(2,\)"),
        (torch.ones((), dtype=torch.int64), r"an int64 tensor of shape \(\)"),
    ],
)
def test_a_loss_is_a_scalar_tensor(loss, came, network, task, source):
    careless = type("Careless", (Plain,), {"losses": lambda self, source, target, progress: {"extra": loss}})
    with pytest.raises(MethodError, match=rf"Careless\.losses\(\) .*: the extra loss is {came}; expected"):
        careless(network, task).step_losses(source, None, NOW)


def test_augment_gives_two_batches(network, task, source):
    forgetful = type("Forgetful", (Plain,), {"augment": lambda self, source, target, progress: None})
    with pytest.raises(MethodError, match=r"Forgetful\.augment\(\) .* returned None; expected \(source, target\)"):
        forgetful(network, task).step_losses(source, None, NOW)


@pytest.mark.parametrize(
    ("change", "came"),
    [
        (lambda logits: logits.argmax(1), r"an int64 tensor of shape \(4, 32, 32\)"),
        (lambda logits: logits[..., ::2, ::2], r"a tensor of shape \(4, 3, 16, 16\)"),
        (lambda logits: logits.long(), r"an int64 tensor of shape \(4, 3, 32, 32\)"),
        (lambda logits: (logits, None), "a tuple"),
        (lambda logits: None, "None"),
    ],
)
def test_a_prediction_is_one_number_for_each_class_and_pixel(change, came, network, task, target):
    careless = type("Careless", (Plain,), {"predict": lambda self, batch: change(self.network(batch))})
    expected = rf"Careless\.predict\(\) \(test_base.py:\d+\) returned {came}; expected .* of shape \(4, 3, 32, 32\)"
    with pytest.raises(MethodError, match=expected):
        careless(network, task).checked_logits(target)
    plain = Plain(network, task)
    assert torch.equal(plain.eval().checked_logits(target), network(target))


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
