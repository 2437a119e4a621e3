"""The progress bar of a command's jobs."""

import time
from typing import TYPE_CHECKING

from benchmark.common.console import Bar, console, duration
from benchmark.common.texts import shown

if TYPE_CHECKING:  # imports torch
    from benchmark.experiments.listing import Job
    from benchmark.experiments.session import Ended


class RunBar(Bar):
    """The runs of a comparison: one line for each that ended, and one bar for all."""

    def __init__(self, runs: int) -> None:
        super().__init__("training", runs)
        self._runs = runs
        self._shares: dict[str, float] = {}
        self._ended = 0
        self._started = time.monotonic()
        self.failed = 0

    def advance(self, job: "Job", share: float) -> None:
        """Show the share of a running job's training that is done, from 0 to 1."""
        self._shares[job.identity] = min(share, 0.99)
        self.show(self._ended + sum(self._shares.values()), self._runs, self._ended)

    def tell(self, line: str) -> None:
        """Print a line above the bar."""
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    def end(self, ended: "Ended", result: str = "") -> None:
        """Print how a run ended.

        Args:
            result: text in place of the target's mean IoU, where that is not to be looked at.
        """
        self._shares.pop(ended.job.identity, None)
        self._ended += 1
        what = shown(f"[{self._ended}/{self._runs}] {ended.job.label}, {ended.job.fold}, seed {ended.job.seed}")
        if ended.elsewhere and not ended.error:
            console.print(f"{what}: trained by another command", markup=False, highlight=False)
        elif ended.pruned:
            console.print(f"{what}: {ended.error}", markup=False, highlight=False)
        elif ended.error:
            self.failed += 1
            console.print(
                f"{what}: FAILED: {shown(ended.error)}", style="red", markup=False, highlight=False, soft_wrap=True
            )
        else:
            # A log file shows no bar, so that every line has the time left, too.
            left = (time.monotonic() - self._started) / self._ended * (self._runs - self._ended)
            result = result or f"target mIoU {100 * ended.miou:.1f}"
            took = f"({ended.seconds:.0f} s; about {duration(left)} left)"
            console.print(f"{what}: {result} {took}", markup=False, highlight=False)
        self.show(self._ended + sum(self._shares.values()), self._runs, self._ended)
