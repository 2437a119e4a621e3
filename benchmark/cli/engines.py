"""The engine that ``landshift run`` trains with: processes of this machine, or tasks of Slurm."""

import argparse
import os
from pathlib import Path
from typing import Any

from benchmark.cli.options import positive
from benchmark.cli.settings import number_of_workers
from benchmark.common.errors import SettingsError

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
    """Add the options of ``landshift run`` that say where it trains."""
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


def make_engine(options: argparse.Namespace) -> Any:
    """Return the engine that the options name.

    Raises:
        SettingsError: options that do not go together, a wrong profile, or no Slurm.
    """
    several = options.runs_per_device
    if several and options.workers:
        raise SettingsError("--workers is a number of processes, --runs-per-device one for each device: take one")
    if options.engine == "slurm":
        return _slurm(options)
    if options.profile or options.detach:
        raise SettingsError(f"{'--profile' if options.profile else '--detach'} is for --engine slurm")
    from benchmark.experiments.engines import Local

    gpus = _gpus(options) if several else []
    if several:
        options.workers = several * max(1, len(gpus))
    return Local(number_of_workers(options), gpus, wait=not options.no_wait)


def _slurm(options: argparse.Namespace) -> Any:
    """Return tasks of Slurm; what is wrong with the options is an error before any data are read."""
    from benchmark.common.toml_files import read_toml
    from benchmark.experiments.engines import Slurm
    from benchmark.experiments.slurm import Profile, check_installed

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
    return Slurm(profile, detach=options.detach)


def _gpus(options: argparse.Namespace) -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    if options.accelerator not in ("auto", "cuda", "gpu") or not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]
