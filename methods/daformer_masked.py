"""DAFormer that learns from masked target images too (MIC on DAFormer)."""

from dataclasses import dataclass

from torch import Tensor

from methods.base import SeriesUse, SourceBatch, TargetBatch
from methods.dacs_masked import DACSMasked
from methods.daformer import DAFormer


class DAFormerMasked(DAFormer, DACSMasked):
    """Masked image consistency on top of DAFormer, as its paper uses it (Hoyer et al., CVPR 2023, "MIC").

    ``L = CE(source) + distance_weight * mean of ||f - f_0|| + weight * mixed + masked_weight * masked``: the losses of
    `daformer` and the loss behind the mask of `dacs-masked`. One teacher labels the target for both losses on it.

    Departures: those of the methods that it joins.
    Mixtures and masked images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    series_use = SeriesUse.LEFT

    @dataclass(frozen=True)
    class Hyperparameters(DAFormer.Hyperparameters, DACSMasked.Hyperparameters):
        pass

    def target_losses(self, source: SourceBatch, target: TargetBatch) -> dict[str, Tensor]:
        labels, share = self.teach(target)
        mixed = self.learn(self.mixed_loss(source, target, labels, share))
        return {"mixed": mixed, "masked": self.masked_loss(target, labels, share)}
