"""Instance normalisation of half of the channels (IBN-Net)."""

from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from methods.base import Method, MethodError, Progress, SourceBatch, TargetBatch, tunable


class InstanceBatchNorm(Method):
    """Take the style of each image from half of the shallow channels (Pan et al., ECCV 2018, IBN-Net-a).

    In the first three stages of a residual encoder, the first normalisation of each block normalises half of its
    channels by the statistics of the image, and so without regard to its brightness and contrast, and the others by
    those of the batch, which keep them. ``L = CE(source)``.

    Departures: pretrained weights are those of the network with batch normalisation alone, whose scales and shifts
    stay; the authors have weights of ImageNet for theirs. The stages are those that have a batch normalisation: a
    stem that counts as a stage of its own without one is none. A block is a child of a stage.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        stages: int = tunable(3, low=1, high=3, neutral=0)  # the deepest of four stays as it is

    def setup(self) -> None:
        stages = [stage for stage in self.network.stages.values() if first_norms(stage)]
        if not stages:
            raise MethodError("InstanceBatchNorm needs an encoder with batch normalisation (nn.BatchNorm2d)")
        for stage in stages[: self.hyperparameters.stages]:
            for path, norm in first_norms(stage).items():
                stage.set_submodule(path, HalfInstanceNorm(norm))

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}


class HalfInstanceNorm(nn.Module):
    """Instance normalisation of the first half of the channels, rounded down, and batch normalisation of the others.

    Args:
        norm: the batch normalisation to replace; its scales and shifts are kept, and what it counted of the others.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        state = norm.state_dict()
        half, channels = norm.num_features // 2, norm.num_features
        device = norm.weight.device
        self.instance = nn.InstanceNorm2d(half, norm.eps, affine=True, device=device)
        self.instance.load_state_dict({name: state[name][:half] for name in ("weight", "bias")})
        self.batch = nn.BatchNorm2d(channels - half, norm.eps, norm.momentum, device=device)
        self.batch.load_state_dict({name: value[half:] if value.dim() else value for name, value in state.items()})

    def forward(self, features: Tensor) -> Tensor:
        """Normalise half of the channels of an image each by itself: (N, D, h, w) -> (N, D, h, w)."""
        first, others = features.tensor_split([self.instance.num_features], 1)
        return torch.cat([self.instance(first), self.batch(others)], 1)


def first_norms(stage: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Return the first batch normalisation of each block of a stage that has one, by its path in the stage."""
    found: dict[str, nn.BatchNorm2d] = {}
    for name, block in stage.named_children():
        # Not its subclasses: some hold an activation too, which would get lost.
        norms = ((path, layer) for path, layer in block.named_modules(prefix=name) if type(layer) is nn.BatchNorm2d)
        found |= islice(norms, 1)
    return found
