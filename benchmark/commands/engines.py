"""Where ``landshift run`` trains: in processes of this machine, or in tasks of Slurm."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
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

    def work(self, session: Any, work: Any) -> int:
        """Run what is to be done under a bar; the number of jobs that failed."""
        from benchmark.grid.together import run_together
        from benchmark.terminal import RunBar

        jobs = len(work.left) + len(work.running)
        if not jobs:
            return 0
        then = "waiting for them; Ctrl-C ends that" if self._wait else "landshift report shows the table of all"
        with RunBar(jobs) as bar:

            def tell(runs: int) -> None:
                bar.tell(f"{runs} runs are at work in other calls, or wait for one that is; {then}")

            run_together(session, work, self._workers, bar.advance, bar.end, tell, self._gpus, wait=self._wait)
        return bar.failed


class Slurm:
    """Tasks of Slurm; what is wrong with the options is told before any data are read."""

    def __init__(self, options: argparse.Namespace) -> None:
        from benchmark.grid.cluster.profile import Profile, read_profile
        from benchmark.grid.cluster.slurm import check_installed

        if options.no_wait:
            raise SettingsError("--no-wait is for --engine local; with Slurm, --detach submits and returns")
        if options.workers:
            raise SettingsError(
                "--workers is for --engine local; of tasks of Slurm, at_once in the profile limits the number"
            )
        check_installed()
        profile = read_profile(options.profile) if options.profile else Profile()
        if options.runs_per_device:
            profile = replace(profile, runs_per_device=options.runs_per_device)
        if int(str(profile.gpus).rpartition(":")[2]) > 1:
            raise SettingsError(
                f"a task has gpus = {profile.gpus}, but a run trains on one; give 1: other tasks use the other GPUs"
            )
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

    def work(self, session: Any, work: Any) -> int:
        """Submit jobs and follow them, and those at work, under a bar; the number of those that failed."""
        from benchmark.grid.cluster import slurm
        from benchmark.grid.cluster.follow import Following
        from benchmark.terminal import RunBar

        jobs = [*work.left, *work.running]
        if not jobs:
            return 0
        folder = slurm.folder_of(session.plan.results)
        queue = slurm.Slurm(session.plan.results, session.experiment, self._profile)
        with RunBar(len(jobs)) as bar:
            following = Following(session, queue, self._profile, folder, bar.tell)
            begun = following.begin(jobs, bar.end)
            arrays = " ".join(dict.fromkeys(task.partition("_")[0] for task in begun.tasks))
            bar.tell(f"Slurm: {begun.submitted} runs submitted, {begun.attached} there before; logs in {folder}")
            if self._detach:
                bar.tell(f"the same command without --detach looks again; to stop: scancel {arrays}")
                return 0
            try:
                following.follow(bar.advance, bar.end)
            except KeyboardInterrupt:
                bar.tell(f"the runs stay in Slurm's queue; to stop them: scancel {arrays}")
                raise
        return bar.failed


def _gpus(options: argparse.Namespace) -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    if options.accelerator not in ("auto", "cuda", "gpu") or not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]
