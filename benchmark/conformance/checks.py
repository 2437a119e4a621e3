"""The checks: each returns what it measured or nothing, or raises `Failed` or `NotApplicable` with the reason.

A check never looks at what the method is called, only at what it declares.
"""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from benchmark.conformance.attributes import differing_attributes
from benchmark.conformance.cost import cost_of
from benchmark.conformance.fixtures import STEPS, train
from benchmark.conformance.subject import Subject, first_batches, predict_of, work
from benchmark.conformance.world import CLASSES
from benchmark.training.devices import make_fabric
from benchmark.training.trainer import NETWORK, Stepper, load_state, state_of
from methods.base import IGNORE, Needs, SourceBatch, TargetBatch


class Failed(Exception):  # noqa: N818 - the outcome of a check, as the table words it
    """A violation of the contract."""


class NotApplicable(Exception):  # noqa: N818
    """The reason why a check says nothing of this method."""


def losses_are_finite(subject: Subject) -> None:
    """Check that a training logs losses, all finite."""
    logged: dict[str, float] = {}
    subject.trained(log=lambda metrics, step: logged.update(metrics))  # the engine raises where one is not
    if not logged and subject.method.needs is not Needs.TEST_STREAM:
        raise Failed("no loss came back")


def trains_what_it_says(subject: Subject) -> str:
    """Check that the weights that require a gradient move, and no others of the network."""
    old, new = (dict(stepper.method.named_parameters()) for stepper in (subject.stepper(), subject.reference))
    moved = {name for name, value in old.items() if not torch.equal(value, new[name])}
    meant = {name for name, value in old.items() if value.requires_grad}
    if still := sorted(meant - moved):
        raise Failed(f"{len(still)} of {len(meant)} weights that require a gradient do not move, such as {still[0]}")
    if strange := sorted(name for name in moved - meant if name.startswith(NETWORK)):
        raise Failed(f"{len(strange)} frozen weights of the network move, such as {strange[0]}")
    return f"{len(meant)} tensors of weights"


def same_seed_same_bits(subject: Subject) -> None:
    """Check that two trainings with one seed give the same state to the bit."""
    if names := _differing(subject):
        hint = "draw from self.generator(purpose), or while a step runs from torch's global generator"
        raise Failed(f"two trainings with one seed differ in {names}; {hint}")


def resumes_to_the_bit(subject: Subject) -> None:
    """Check that a training resumed from a file in the middle gives the same state to the bit."""
    if subject.method.needs is Needs.TEST_STREAM:
        raise NotApplicable("it is not trained; the stream comes once")
    _require_reproducible(subject)
    unbroken, again, middle = subject.stepper(), subject.stepper(), STEPS // 2
    train(unbroken, end=middle)
    again.load(subject.fixtures.through_a_file(unbroken.state()))
    lost = set(differing_attributes(unbroken.method, again.method))
    for stepper in (unbroken, again):
        train(stepper, middle, middle + 1)
    # What a step makes for its own use is there again after one.
    lost &= set(differing_attributes(unbroken.method, again.method))
    train(again, middle + 1)
    names = _different(_state(subject.reference), _state(again))
    if names or lost:
        gap = f"differs from the unbroken one in {names}" if names else "has the same weights here"
        forgotten = f"{'' if names else ', but'} not put back: {', '.join(sorted(lost))}" if lost else ""
        raise Failed(
            f"a training resumed in the middle {gap}{';' if names and lost else ''}{forgotten}; what a later step "
            "depends on belongs in modules, parameters or buffers (register_buffer), or in state() and load_state()"
        )


def target_labels_change_nothing(subject: Subject) -> None:
    """Check that noise for the target masks that the method may not see changes nothing."""
    _require_reproducible(subject)
    blind = _state(subject.trained(subject.fixtures.blind(subject.method.needs)))
    if names := _different(_state(subject.reference), blind):
        raise Failed(f"with noise for the hidden target masks, what is learned differs in {names}")


def neutral_is_source_only(subject: Subject) -> str:
    """Check that the neutral hyperparameters give source-only's weights, to 1e-6."""
    neutral = {
        item.name: item.metadata["neutral"]
        for item in fields(subject.method.Hyperparameters)
        if item.metadata.get("neutral") is not None
    }
    if not neutral:
        raise NotApplicable("it declares no neutral value of a hyperparameter")
    if not subject.method.needs.trains_on_labels:
        raise NotApplicable("it does not train on the source")
    changed = replace(subject.hyperparameters or subject.method.Hyperparameters(), **neutral)
    own = dict(subject.trained(hyperparameters=changed).method.named_parameters())
    control = dict(subject.fixtures.source_only.method.named_parameters())
    names = sorted(set(own) & set(control))
    worst = max(float((own[name] - control[name]).detach().abs().max()) for name in names)
    if worst > 1e-6:
        raise Failed(f"at {neutral} the network's weights differ from source-only's by {worst:.1e}")
    return ", ".join(f"{name}={value}" for name, value in neutral.items())


def batch_of_one(subject: Subject) -> None:
    """Check that the method learns from one patch."""
    _require_finite(subject.learn_from(subject.images[:1], _labels(1)))


def odd_sizes(subject: Subject) -> None:
    """Check that the method learns from images of 45 by 51 pixels."""
    images, labels = subject.images.repeat(1, 1, 2, 2), _labels(4).repeat(1, 2, 2)
    _require_finite(subject.learn_from(images[..., :45, :51], labels[:, :45, :51]))


def a_batch_without_some_class(subject: Subject) -> None:
    """Check that the method learns from a batch with two of the classes."""
    _require_labels(subject)
    _require_finite(subject.learn_from(subject.images, _labels(4) % 2))


