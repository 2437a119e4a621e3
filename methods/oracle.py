"""The oracle: a bound, not a result."""

from torch import Tensor

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch


class Oracle(Method):
    """Train on the target's own labels: the labelled batches come from ``target_adapt`` instead of ``source_train``.

    It shows how far one could get with labels of the held-out place and time, at the same budget. It is never a result,
    and with a small ``target_adapt`` not even the ceiling: a method that sees far more source labels may pass it.
    """

    needs = Needs.TARGET_LABELS
    control_for = "all target labels"

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}
