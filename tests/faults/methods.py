"""A method that ends its process."""

import os
import signal

from methods.source_only import SourceOnly

AFTER = 5  # steps


class Deadly(SourceOnly):
    """Source-only that ends as the kernel ends a process for want of memory."""

    def losses(self, source, target, progress):
        if progress.step == AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().losses(source, target, progress)