def all_pixels_ignored(subject: Subject) -> None:
    """Check that a batch without labels leaves the weights finite."""
    _require_labels(subject)
    _require_finite(subject.learn_from(subject.images, torch.full_like(_labels(4), IGNORE)))


def one_source_domain(subject: Subject) -> None:
    """Check that the method trains on a single source domain."""
    _require_labels(subject)
    data = subject.fixtures.data
    part = data.parts["source_train"]
    single = part.take(np.flatnonzero(part.domains == part.domains[0]))
    _require_finite(subject.trained(replace(data, parts=data.parts | {"source_train": single})))


def batches_stay_as_they_are(subject: Subject) -> None:
    """Check that a step does not change the tensors of its batches."""
    stepper = subject.stepper()
    batches = first_batches(stepper)
    before = [{name: value.clone() for name, value in _tensors_of(batch).items()} for batch in batches]
    work(stepper, batches)
    for now, then in zip(batches, before, strict=True):
        for name, value in _tensors_of(now).items():
            if not torch.equal(value, then[name]):
                raise Failed(
                    f"a step changes the {name} of the batch it is given; make another with dataclasses.replace()"
                )


def predicts_each_patch_by_itself(subject: Subject) -> None:
    """Check that a prediction does not depend on the other patches of its batch, unless the method says so."""
    method = subject.reference.method
    series = subject.fixtures.series(len(subject.images))
    together = predict_of(method, subject.images, series)
    if not torch.isfinite(together).all():
        raise Failed("predict() gives numbers that are not finite")
    rows = [slice(number, number + 1) for number in range(len(subject.images))]
    alone = torch.cat([predict_of(method, subject.images[row], series and series.take(row)) for row in rows])
    alike = torch.allclose(together, alone, rtol=1e-3, atol=1e-3)
    if method.depends_on_batch:
        raise NotApplicable(
            "it says that a prediction depends on the rest of the batch" + (", yet none does" if alike else "")
        )
    if not alike:
        raise Failed("a prediction depends on the rest of the batch, and the method does not say so (depends_on_batch)")


def mixed_precision(subject: Subject) -> None:
    """Check that the method trains in bf16-mixed."""
    fabric = make_fabric("cpu", "bf16-mixed")
    _require_finite(subject.trained(fabric=fabric))


def survives_saving(subject: Subject) -> None:
    """Check that predictions are the same after the state was saved and loaded."""
    fresh, series = subject.stepper().method, subject.fixtures.series(len(subject.images))
    load_state(fresh, state_of(subject.reference.method))
    before, after = (predict_of(each, subject.images, series) for each in (subject.reference.method, fresh))
    if not torch.equal(before, after):
        raise Failed("what is predicted differs after the state was saved and loaded: keep it in modules and buffers")


def costs(subject: Subject) -> str:
    """Return time and memory of a step, relative to source-only."""
    return str(cost_of(subject, pairs=8))


CHECKS: dict[str, Callable[[Subject], str | None]] = {
    "losses are finite": losses_are_finite,
    "what it means to train moves, nothing else": trains_what_it_says,
    "the same seed gives the same bits": same_seed_same_bits,
    "resumed in the middle, the same bits": resumes_to_the_bit,
    "noise for target labels changes nothing": target_labels_change_nothing,
    "with its weight at zero it is source-only": neutral_is_source_only,
    "batch of one": batch_of_one,
    "odd image sizes": odd_sizes,
    "a batch without some class": a_batch_without_some_class,
    "one source domain": one_source_domain,
    "all pixels ignored": all_pixels_ignored,
    "batches are left as they are": batches_stay_as_they_are,
    "each patch is predicted by itself": predicts_each_patch_by_itself,
    "mixed precision": mixed_precision,
    "state survives saving and loading": survives_saving,
    "time and memory of a step": costs,
}


def _tensors_of(batch: SourceBatch | TargetBatch | None) -> dict[str, Tensor]:
    held = {**vars(batch), **(vars(batch.series) if batch.series else {})} if batch else {}
    return {name: value for name, value in held.items() if isinstance(value, Tensor)}


def _require_labels(subject: Subject) -> None:
    if not subject.method.needs.trains_on_labels:
        raise NotApplicable("it sees no labels and no source")


def _labels(count: int) -> Tensor:
    """Return (count, 32, 32) stripes of all classes."""
    return (torch.arange(32).expand(count, 32, 32) // 2 % CLASSES).clone()


def _state(stepper: Stepper) -> dict[str, Tensor]:
    return state_of(stepper.method)


def _differing(subject: Subject) -> str:
    """Return where two trainings with one seed differ."""
    return _different(_state(subject.reference), _state(subject.repetition))


def _require_reproducible(subject: Subject) -> None:
    if _differing(subject):
        raise NotApplicable("two trainings with one seed differ already")


def _different(one: dict[str, Tensor], other: dict[str, Tensor]) -> str:
    """Return which tensors are not the same to the bit; "" if all are."""
    names = [name for name in one if not torch.allclose(one[name], other[name], rtol=0, atol=0, equal_nan=True)]
    return f"{len(names)} of {len(one)} tensors, such as {names[0]}" if names else ""


def _require_finite(stepper: Stepper) -> None:
    """Check that weights and predictions are finite; a buffer may hold a placeholder that is not."""
    for name, value in stepper.method.named_parameters():
        if not torch.isfinite(value).all():
            raise Failed(f"{name} is not finite afterwards")
    batch = first_batches(stepper)
    seen = batch[1] or batch[0]
    assert seen is not None
    if not torch.isfinite(predict_of(stepper.method, seen.images, seen.series)).all():
        raise Failed("what is predicted is not finite afterwards")
