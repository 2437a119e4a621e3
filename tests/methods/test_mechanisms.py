"""Each mechanism on a shift made for it, where source-only fails for a known reason."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from methods.base import Needs, Progress, SourceBatch, TargetBatch, Task
from methods.class_balanced_self_training import ClassBalancedSelfTraining
from methods.dacs import DACS
from methods.parts.metadata import Metadata
from methods.parts.pseudo_labels import class_thresholds
from methods.registry import find

SIDE = 32
DARK, BRIGHT = 0.7, 1.3
STRIPES = Task(("across", "upright", "falling", "rising"), ("red", "green"), ("dark", "bright"))
REGIONS = Task(("common", "rare"), ("red", "green"), ("one", "other"))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on tensors so small, several only wait for each other
    yield
    torch.set_num_threads(threads)


def halves(count, random):
    """Whether a pixel lies left of a cut at a random place: (count, SIDE, SIDE)."""
    cut = torch.randint(8, 24, (count, 1, 1), generator=random)
    return torch.arange(SIDE).expand(count, SIDE, SIDE) < cut


def batch_of(images, labels, domains):
    return SourceBatch(images, labels, domains, Metadata.unknown(len(images)))


def striped(lights, random, count=4):
    """Classes are directions of stripes; in an image there are either the first two or the last two.

    Args:
        lights: on images of the first two, and of the last two.
    """
    batches = []
    for domain, light in enumerate(lights):
        left = halves(count, random) ^ (torch.rand(count, 1, 1, generator=random) < 0.5)
        labels = 2 * domain + left.long()
        y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        start = torch.randint(4, (count, 1, 1, 1), generator=random)
        stripes = torch.where((torch.stack((y, x, x + y, x - y)) + start) % 4 < 2, 20.0, -20.0)
        band = 100 + stripes.gather(1, labels[:, None])
        noise = 10 * torch.randn(count, 2, SIDE, SIDE, generator=random)
        batches.append((light * (band + noise), labels, torch.full((count,), domain)))
    return batch_of(*map(torch.cat, zip(*batches, strict=True)))


def patchy(share, random, count=8):
    """Two regions in an image, some of them of the rare class, which is brighter on average but not always."""
    left = halves(count, random)
    rare = torch.rand(count, 2, generator=random) < share
    level = 100 + 25 * rare + 15 * torch.randn(count, 2, generator=random)
    labels, band = (torch.where(left, *values[..., None, None].unbind(1)) for values in (rare.long(), level))
    images = band[:, None] + 5 * torch.randn(count, 2, SIDE, SIDE, generator=random)
    return batch_of(images, labels, torch.arange(count) % 2)


def trained(method, draw_source, draw_target, steps, learning_rate):
    """As the engine trains: the network, and in turn the second one."""
    method.network.perturbation = method.change_features
    second = set() if method.second_network is None else set(method.second_network.parameters())
    mine = [weights for weights in method.parameters() if weights.requires_grad and weights not in second]
    optimizer = torch.optim.Adam(mine, learning_rate) if mine else None
    opponent = method.second_optimizer(second) if second else None
    needs = method.needs
    for step in range(steps):
        progress, target = Progress(step, steps), draw_target()
        source = draw_source() if needs.trains_on_labels else None
        seen = TargetBatch(target.images, target.metadata) if needs.trains_on_target else None
        descend(optimizer, method.step_losses(source, seen, progress))
        if opponent:
            descend(opponent, method.second_step_losses(progress))
        method.after_step(progress)
    return method.eval()


def descend(optimizer, losses):
    if optimizer:
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()


def accuracy(method, batch):
    with torch.no_grad():
        predicted = method.predict(TargetBatch(batch.images, batch.metadata)).argmax(1)
    return (predicted == batch.labels).float().mean().item()


# --- light and colour: a source and a target that differ in nothing else


def liar(random):
    """Light tells which two classes occur in an image."""
    return striped((DARK, BRIGHT), random)


def lied_to(random):
    """And now the other two."""
    return striped((BRIGHT, DARK), random)


def one_band(random):
    """Stripes are seen in one band; in the other one there is noise."""
    batch = striped((1, 1), random)
    noise = 100 + 10 * torch.randn(batch.images[:, 0].shape, generator=random)
    return replace(batch, images=torch.stack((batch.images[:, 0], noise), 1))


def other_band(random):
    """And now they are seen in the other band."""
    batch = one_band(random)
    return replace(batch, images=batch.images.flip(1))


def two_lights(random):
    """Light differs from image to image, and tells nothing."""
    batch = striped((1, 1), random)
    bright = torch.rand(len(batch.images), 1, 1, 1, generator=random) < 0.5
    return replace(batch, images=batch.images * torch.where(bright, BRIGHT, DARK))


def dusk(random):
    """With less light than there ever was."""
    batch = striped((1, 1), random)
    return replace(batch, images=0.5 * batch.images - 20)


def dazzled(random):
    """With another gain and offset in each band."""
    batch = striped((1, 1), random)
    gain, offset = (torch.tensor(values).view(1, 2, 1, 1) for values in ((2.0, 0.4), (60.0, -20.0)))
    return replace(batch, images=batch.images * gain + offset)


def accuracies(make_network, name, source, target, seeds=(0, 1, 2), steps=200):
    """Mean accuracy on the target over trainings that differ in their first weights, and that of source-only."""
    mine, control = (
        [_accuracy(make_network, find(kind), source, target, seed, steps) for seed in seeds]
        for kind in (name, "source-only")
    )
    return sum(mine) / len(mine), sum(control) / len(control)


def _accuracy(make_network, kind, source, target, seed, steps):
    random = torch.Generator().manual_seed(1)
    method = kind(make_network(seed, bands=2, classes=4, widths=(16, 16)), STRIPES)
    trained(method, lambda: source(random), lambda: target(random), steps, 1e-2)
    return accuracy(method, target(torch.Generator().manual_seed(2)))


def test_source_images_in_the_light_of_the_target(make_network):
    adapted, control = accuracies(make_network, "fourier-adaptation", liar, lied_to, seeds=(0,), steps=100)
    assert control < 0.5 and adapted > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source", "target", "gain"),
    [
        ("source-only-augmented", liar, lied_to, 0.4),
        ("style-randomization", liar, lied_to, 0.3),
        ("mix-style", liar, lied_to, 0.15),
        ("sag-net", liar, lied_to, 0.3),
        ("rand-conv", one_band, other_band, 0.5),
        ("dsu", two_lights, dusk, 0.2),
        ("instance-batch-norm", two_lights, dusk, 0.3),
        ("isw", two_lights, dusk, 0.2),
        ("batch-style-mixing", liar, lied_to, 0.15),
    ],
)
def test_who_changes_light_or_colour_no_longer_relies_on_it(make_network, name, source, target, gain):
    robust, control = accuracies(make_network, name, source, target)
    assert robust > control + gain


# --- band statistics


@pytest.fixture(scope="module")
def striped_network(make_network):
    """Trained on stripes in one light."""
    random = torch.Generator().manual_seed(1)
    method = find("source-only")(make_network(0, bands=2, classes=4, widths=(16, 16)), STRIPES)
    return trained(method, lambda: striped((1, 1), random), lambda: striped((1, 1), random), 200, 1e-2).network


@pytest.fixture
def source_network(striped_network):
    return deepcopy(striped_network)


@pytest.mark.parametrize("name", ["batch-norm-target", "batch-norm-adaptation", "tent", "sar", "cotta", "eata", "roid"])
def test_statistics_of_the_target_undo_a_change_of_band_statistics(source_network, name):
    random = torch.Generator().manual_seed(5)
    before = accuracy(find("source-only")(source_network, STRIPES).eval(), dazzled(random))
    method = find(name)(source_network, STRIPES).eval()
    if method.needs is Needs.SOURCE_MODEL:
        trained(method.train(), lambda: None, lambda: dazzled(random), 20, 0.0)
    right = []
    for step in range(5):
        batch, method.progress = dazzled(random), Progress(step, 5)
        right.append(accuracy(method, batch))
        if method.needs is Needs.TEST_STREAM:
            method.adapt(TargetBatch(batch.images, batch.metadata))
    assert before < 0.6 and min(right) > 0.85


# --- class shares: a class that is rare in the source and frequent in the target


def recall_of_the_rare_class(make_network, kind, share, **values):
    """On a target where it covers half of the ground."""
    random = torch.Generator().manual_seed(1)
    method = kind(make_network(0, bands=2, classes=2, widths=(16, 16)), REGIONS, kind.Hyperparameters(**values))
    pool = patchy(share, random, 256)
    pixels = torch.stack([(pool.labels == number).sum((1, 2)) for number in range(2)], 1)
    weights = method.sampling_weights(pixels)
    weights = torch.ones(256) if weights is None else weights

    def source():
        rows = torch.multinomial(weights.double(), 8, replacement=True, generator=random)
        return batch_of(pool.images[rows], pool.labels[rows], pool.domains[rows])

    trained(method, source, lambda: patchy(0.5, random), 300, 5e-3)
    target = patchy(0.5, torch.Generator().manual_seed(2), 128)
    rare = target.labels == 1
    with torch.no_grad():
        predicted = method.predict(TargetBatch(target.images, target.metadata)).argmax(1)
    return (predicted[rare] == 1).float().mean().item()


@pytest.mark.slow
def test_rare_class_sampling_finds_what_is_rare_in_the_source(make_network):
    source_only = recall_of_the_rare_class(make_network, find("source-only"), 0.08)
    sampled = recall_of_the_rare_class(make_network, DACS, 0.08, rare_classes=True)
    assert source_only < 0.2 and sampled > 0.7
    mixing_alone = recall_of_the_rare_class(make_network, DACS, 0.08)
    assert mixing_alone < 0.2, "pasting half of an image's classes does not change how often they occur"


@pytest.mark.slow
def test_a_threshold_for_each_class_keeps_the_rare_one_in_self_training(make_network, monkeypatch):
    kind, settings = ClassBalancedSelfTraining, {"share": 0.2, "decay": 0.99}
    own = recall_of_the_rare_class(make_network, kind, **settings)

    def one_for_all(confidence, labels, classes, share):
        return class_thresholds(confidence, torch.zeros_like(labels), classes, share)[:1].expand(classes)

    monkeypatch.setattr(f"{kind.__module__}.class_thresholds", one_for_all)
    assert own > recall_of_the_rare_class(make_network, kind, **settings) + 0.1
