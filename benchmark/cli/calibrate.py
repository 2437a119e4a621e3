"""``landshift calibrate``: how many steps a config needs under a protocol."""

import argparse
import shlex
import sys
from typing import Any

from benchmark.cli import engines
from benchmark.cli import options as shared
from benchmark.cli.options import names, positive, seeds
from benchmark.cli.settings import open_bench
from benchmark.common.errors import SettingsError, TrackingError

EPILOG = """\
Trains source-only with 250, 500, 1,000 ... steps, until twice as many change mean IoU on source
validation by less than two points (mean over folds and seeds). The curve is written into
RESULTS/calibration/PROTOCOL.toml and to MLflow, and tables of this config then say whether they were trained to the
end. The same command goes on after an interruption.

example:
  landshift calibrate world-leave-times-out --preset tiny --start 125 --workers 2
"""
SECONDS = "time/training_seconds"
DROPPED = {"--start", "--most", "--seeds", "--folds"}  # options that the command for a comparison leaves out


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    shared.add_protocol(parser)
    parser.allow_abbrev = False  # `_comparing` leaves out options by their names
    parser.add_argument("--start", type=positive, default=250, metavar="N", help="the fewest steps (default: 250)")
    parser.add_argument(
        "--most", type=positive, default=16_000, metavar="N", help="give up with as many steps (default: 16,000)"
    )
    parser.add_argument("--seeds", type=seeds, default=(0, 1), metavar="0,1,2", help="seeds (default: 0,1)")
    parser.add_argument("--folds", type=names, default=(), metavar="A,B", help="only these folds (default: all)")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write the file into results/calibration of the repository that landshift runs from",
    )
    parser.add_argument(
        "--mixed",
        action="store_true",
        help=shared.MIXED.format("curve"),
    )
    engines.add_options(parser)
    parser.epilog = EPILOG
    shared.add_running(parser, without="steps")


def calibrate(options: argparse.Namespace) -> int:
    """Double the steps until source-only gains little, then write and print the curve; 1 if runs are not finished."""
    if options.most < 2 * options.start:
        raise SettingsError(f"--most must be at least twice --start ({options.start:,}), not {options.most:,}")
    engine = engines.make_engine(options)
    from benchmark.common.console import print_rows
    from benchmark.experiments import calibration
    from benchmark.experiments.calibrating import publish

    file = _file(options)
    measured = _measure(options, engine)
    if measured is None:
        return 1
    session, points, versions = measured
    bench = session.bench
    result = calibration.Calibration(
        fingerprint=bench.fingerprint,
        dataset=bench.catalog.name,
        dataset_digest=bench.store.digest,
        seeds=tuple(options.seeds),
        protocol_folds=len(bench.folds),
        version=", ".join(sorted(versions)),
        recipe=calibration.config_of(bench.shared["recipe"]),
        points=tuple(points),
    )
    kept = calibration.add(file, result)
    try:
        publish(session, kept, calibration.read(file), file)
    except TrackingError as error:
        print(f"the curve is not in MLflow yet: {error}. The same command publishes it", file=sys.stderr)
    print_rows(*calibration.rows(points))
    recipe = bench.shared["recipe"] | {"steps": result.converged_steps or result.most}
    print(calibration.calibration_of(recipe, result.fingerprint, result.dataset_digest, [result]).words)
    stays = f"not written: in {file} is a curve up to {kept.most:,} steps"
    print(f"written: {file}" if kept is result else stays)
    if result.converged_steps:
        print(f"compare: {_comparing(options, result.converged_steps)}")
    return 0


def _file(options: argparse.Namespace) -> Any:
    """Return the file that the curve is written to, and check it before anything is trained."""
    from benchmark.experiments.calibration import checkout, file_of
    from protocols.files import load

    root = checkout()
    if options.publish and root is None:
        raise SettingsError("--publish writes into the repository, and landshift is installed without it")
    results = root / "results" if options.publish and root else options.results
    return file_of(results, load(options.protocol, partial=options.partial).name)


def _measure(options: argparse.Namespace, engine: Any) -> tuple[Any, list[Any], set[str]] | None:
    """Return the session of the last length, the points of the curve, and the versions of landshift that they are of.

    None where the runs of a length are not all finished: a curve without it is not what the options ask.
    """
    from benchmark.common.console import duration
    from benchmark.experiments.calibrating import BESIDE, finished, point_of
    from benchmark.experiments.calibration import converged_steps
    from benchmark.experiments.labels import control_label
    from benchmark.experiments.session import Session

    points: list[Any] = []
    versions: set[str] = set()
    before: list[Any] = []
    lengths = [options.start]
    while 2 * lengths[-1] <= options.most:
        lengths.append(2 * lengths[-1])
    for number, steps in enumerate(lengths, 1):
        bench = open_bench(argparse.Namespace(**{**vars(options), "recipe_steps": steps}))
        session = Session(bench.plan, bench=bench, beside=BESIDE)
        jobs = bench.jobs([control_label()], options.seeds, options.folds)
        work = session.work(jobs)
        print(
            f"{bench.protocol.label}, {steps:,} steps (length {number} of at most {len(lengths)}): "
            f"{work.count} runs of source-only, {len(work.done)} done before, {len(work.left)} to do"
        )
        engine.check(bench, work)
        if work.left and not options.mixed:
            session.refuse_mixture([*before, *work.done], engine.provenance(bench))
        session.add(work.done)
        engine.work(session, work)
        if undelivered := session.deliver(jobs):
            print(undelivered, file=sys.stderr)
        runs = finished(session, jobs)
        if len(runs) < len(jobs):
            print(
                f"{len(jobs) - len(runs)} of {len(jobs)} runs with {steps:,} steps are not finished, so no curve is "
                "written; the same command goes on"
            )
            return None
        before += jobs
        versions |= {run.facts["code_version"] for run in runs}
        points.append(point_of(steps, runs))
        gained = f", {100 * (points[-1].mean - points[-2].mean):+.1f} to half as many" if points[1:] else ""
        print(f"{steps:,} steps: source validation {100 * points[-1].mean:.1f}{gained}")
        if converged_steps(points):
            break
        if number < len(lengths):
            each = duration(2 * sum(run.metrics[SECONDS] for run in runs) / len(runs))
            print(f"{2 * steps:,} steps follow: {work.count} runs, each of about {each}")
    return session, points, versions


def _comparing(options: argparse.Namespace, steps: int) -> str:
    """Return the command that compares methods with this config: this one with the steps, without its own options."""
    kept, skip = [], False
    for word in shlex.split(options.command_line)[2:]:
        if not skip and word not in ("--publish", "--mixed") and word.partition("=")[0] not in DROPPED:
            kept.append(word)
        skip = not skip and word in DROPPED
    return shlex.join(["landshift", "run", *kept, "--steps", str(steps)])
