"""Adversarial alignment of features, class by class (FADA)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.feature_size import feature_channels


class FADA(Method):
    """Align the features of each class with an adversary that knows the classes (Wang et al., ECCV 2020, "FADA").

    The adversary D gives each cell of the encoder's deepest features 2 C logits: C classes of the source, then the same
    of the target. With soft labels ``a = min(softmax(logits / temperature), clip)`` it minimises
    ``(CE(D(f_s), (a_s, 0)) + CE(D(f_t), (0, a_t))) / 2``, and the network ``L = CE(source) + weight * CE(D(f_t),
    (a_t, 0))``: its target's features are to be taken for those of the same class in the source. So classes do not
    mix as they may where the adversary sees domains alone. All errors are averaged over the pixels of the image.

    Departures: one training from the recipe's weights instead of one from a source model, and the adversary's learning
    rate is constant (it decays there); without the self-distillation that the paper adds behind. D gives its logits at
    the resolution of the features, which are then enlarged bilinearly, as there; the features of a U-Net are coarser.
    Batch norm is not frozen.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1e-3, low=1e-5, high=1e-1, log=True, neutral=0.0)
        temperature: float = tunable(1.8, low=1.0, high=4.0)  # of the soft labels
        clip: float = tunable(0.9, low=0.5, high=1.0)  # their largest value
        learning_rate: float = tunable(1e-4, low=1e-5, high=1e-3, log=True)  # the adversary's
        width: int = tunable(512, low=32, high=512, log=True)  # of its first layer

    def make_second_network(self) -> nn.Module:
        channels = feature_channels(self.network, len(self.task.bands))
        return class_discriminator(channels, len(self.task.classes), self.hyperparameters.width)

    def second_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.hyperparameters.learning_rate, betas=(0.9, 0.99))

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        logits, features = self.network(source, return_features=True)
        segmentation = self.learn(self.segmentation_loss(source, logits))
        source_seen = features.detach(), self.soft_labels(logits)
        logits, features = self.network(target, return_features=True)
        labels = self.soft_labels(logits)
        # The adversary learns from the same features after the step, without a second pass through the network.
        self._seen = source_seen, (features.detach(), labels)
        fooled = class_domain_loss(self.second_network(features), labels, is_target=False)
        return {"segmentation": segmentation, "adversarial": self.hyperparameters.weight * fooled}

    def second_losses(self, progress: Progress) -> dict[str, Tensor]:
        (source, source_labels), (target, target_labels) = self._seen
        return {
            "discriminator_source": class_domain_loss(self.second_network(source), source_labels, is_target=False) / 2,
            "discriminator_target": class_domain_loss(self.second_network(target), target_labels, is_target=True) / 2,
        }

    def soft_labels(self, logits: Tensor) -> Tensor:
        """Return the soft labels (N, C, H, W) float32 of logits of that shape; no gradient passes."""
        options = self.hyperparameters
        return (logits.detach().float() / options.temperature).softmax(1).clamp(max=options.clip)


def class_domain_loss(judged: Tensor, labels: Tensor, is_target: bool) -> Tensor:
    """Return the cross-entropy of the adversary with soft labels of one domain, averaged over pixels.

    Args:
        judged: logits (N, 2 C, h, w), which are enlarged to the size of the labels.
        labels: (N, C, H, W), each at least 0; their sum over the classes may be below 1, where they are clipped.
        is_target: whether they are of the target, the second half of the logits, or of the source.
    """
    enlarged = F.interpolate(judged.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
    half = enlarged.log_softmax(1).chunk(2, 1)[int(is_target)]
    return -(labels * half).sum(1).mean()


def class_discriminator(channels: int, classes: int, width: int) -> nn.Module:
    """Return the adversary: three 3x3 convolutions with leaky ReLUs, features (N, channels, h, w) -> (N, 2 C, h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width, width // 2, kernel_size=3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width // 2, 2 * classes, kernel_size=3, padding=1),
    )
