"""Which layers are replaced in encoders of three libraries, and what the new ones do."""

from types import SimpleNamespace

import pytest
import torch
from timm.models import resnet as timm_resnet
from torch import nn
from torchvision.models import resnet as torchvision_resnet

from methods.base import IGNORE, MethodError, Progress, SourceBatch, TargetBatch
from methods.instance_batch_norm import HalfInstanceNorm, InstanceBatchNorm, first_norms
from methods.parts.metadata import Metadata


@pytest.fixture
def norm():
    """A batch normalisation of 5 channels that has learnt something."""
    norm = nn.BatchNorm2d(5, eps=1e-3, momentum=0.3)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            values.copy_(torch.rand(5, generator=random) + 0.5)
    return norm


@pytest.mark.parametrize("mode", ["training", "eval"])
def test_halves_are_normalised_by_image_and_by_batch(norm, mode, agrees):
    features = torch.randn(3, 5, 6, 7, generator=torch.Generator().manual_seed(1))
    found = HalfInstanceNorm(norm).train(mode == "training")(features)
    numbers = (norm.weight, norm.bias, norm.running_var, norm.running_mean)
    scale, shift, *stored = (values[:, None, None].double() for values in numbers)
    first, others = features.double().split([2, 3], 1)
    of_image = torch.var_mean(first, (2, 3), correction=0, keepdim=True)
    of_batch = torch.var_mean(others, (0, 2, 3), correction=0, keepdim=True)
    pairs = ((first, of_image), (others, of_batch if mode == "training" else [values[2:] for values in stored]))
    normalised = torch.cat([(part - mean) / (variance + norm.eps).sqrt() for part, (variance, mean) in pairs], 1)
    expected, quantity = scale * normalised + shift, f"normalised features in {mode} mode"
    agrees("instance-batch-norm", quantity, found, expected, rtol=1e-6, atol=1e-6)


def test_what_the_batch_norm_had_learnt_stays_and_goes_on(norm):
    replaced = HalfInstanceNorm(norm)
    assert torch.equal(torch.cat([replaced.instance.weight, replaced.batch.weight]), norm.weight)
    assert torch.equal(torch.cat([replaced.instance.bias, replaced.batch.bias]), norm.bias)
    features = torch.randn(3, 5, 6, 7, generator=torch.Generator().manual_seed(1))
    replaced(features), norm(features)
    torch.testing.assert_close(replaced.batch.running_mean, norm.running_mean[2:])
    torch.testing.assert_close(replaced.batch.running_var, norm.running_var[2:])
    assert replaced.batch.num_batches_tracked == 1


def test_light_is_taken_from_half_of_the_channels(norm):
    features = torch.randn(1, 5, 16, 16, generator=torch.Generator().manual_seed(1))
    replaced = HalfInstanceNorm(norm).eval()
    dark, bright = replaced(features), replaced(3 * features + 10)
    torch.testing.assert_close(dark[:, :2], bright[:, :2], rtol=0, atol=2e-3)  # within epsilon
    assert (dark[:, 2:] - bright[:, 2:]).abs().mean() > 1


def _resnet(library, block):
    """A stem of its own stage, as in timm's, and four stages of two blocks."""
    blocks = {"torchvision": torchvision_resnet, "timm": timm_resnet}[library]
    stages = {"stage1": nn.Sequential(nn.ReLU())}
    for index in range(4):
        stages[f"stage{index + 2}"] = nn.Sequential(*[getattr(blocks, block)(16, 16 // _growth(block)) for _ in "ab"])
    return stages


def _growth(block):
    return {"BasicBlock": 1, "Bottleneck": 4}[block]


@pytest.mark.parametrize("block", ["BasicBlock", "Bottleneck"])
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_the_first_norm_of_each_block_of_three_stages_is_replaced(library, block, task):
    network = nn.Module()
    network.stages = _resnet(library, block)
    InstanceBatchNorm(network, task)
    for name, stage in network.stages.items():
        replaced = [path for path, layer in stage.named_modules() if isinstance(layer, HalfInstanceNorm)]
        assert replaced == ([] if name in ("stage1", "stage5") else ["0.bn1", "1.bn1"]), name
        assert stage(torch.rand(2, 16, 8, 8)).shape == (2, 16, 8, 8)


def test_a_block_with_a_projection_keeps_the_norm_of_it():
    projection = nn.Sequential(nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16))
    stage = nn.Sequential(torchvision_resnet.BasicBlock(8, 16, downsample=projection))
    assert list(first_norms(stage)) == ["0.bn1"]


def test_it_trains_and_predicts(network, task, source, target):
    method = InstanceBatchNorm(network, task)
    assert isinstance(network.stages["stage1"][1], HalfInstanceNorm)
    assert isinstance(network.stages["stage2"][1], HalfInstanceNorm)
    method.step_losses(source, None, Progress(0, 1))["segmentation"].backward()
    assert all(weights.grad.abs().sum() > 0 for weights in network.parameters())
    method.eval()
    together = method.predict(target)
    alone = torch.cat([network(TargetBatch.of(image[None])) for image in target.images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_fewer_stages_and_none(network, task):
    before = dict(network.named_modules())
    InstanceBatchNorm(network, task, InstanceBatchNorm.Hyperparameters(stages=0))
    assert dict(network.named_modules()) == before
    InstanceBatchNorm(network, task, InstanceBatchNorm.Hyperparameters(stages=1))
    kinds = [isinstance(stage[1], HalfInstanceNorm) for stage in network.stages.values()]
    assert kinds == [True, False]


def test_an_encoder_without_batch_normalisation_is_refused(task):
    network = SimpleNamespace(stages={"stage1": nn.Sequential(nn.Conv2d(3, 3, 1), nn.GroupNorm(1, 3))})
    with pytest.raises(MethodError, match="batch normalisation"):
        InstanceBatchNorm(network, task)


def test_one_image_of_which_nothing_is_labelled(network, task):
    single = SourceBatch(
        torch.rand(1, 3, 31, 29) * 255,
        torch.full((1, 31, 29), IGNORE),
        torch.zeros(1, dtype=torch.int64),
        Metadata.unknown(1),
    )
    loss = InstanceBatchNorm(network, task).step_losses(single, None, Progress(0, 1))["segmentation"]
    loss.backward()
    assert loss.item() == 0
    assert all(weights.grad.isfinite().all() for weights in network.parameters())
