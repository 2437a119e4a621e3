"""Instance selective whitening (ISW, RobustNet)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base import Method, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.clustering import lowest_cluster
from methods.parts.feature_size import residual_stages
from methods.parts.photometric import strong_view

EPSILON = 1e-5


class ISW(Method):
    """Take from shallow features what changes with the light of an image (Choi et al., CVPR 2021, "RobustNet").

    What leaves each of the first ``stages`` is standardised by image and channel, F. Of its covariances
    ``F F^T / (pixels - 1)``, those that vary most between an image and the same one in other light are made small:
    ``L = CE(source) + weight * mean over stages, images and these covariances of |covariance|``. How much each varies
    is measured in the second half of the ``warm_up``, in which the second term is missing: the variance over such a
    pair, averaged. All but the lowest of ``clusters`` clusters (of optimal k-means) are chosen, once.

    Departures: stages are residual ones (see `residual_stages`); the official code has a third place, in the stem, and
    its layer before the last activation of a stage, not after it with one more. The variances are averaged over many
    steps, not at one moment. Light is changed as in DACS (see `strong_view`), without hue, and in four of five images.
    As in the official code zeros below the diagonal are clustered, too, and pretrained weights know no such layer.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(0.6, low=0.1, high=2.0)
        stages: int = tunable(2, low=1, high=3, neutral=0)
        warm_up: float = tunable(0.1, low=0.0, high=0.5)  # share of the steps
        clusters: int = tunable(3, low=2, high=20)
        strength: float = tunable(0.8, low=0.2, high=0.9)  # of the change of light

    def setup(self) -> None:
        channels = residual_stages(self.network, len(self.task.bands))
        self._stages = list(channels)[: self.hyperparameters.stages]
        self._features: dict[str, Tensor] = {}  # standardised ones of the last pass
        for name in self._stages:
            count = channels[name]
            self.register_buffer(f"variances_{name}", torch.zeros(count, count))  # a sum
            self.register_buffer(f"chosen_{name}", torch.zeros(count, count))  # 1 for yes

    def fuse(self, stage: str, features: Tensor) -> Tensor:
        if stage not in self._stages:
            return features
        standard = standardize(features)
        if self.training:
            self._features[stage] = standard
        return standard.relu()

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        if not self._stages:
            return {"segmentation": self.segmentation_loss(source)}
        warm_up, last = self.hyperparameters.warm_up, (progress.step - 1) / progress.steps
        is_warm = progress.fraction >= warm_up
        is_first = is_warm and (progress.step == 0 or last < warm_up)
        if is_first or warm_up / 2 <= progress.fraction < warm_up:
            self.measure(source)
        if is_first:
            self.choose()
        segmentation = self.segmentation_loss(source)
        parts = [whitening_loss(self._features[name], getattr(self, f"chosen_{name}")) for name in self._stages]
        weight = self.hyperparameters.weight if is_warm else 0.0
        self._features = {}
        return {"segmentation": segmentation, "whitening": weight * torch.stack(parts).mean()}

    @torch.no_grad()
    def measure(self, source: SourceBatch) -> None:
        """Add the variances of covariances between the images and the same ones in other light."""
        random, bands = self.generator("light"), self.task.radiometric_bands
        other = strong_view(source.images, self.hyperparameters.strength, random, bands)
        self.network.eval()
        pairs = []
        for images in (source.images, other):
            self.network(replace(source, images=images))
            pairs.append({name: covariances(features) for name, features in self._features.items()})
        self.network.train()
        for name in self._stages:
            first, second = (pair[name].triu(1) for pair in pairs)
            getattr(self, f"variances_{name}").add_((first - second).square().mean(0) / 2)

    def choose(self) -> None:
        """Choose the covariances of each stage that vary most."""
        for name in self._stages:
            variances = getattr(self, f"variances_{name}")
            count = variances.numel() - lowest_cluster(variances, self.hyperparameters.clusters)
            chosen = getattr(self, f"chosen_{name}")
            chosen.zero_().view(-1)[variances.flatten().topk(count).indices] = 1


def standardize(features: Tensor) -> Tensor:
    """Return features (N, D, h, w) whose channels have mean 0 and biased variance 1 in each image."""
    values = features.float()
    variance, mean = torch.var_mean(values, (2, 3), correction=0, keepdim=True)
    return ((values - mean) / (variance + EPSILON).sqrt()).to(features.dtype)


def covariances(features: Tensor) -> Tensor:
    """Return the products of standardised channels over the pixels of each image: (N, D, h, w) -> (N, D, D) float32."""
    values = features.float().flatten(2)
    with torch.autocast(values.device.type, enabled=False):  # differences between two lights would be rounded
        return values @ values.mT / max(values.shape[2] - 1, 1)


def whitening_loss(features: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean size of the chosen (D, D) covariances of standardised features (N, D, h, w); 0 for none."""
    return ((covariances(features) * chosen).abs().sum((1, 2)) / chosen.sum().clamp(min=1)).mean()
