"""Source-only with a few labelled patches of the target: a baseline, not a competitor."""

from torch import Tensor

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch


class FewTargetLabels(Method):
    """Minimise the cross-entropy on the source domains and on a few labelled patches of ``target_adapt``.

    The patches that the protocol sets aside (``few``) form one more domain, drawn as often as each of the source's. It
    is what an adaptation method competes with: labelling k patches instead.
    """

    needs = Needs.FEW_TARGET_LABELS
    control_for = "a few target labels"

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}
