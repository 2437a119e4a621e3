"""Content and style networks that play against each other (SagNet)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.base import Method, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.batch_norm import NORMALIZATIONS
from methods.parts.feature_size import residual_stages
from methods.parts.feature_statistics import channel_statistics, restyle
from methods.parts.gradients import reach_only

EPSILON = 1e-5


class SagNet(Method):
    """Classify by content, and let the encoder's features say little by style (Nam et al., CVPR 2021).

    Style is the mean and the variance of each channel of the feature map that leaves one stage. The network is
    trained on features with random style, between those of two images. A style head D gets the features the other way
    around, the content of another image in the style of its own, and says which classes its image has. ``L =
    CE(source, random style) + weight * mean over classes of -log D``, the second of which reaches only the affine
    weights of the normalisation layers before that place. D minimises its cross-entropy on the same features.

    Departures: D predicts the share of each class in the image, since content of another place can say nothing about a
    pixel. It is a small new network, where the official one is a copy of the deeper stages, and its learning rate is
    constant. Both losses of the encoder are one step of one optimiser, not of two. A decoder sees the stages before
    that place with their own style. Stages are counted from the first residual one (see `residual_stages`), not from
    a stem before it; where the encoder has fewer, the deepest is taken. Style is that of the crop, as in the official
    code, whose input is a random crop too.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(0.1, low=1e-3, high=1.0, log=True)
        clip: float = tunable(0.1, low=0.01, high=1.0, log=True)  # longest norm of the adversarial gradient
        stage: int = tunable(2, low=1, high=4)  # after which style is changed; the second is "stage 3" of the paper
        width: int = tunable(64, low=16, high=256, log=True)  # channels of the style head
        learning_rate: float = tunable(4e-3, low=4e-4, high=4e-2, log=True)  # of the style head

    def setup(self) -> None:
        stages = list(residual_stages(self.network, len(self.task.bands)).items())
        self._stage, self._channels = stages[min(self.hyperparameters.stage, len(stages)) - 1]

    def make_second_network(self) -> nn.Module:
        return style_head(self._channels, self.hyperparameters.width, len(self.task.classes))

    def second_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, self.hyperparameters.learning_rate, momentum=0.9, weight_decay=1e-4)

    def perturb(self, stage: str, features: Tensor) -> Tensor:
        if stage != self._stage:
            return features
        self._features = features
        random = self.generator("style")
        partners = torch.randperm(len(features), generator=random).to(features.device)
        return randomize_style(features, partners, torch.rand(len(features), generator=random).to(features.device))

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        segmentation = self.segmentation_loss(source)
        partners = torch.randperm(len(source.images), generator=self.generator("content"))
        style = randomize_content(self._features, partners.to(source.images.device)).float()
        self._features = style.detach()
        self._shares = class_shares(source.labels, len(self.task.classes))
        adversarial = -self.hyperparameters.weight * self.second_network(style).float().log_softmax(1).mean()
        return {
            "segmentation": segmentation,
            "adversarial": reach_only(adversarial, norm_weights(self.network), self.hyperparameters.clip),
        }

    def second_losses(self, progress: Progress) -> dict[str, Tensor]:
        log_probabilities = self.second_network(self._features).float().log_softmax(1)
        labelled = self._shares.sum().clamp(min=1)  # images with a label
        return {"style": -(self._shares * log_probabilities).sum() / labelled}


def style_head(channels: int, width: int, classes: int) -> nn.Sequential:
    """Return a head (N, channels, h, w) -> logits (N, classes), without normalisation, which could remove the style."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


def randomize_style(features: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Return features (N, D, h, w) whose means and variances are between their own and those of their partners.

    Args:
        partners: (N,) int64, index of each image's partner.
        shares: (N,), of its own style, from 0 to 1.
    """
    mean, deviation = own = channel_statistics(features, EPSILON)
    shares = shares[:, None, None, None]
    new_mean, variance = (shares * mine + (1 - shares) * mine[partners] for mine in (mean, deviation.square()))
    return restyle(features, own, (new_mean, variance.sqrt()))


def randomize_content(features: Tensor, partners: Tensor) -> Tensor:
    """Return the partners' features (N, D, h, w) in the images' own style, through which alone a gradient goes."""
    own = channel_statistics(features, EPSILON)
    others = tuple(values.detach()[partners] for values in own)
    return restyle(features.detach()[partners], (others[0], others[1]), own)


def class_shares(labels: Tensor, classes: int) -> Tensor:
    """Return each class's share in the labelled pixels: (N, H, W) int64 -> (N, classes), all 0 if there are none."""
    counts = torch.stack([(labels == index).sum((1, 2)) for index in range(classes)], 1)
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def norm_weights(network: nn.Module) -> list[nn.Parameter]:
    """Return scales and shifts of all normalisation layers that are trained."""
    layers = (module for module in network.modules() if isinstance(module, NORMALIZATIONS))
    return [weight for layer in layers for weight in layer.parameters() if weight.requires_grad]
