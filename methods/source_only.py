"""Source-only training, the control every other method is compared with."""

from torch import Tensor

from methods.base import Method, Progress, SourceBatch, TargetBatch


class SourceOnly(Method):
    """Minimise the cross-entropy on the source domains, drawn equally often (empirical risk minimisation).

    It sees nothing of the target. What another method gains over this one, at the same steps, batches and starting
    weights, is what the method is worth (Gulrajani and Lopez-Paz, ICLR 2021).
    """

    is_control = True
    control_for = "training on the source alone"

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}
