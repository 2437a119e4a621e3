"""Held against vikolss/DACS's own numbers: the path of the averaged weights, and the buffers that take no part."""

import torch
from timm.layers import DropPath
from torch import nn

from methods.parts.teacher import blend, follow, make_teacher, warm_decay


class Weights(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.register_buffer("statistics", torch.zeros(3))


def test_the_path_of_the_teacher_equals_the_official_one(fixture_values, agrees):
    values = fixture_values("dacs_classmix")
    network = Weights()
    teacher = make_teacher(network)
    network.statistics.fill_(7)
    path = []
    for step in range(6):
        with torch.no_grad():
            network.weight.copy_(torch.sin(0.9 * torch.arange(3) + step))
        follow(teacher, network, warm_decay(0.99, step))
        path.append(teacher.weight.clone())
    quantity, source = "the teacher's weights after each of six steps", values.source("vikolss/DACS")
    methods = ("dacs", "dacs-masked", "masked-image-consistency")
    agrees(methods, quantity, torch.stack(path), values["out_ema_traj"], source, rtol=1e-5, atol=1e-7)
    assert torch.equal(teacher.statistics, torch.tensor(values["out_ema_buffer_after"]))


def test_the_decay_grows_to_its_end():
    assert [warm_decay(0.7, step) for step in (0, 1, 3, 99)] == [0.0, 0.5, 0.7, 0.7]


def test_a_teacher_shares_nothing_with_its_network_and_is_not_trained(network):
    teacher = make_teacher(network)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    with torch.no_grad():
        network.model.segmentation_head.weight.add_(1)
    assert not torch.equal(teacher.model.segmentation_head.weight, network.model.segmentation_head.weight)
    follow(teacher, network, 0.0)
    assert torch.equal(teacher.model.segmentation_head.weight, network.model.segmentation_head.weight)


def test_two_passes_of_a_teacher_in_training_mode_agree_and_its_batch_norm_trains():
    layers = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Dropout2d(0.5), DropPath(0.5), nn.Dropout(0.5)
    network = nn.Sequential(*layers)
    teacher, images = make_teacher(network), torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for module in (network, teacher):
        module.train()  # as the engine does with a method, after each checkpoint too
    first, second = teacher(images), teacher(images)
    assert torch.equal(first, second) and not torch.equal(network(images), network(images))
    torch.testing.assert_close(first.mean((0, 2, 3)), torch.zeros(8), rtol=0, atol=1e-5)  # statistics of the batch
    assert (teacher[1].running_mean != 0).all()
    assert not torch.equal(teacher.eval()(images), first)


def test_a_blend_moves_statistics_too_and_leaves_counts():
    average, other = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    with torch.no_grad():
        other.weight.fill_(3.0)
        other.running_mean.fill_(4.0)
        other.num_batches_tracked.fill_(9)
    blend(average, other, 0.25)  # 1 + (3 - 1) / 4, and 0 + 4 / 4
    assert (average.weight.item(), average.running_mean.item(), average.num_batches_tracked.item()) == (1.5, 1.0, 0)
    blend(average, other, torch.tensor(1.0))
    assert (average.weight.item(), average.running_mean.item()) == (3.0, 4.0)
