"""Self-training on mixtures, with rare classes drawn often and features held near the pretrained ones (DAFormer)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import MethodError, Progress, SeriesUse, SourceBatch, TargetBatch, switch, tunable
from methods.dacs import DACS
from methods.parts.teacher import make_teacher


class DAFormer(DACS):
    """Draw rare classes often, and keep what pretraining knows of things, on top of DACS (Hoyer et al., CVPR 2022).

    ``L = CE(source) + distance_weight * mean of ||f - f_0|| + weight * mixed``. The mixture is that of `dacs`, and
    source patches are drawn by its rare-class sampling. f are the encoder's deepest features of the source, f_0 those
    of a frozen copy of the network as it was before the first step. The mean is over the cells of the features of which
    at least ``min_share`` is labelled as one class, and that one is of ``things``. In the first ``warm_up`` of the
    steps the learning rate rises to the schedule's.

    ``things`` are classes joined by ``+``, such as ``things=building+swimming pool``; by default all. The paper takes
    the classes that ImageNet knows as objects, and few of land cover are: name those of the task that are.
    Where the encoder's weights are random at first, the copy is random too, and the distance says little: it is made
    for a pretrained one.

    Departures: those of `dacs`. The frozen copy normalises by the statistics of the batch, as the network does, so that
    the two differ in weights alone; the paper's encoder has no batch norm. In the warm-up each step is shortened, which
    is the same as a smaller rate. Optimiser, rates and network are the config's. All target pixels get pseudo-labels;
    those of the car's bonnet and of the sky, which get none in the paper, are not in an aerial image. The loss logged
    as segmentation holds the distance.
    The mixtures pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    series_use = SeriesUse.LEFT

    @dataclass(frozen=True)
    class Hyperparameters(DACS.Hyperparameters):
        strength: float = tunable(0.2, low=0.0, high=0.5)  # of the jitter
        decay: float = tunable(0.999, low=0.9, high=0.9999)  # of the teacher
        rare_classes: bool = switch(True, neutral=False)
        distance_weight: float = tunable(0.005, low=1e-4, high=0.1, log=True, neutral=0.0)
        min_share: float = tunable(0.75, low=0.5, high=1.0)  # of a cell's labels
        warm_up: float = tunable(0.0375, low=0.0, high=0.2, neutral=0.0)  # share of the steps
        things: str = ""  # all classes

    def setup(self) -> None:
        super().setup()
        self.pretrained = make_teacher(self.network)  # whose weights never follow
        self._things = indices_of(self.hyperparameters.things, self.task.classes)
        self._before: list[Tensor] = []  # the weights before a step of the warm-up

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        if warm_up_share(progress, self.hyperparameters.warm_up) < 1:
            self._before = [weights.detach().clone() for weights in self.network.parameters()]
        logits, features = self.network(source, return_features=True)
        # As one loss: one backward pass for both, after which their memory is free.
        learned = self.learn(self.segmentation_loss(source, logits) + self.distance(source, features))
        return {"segmentation": learned, **self.target_losses(source, target)}

    def distance(self, source: SourceBatch, features: Tensor) -> Tensor:
        """Return the weighted distance of the features (N, D, h, w) of a batch to those of the frozen copy."""
        with torch.no_grad():
            pretrained = self.pretrained(source, return_features=True)[1]
        size, options = features.shape[-2:], self.hyperparameters
        classes = cell_classes(source.labels, len(self.task.classes), (size[0], size[1]), options.min_share)
        chosen = torch.isin(classes, torch.tensor(self._things, device=classes.device))
        distance: Tensor = options.distance_weight * masked_distance(features, pretrained, chosen)
        return distance

    def target_losses(self, source: SourceBatch, target: TargetBatch) -> dict[str, Tensor]:
        """Return the losses on the target."""
        return {"mixed": self.mixed_loss(source, target, *self.teach(target))}

    def after_step(self, progress: Progress) -> None:
        share = warm_up_share(progress, self.hyperparameters.warm_up)
        with torch.no_grad():
            for weights, before in zip(self.network.parameters(), self._before, strict=False):
                weights.copy_(before.lerp(weights, share))
        self._before = []
        super().after_step(progress)


def indices_of(names: str, classes: tuple[str, ...]) -> list[int]:
    """Return the indices of classes whose names are joined by ``+``; of all for "".

    Raises:
        MethodError: there is no such class.
    """
    chosen = [name.strip() for name in names.split("+")] if names else list(classes)
    if unknown := [name for name in chosen if name not in classes]:
        raise MethodError(f"things: the task has no class {unknown[0]!r}; it has {', '.join(classes)}")
    return [classes.index(name) for name in chosen]


def warm_up_share(progress: Progress, warm_up: float) -> float:
    """Return the share of the learning rate in a step: it rises evenly to 1 in the first ``warm_up`` of the steps."""
    return min(1.0, (progress.step + 1) / max(warm_up * progress.steps, 1.0))


def cell_classes(labels: Tensor, classes: int, size: tuple[int, int], min_share: float) -> Tensor:
    """Return the class that covers at least a share of each cell of the features; `classes` where none does.

    Args:
        labels: (N, H, W) int64 with `methods.base.IGNORE`.
        size: h and w of the features.

    Returns:
        (N, h, w) int64.
    """
    # What is ignored is one class more.
    known = F.one_hot(labels.clamp(max=classes), classes + 1).movedim(-1, 1).float()
    share, winner = F.adaptive_avg_pool2d(known, size).max(1)
    return winner.masked_fill(share < min_share, classes)


def masked_distance(features: Tensor, others: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean Euclidean distance of the chosen cells' features, 0 if there are none.

    Args:
        features, others: (N, D, h, w).
        chosen: (N, h, w) bool.
    """
    distances = (features.float() - others.float()).norm(dim=1)
    return (distances * chosen).sum() / chosen.sum().clamp(min=1)
