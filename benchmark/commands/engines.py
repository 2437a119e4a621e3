"""Where ``landshift run`` trains: in processes of this machine, or in tasks of Slurm."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark.commands.arguments import positive
from benchmark.commands.settings import number_of_workers
from benchmark.errors import SettingsError

EPILOG = """\
on a cluster:
  landshift run PROTOCOL --engine slurm                          a task for each run, with the cluster's defaults
  landshift run PROTOCOL --engine slurm --profile cluster.toml   which partition, GPUs, memory, time ...
  landshift run PROTOCOL --engine slurm --detach                 submit, and do not wait

Ctrl-C leaves the tasks in the queue; the same command takes them up again, submits nothing twice, and ends with the
table. What was pre-empted, ran out of time or was killed goes on by itself. docs/cluster.md has a profile to start
from.
"""


Describe = Callable[[Any], str]


def no_words(ended: Any) -> str:
    """Return "": the bar shows the target mIoU."""
    return ""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``landshift run`` that say where it trains."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    group = parser.add_argument_group("where the runs are trained")
    group.add_argument(
        "--engine",
        choices=("local", "slurm"),
        default="local",
        help="local: worker processes of this machine (default); slurm: tasks of a cluster",
    )
    group.add_argument(
        "--profile", type=Path, metavar="FILE", help="a .toml with what a task of Slurm asks for; see docs/cluster.md"
    )
    group.add_argument("--detach", action="store_true", help="submit to Slurm and return; the same command looks again")
    group.add_argument(
        "--no-wait",
        action="store_true",
        help="end when nothing is left to begin, instead of waiting for what other calls on the same results are at; "
        "the table then has gaps, and the exit status is 0 all the same",
    )
    group.add_argument(
        "--runs-per-device",
        type=positive,
        metavar="K",
        help="K runs side by side on each GPU: N GPUs train N x K runs at once, and one run never spans two. 1 uses "
        "every GPU; more is for runs that do not fill one. Without it one GPU is used. With slurm: K runs in each task",
    )


def make_engine(options: argparse.Namespace) -> "Local | Slurm":
    """The engine that the options name.

    Raises:
        SettingsError: options that do not go together, a wrong profile, or no Slurm.
    """
    several = options.runs_per_device
    if several and options.workers:
        raise SettingsError("--workers is a number of processes, --runs-per-device one for each device: take one")
    if options.engine == "slurm":
        return Slurm(options)
    if options.profile or options.detach:
        raise SettingsError(f"{'--profile' if options.profile else '--detach'} is for --engine slurm")
    gpus = _gpus(options) if several else []
    if several:
        options.workers = several * max(1, len(gpus))
    return Local(number_of_workers(options), gpus, wait=not options.no_wait)


class Local:
    """Worker processes of this machine.

    Args:
        workers: as many.
        gpus: over which they are spread; none: each sees all.
        wait: for runs that other calls are at.
    """

    def __init__(self, workers: int, gpus: Sequence[str], *, wait: bool) -> None:
        self._workers, self._gpus, self._wait = workers, gpus, wait

    def check(self, bench: Any, work: Any) -> None:
        """Refuse what no training could begin with (`Bench.check_settings`), where there is one to begin."""
        if work.left:
            bench.check_settings()

    def provenance(self, bench: Any) -> Any:
        """Return that of the trainings to come."""
        from benchmark.devices import device_name, make_fabric
        from benchmark.provenance import Provenance

        return Provenance.here(device_name(make_fabric(bench.plan.accelerator, bench.plan.recipe.precision)))

    def work(self, session: Any, work: Any, describe: Describe = no_words) -> int:
        """Train what is left under a bar, and wait for what workers of other commands have; the number that failed.

        Args:
            describe: result of an ended job in the place of its target mIoU; "" for that.
        """
        from benchmark.experiments.launchers import LocalWorkers, follow
        from benchmark.experiments.session import ends
        from benchmark.experiments.worker import Worker
        from benchmark.terminal import RunBar

        jobs = [*work.left, *work.running]
        if not jobs:
            return 0
        session.add(jobs, again=True)
        by_key = {job.identity: job for job in jobs}
        with RunBar(len(jobs)) as bar:
            if work.running:
                bar.tell(f"{len(work.running)} of these runs are being trained by other commands")
            if min(self._workers, len(jobs)) == 1 and not self._gpus:
                watch = _Inline(session.results, by_key, bar, describe)
                Worker(
                    session.results, list(by_key), session.bench, name=watch.name, on_progress=watch, on_wait=watch.look
                ).run(wait=self._wait)
                watch.look()
            else:
                workers = LocalWorkers(
                    session.plan.results, list(by_key), min(self._workers, len(jobs)), self._gpus, wait=self._wait
                )
                try:
                    follow(
                        session.results,
                        jobs,
                        workers,
                        bar.advance,
                        lambda ended: bar.end(ended, describe(ended)),
                        workers.family,
                    )
                    workers.wait()
                finally:
                    workers.stop()
            open_jobs = len(jobs) - len(ends(session.results, jobs))
            if open_jobs:
                bar.tell(f"{open_jobs} runs are left to other commands; landshift report shows the table of all")
        return bar.failed


class _Inline:
    """The bar of a command whose only worker is its own process: it is called with the progress of each job.

    Attributes:
        name: of the worker.
    """

    def __init__(self, results: Any, jobs: Any, bar: Any, describe: Describe) -> None:
        from benchmark.experiments.worker import new_name

        self._results, self._jobs, self._bar, self._describe = results, dict(jobs), bar, describe
        self._current, self.name = "", new_name()

    def __call__(self, key: str, share: float) -> None:
        if key != self._current:
            self._current = key
            self.look()
        if key in self._jobs:
            self._bar.advance(self._jobs[key], share)

    def look(self) -> None:
        """Show the jobs that have ended since the last look."""
        from benchmark.experiments.session import ends

        for ended in ends(self._results, self._jobs.values(), self.name.rpartition("/")[0]):
            del self._jobs[ended.job.identity]
            self._bar.end(ended, self._describe(ended))


class Slurm:
    """Tasks of Slurm; what is wrong with the options is told before any data are read."""

    def __init__(self, options: argparse.Namespace) -> None:
        from benchmark.experiments.slurm import Profile, check_installed
        from benchmark.toml_files import read_toml

        if options.no_wait:
            raise SettingsError("--no-wait is for --engine local; with Slurm, --detach submits and returns")
        if options.workers:
            raise SettingsError(
                "--workers is for --engine local; of tasks of Slurm, at_once in the profile limits the number"
            )
        check_installed()
        profile = read_toml(options.profile, Profile) if options.profile else Profile()
        if options.runs_per_device:
            profile = profile.model_copy(update={"runs_per_device": options.runs_per_device})
        self._profile, self._detach = profile, options.detach

    def check(self, bench: Any, work: Any) -> None:
        """Refuse what no training could begin with; devices are those of other machines."""
        if work.left or work.running:
            bench.check_settings(device=False)

    def provenance(self, bench: Any) -> Any:
        """Return what is known of the trainings to come: code and packages, but not processor and device."""
        from benchmark.provenance import Provenance

        here = Provenance.here()
        return Provenance(here.code, here.packages)

    def work(self, session: Any, work: Any, describe: Describe = no_words) -> int:
        """Submit tasks and watch the queue under a bar; the number of runs that failed.

        Args:
            describe: see `Local.work`.
        """
        from benchmark.experiments.launchers import follow
        from benchmark.experiments.session import ends
        from benchmark.experiments.slurm import LOOK_EVERY, SlurmWorkers
        from benchmark.terminal import RunBar

        jobs = [*work.left, *work.running]
        if not jobs:
            return 0
        session.add(jobs, again=True)
        keys = [job.identity for job in (*work.done, *jobs)]
        with RunBar(len(jobs)) as bar:
            workers = SlurmWorkers(session.results, keys, self._profile, bar.tell)
            stop = f"scancel --name={workers.name}"
            if self._detach:
                bar.tell(f"the same command without --detach looks again; to stop: {stop}")
                return 0
            try:
                follow(
                    session.results,
                    jobs,
                    workers,
                    bar.advance,
                    lambda ended: bar.end(ended, describe(ended)),
                    every=LOOK_EVERY,
                )
            except KeyboardInterrupt:
                bar.tell(f"the runs stay in Slurm's queue; to stop them: {stop}")
                raise
            left = len(jobs) - len(ends(session.results, jobs))  # whose tasks were cancelled
        return bar.failed + left


def _gpus(options: argparse.Namespace) -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    if options.accelerator not in ("auto", "cuda", "gpu") or not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]
