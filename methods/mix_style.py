"""Mixed feature statistics of two images (MixStyle)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import Method, Progress, SourceBatch, TargetBatch, choice, tunable
from methods.parts.feature_size import residual_stages
from methods.parts.feature_statistics import channel_statistics, restyle
from methods.parts.partners import other_domain_partners
from methods.parts.randomness import numpy_generator

PARTNERS = {
    "random": lambda domains, random: torch.randperm(len(domains), generator=random),
    "cross-domain": other_domain_partners,
}


class MixStyle(Method):
    """Train on features whose style is between those of two source images (Zhou et al., ICLR 2021).

    Style is the mean m and the standard deviation s of each channel of a feature map. After each of the first stages
    of the encoder, with some probability, image i gets that between its own style and that of a partner j:
    ``(f_i - m_i) / s_i * (a s_i + (1 - a) s_j) + a m_i + (1 - a) m_j``, with ``a ~ Beta(alpha, alpha)`` for each
    image, and no gradient through m and s. ``L = CE(source)``. At test time nothing is changed.

    Departures: partners across domains are drawn for each image from all images of other domains, where the official
    code swaps the halves of a batch of two domains. Stages are counted from the first residual one (see
    `residual_stages`), not from a stem before it. Style is that of the crop that the network sees, as in the official
    code.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        probability: float = tunable(0.5, low=0.1, high=1.0, neutral=0.0)  # for a batch, drawn again after each stage
        alpha: float = tunable(0.1, low=0.05, high=1.0, log=True)
        stages: int = tunable(2, low=1, high=3)
        partners: str = choice("random", PARTNERS)

    def setup(self) -> None:
        self._stages = list(residual_stages(self.network, len(self.task.bands)))[: self.hyperparameters.stages]

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        self._domains = source.domains.cpu()
        return {"segmentation": self.segmentation_loss(source)}

    def perturb(self, stage: str, features: Tensor) -> Tensor:
        settings, random = self.hyperparameters, self.generator(stage)
        if stage not in self._stages or torch.rand((), generator=random) >= settings.probability:
            return features
        partners = PARTNERS[settings.partners](self._domains, random)
        # torch draws no beta distribution from a generator of one's own.
        numbers = numpy_generator(self.seed, "mix style", stage, self.progress.step)
        shares = torch.from_numpy(numbers.beta(settings.alpha, settings.alpha, len(partners))).float()
        return mix_styles(features, partners.to(features.device), shares.to(features.device))


def mix_styles(features: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Return features with statistics between their own and those of their partners.

    Args:
        features: (N, D, h, w).
        partners: (N,) int64, index of each image's partner.
        shares: (N,), of its own statistics, from 0 to 1.

    Returns:
        (N, D, h, w).
    """
    own = channel_statistics(features.detach(), epsilon=1e-6)
    shares = shares[:, None, None, None]
    mean, deviation = (shares * mine + (1 - shares) * mine[partners] for mine in own)
    return restyle(features, own, (mean, deviation))
