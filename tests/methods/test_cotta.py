"""Held against numbers of the official code (qinenergy/cotta, cifar/cotta.py); views, restoring, who is trained."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from methods.base import Progress, TargetBatch, Task
from methods.cotta import CoTTA, consistency, turn, turn_back
from methods.parts.batch_norm import batch_statistics
from methods.parts.metadata import Metadata

FIVE = Task(classes=("a", "b", "c", "d", "e"), bands=("red", "green", "blue"))

# forward_and_adapt on rows of pixels over the batches of the fixture "tent": Adam 0.01, teacher's decay 0.9, restore 0,
# threshold 1.1 and the one view x + 0.5 sin(0.9 k). After each batch the loss, the sum of absolute logits of the
# prediction, and the sums of the tensors NAMES of the network and of its teacher. (The bias before the batch norm is
# left out: it has no gradient, and Adam makes noise of it.)
OFFICIAL = "qinenergy/cotta@c212a20"
NAMES = ("0.weight", "1.weight", "1.bias", "3.weight", "3.bias")
LOSSES = [1.506795883178711, 1.5291085243225098, 1.445480227470398]
PREDICTIONS = [1201.21826171875, 1279.080078125, 1173.5501708984375]
NETWORK = [
    [0.1237918, 4.0388578, -0.7198398, -4.386782, 0.1237804],
    [0.3815322, 3.9988365, -0.7597892, -4.2672715, 0.1165687],
    [0.5465945, 3.9599826, -0.797677, -4.1557731, 0.0964061],
]
TEACHER = [
    [-0.0202078, 4.0748576, -0.6838398, -4.4947816, 0.1327807],
    [0.0199662, 4.0672553, -0.6914348, -4.4720309, 0.1311595],
    [0.0726292, 4.0565279, -0.702059, -4.4404052, 0.1276841],
]


def cotta(network, task, **values):
    return CoTTA(network, task, CoTTA.Hyperparameters(**values)).eval()


def sums(network):
    return torch.stack([network.state_dict()[name].double().sum() for name in NAMES])


def test_three_batches_equal_the_official_run(fixture_values, official_network, official_batches, agrees):
    method = cotta(official_network(), FIVE, learning_rate=0.01, decay=0.9, restore=0.0, threshold=1.1)
    view = 0.5 * torch.sin(0.9 * torch.arange(384, dtype=torch.float64)).view(2, 3, 8, 8).float()
    method._averaged = lambda batch: method.teacher(replace(batch, images=batch.images + view))
    losses, student, teacher = [], [], []
    for index, batch in enumerate(official_batches(fixture_values("tent"))):
        with torch.inference_mode():
            taught = method.predict(batch)
        assert taught.abs().sum().item() == pytest.approx(PREDICTIONS[index], rel=1e-5)
        with batch_statistics(method.network):
            losses.append(consistency(method.network(batch), taught).item())
        method.adapt(batch)
        student.append(sums(method.network))
        teacher.append(sums(method.teacher))
    agrees("cotta", "loss of three batches", losses, LOSSES, OFFICIAL, rtol=1e-5)
    for whose, found, expected in (("network", student, NETWORK), ("teacher", teacher, TEACHER)):
        quantity = f"sums of the {whose}'s weights after each of three batches"
        agrees("cotta", quantity, torch.stack(found), expected, OFFICIAL, rtol=1e-5, atol=2e-6)


def test_the_consistency_is_the_mean_cross_entropy_over_pixels():
    # Teacher sure of 3:1; the network's probabilities are 1/2 and 1/2, or 3/4 and 1/4.
    teacher = torch.tensor([3.0, 1.0]).log().view(1, 2, 1, 1).expand(1, 2, 1, 2)
    student = torch.tensor([[1.0, 3.0], [1.0, 1.0]]).log().view(1, 2, 1, 2)
    ln2, ln3 = torch.tensor([2.0, 3.0]).log()
    expected = (ln2 + (0.75 * (2 * ln2 - ln3) + 0.25 * 2 * ln2)) / 2
    torch.testing.assert_close(consistency(student, teacher), expected)


def test_the_eight_turns_differ_and_can_be_undone():
    images = torch.arange(2 * 3 * 5 * 4.0).view(2, 3, 5, 4)
    square = torch.arange(9.0).view(1, 1, 3, 3)
    assert len({tuple(turn(square, number).flatten().tolist()) for number in range(16)}) == 8
    assert all(torch.equal(turn_back(turn(images, number), number), images) for number in range(16))


def test_averaged_over_all_turns_the_prediction_turns_with_the_image(network, task, target):
    method = cotta(network, task, threshold=1.0, brightness=0.0)
    turned = TargetBatch(turn(target.images, 5), target.metadata)
    torch.testing.assert_close(method.predict(turned), turn(method.predict(target), 5), rtol=1e-4, atol=1e-5)
    plain = cotta(network, task, threshold=0.0)
    assert (plain.predict(turned) - turn(plain.predict(target), 5)).abs().max() > 0.01


def test_light_changes_and_height_does_not(network, task, target):
    seen = []
    method = cotta(network, task, threshold=1.0, views=3)
    method.teacher.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].images))
    untouched = target.images.clone()
    method.predict(target)
    assert torch.equal(target.images, untouched)
    for number, view in enumerate(seen):
        images = turn_back(view, number)
        assert torch.equal(images[:, 2], target.images[:, 2])
        assert images[:, :2].max() <= 255
        factors = (images / target.images)[:, 0].flatten(1).median(1).values
        assert (factors - 1).abs().max() <= 0.4 and len(set(factors.tolist())) == 4, "each image its own brightness"


def test_views_are_only_taken_where_the_source_model_is_unsure(network, task, target):
    confidence = network.train()(target).softmax(1).amax(1).mean().item()  # with the statistics of the batch
    for threshold, passes in ((confidence - 1e-3, 1), (confidence + 1e-3, 8)):
        calls = []
        method = cotta(network, task, threshold=threshold)
        method.teacher.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        method.predict(target)
        assert len(calls) == passes


def test_the_network_learns_the_teacher_follows_and_the_source_stays(network, task, target):
    method = cotta(network, task, learning_rate=0.01, decay=0.75, restore=0.0)
    stored = {name: value.clone() for name, value in network.named_buffers()}
    method.predict(target)
    method.adapt(target)
    for mine, teacher, anchor in zip(*map(nn.Module.parameters, (network, method.teacher, method.anchor)), strict=True):
        assert not torch.equal(mine, anchor)
        torch.testing.assert_close(teacher, 0.75 * anchor + 0.25 * mine)
        assert not teacher.requires_grad and not anchor.requires_grad
    assert all(torch.equal(value, stored[name]) for name, value in network.named_buffers())


def test_a_share_of_the_weights_falls_back_another_one_each_time(network, task, target):
    method = cotta(network, task, learning_rate=0.0, restore=0.3)
    back = []
    for step in range(2):
        method.progress = Progress(step, 2)
        with torch.no_grad():
            for weights in network.parameters():
                weights.add_(1.0)
        method.predict(target)
        method.adapt(target)
        pairs = zip(network.parameters(), method.anchor.parameters(), strict=True)
        back.append(torch.cat([(mine == source).flatten() for mine, source in pairs]))
    assert 0.2 < back[0].float().mean() < 0.4
    assert not torch.equal(*back)


def test_one_image_of_odd_size(network, task):
    images = torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255
    batch = TargetBatch(images, Metadata.unknown(1))
    method = cotta(network, task, threshold=1.0)
    assert method.predict(batch).shape == (1, 3, 31, 17)
    method.adapt(batch)
    assert method.predict(batch).isfinite().all()
