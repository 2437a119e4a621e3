"""Methods that break, each in its own way, after some steps."""

import os
import signal

import torch

from methods.source_only import SourceOnly

AFTER = 5


class _Breaks(SourceOnly):
    def losses(self, source, target, progress):
        losses = super().losses(source, target, progress)
        return self.broken(losses) if progress.step == AFTER else losses


class NotANumber(_Breaks):
    """A loss that is no number."""

    def broken(self, losses):
        return {name: loss * float("nan") for name, loss in losses.items()}


class Greedy(_Breaks):
    """More memory than there is."""

    def broken(self, losses):
        torch.empty(2**50)


class Vanishing(_Breaks):
    """Ends as the kernel ends a process for want of memory."""

    def broken(self, losses):
        os.kill(os.getpid(), signal.SIGKILL)


class Mistaken(_Breaks):
    """A mistake in Python."""

    def broken(self, losses):
        return {"segmentation": losses["segmentatoin"]}
