"""``landshift plan``: what a comparison would cost, before anything is trained."""

import argparse
from collections.abc import Sized
from math import isnan
from pathlib import Path
from typing import Any

from benchmark.cli import options as shared
from benchmark.cli.options import positive
from benchmark.cli.settings import make_plan, usual_workers
from benchmark.evaluation.selection import DEFAULT_RULE, RULES

EPILOG = """\
It lists the jobs of `landshift run` (with --trials first those of `landshift tune`), each once, and says how many are
done and which cannot be run. It trains nothing and writes nothing. Hours are those of finished runs with the same
network, batch size, crop and precision, in proportion to their steps; a method without such a run takes source-only's
time times what a step of it costs (docs/methods). So a short run gives the hours of a long comparison:

  landshift run world-leave-times-out --method source-only --steps 100
  landshift plan world-leave-times-out --seeds 0,1,2 --workers 8 --steps 5000

examples:
  landshift plan world-leave-times-out --method source-only --method dacs --trials 20 --tune-on one
  landshift plan my-towns.toml --data my-data.toml --folds north,south
  landshift plan flair1-leave-departments-out --preset flair-baseline    the data may be missing: its table counts them
"""
COSTS = Path(__file__).parents[2] / "docs" / "methods" / "costs.json"  # of a clone of the repository


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    shared.add_protocol(parser)
    shared.add_grid(parser)
    parser.add_argument("--workers", type=positive, metavar="N", help="runs at once (default: as landshift run)")
    parser.add_argument("--trials", type=positive, metavar="N", help="as if `landshift tune --trials N` came first")
    parser.add_argument("--tune-on", choices=("one", "every"), default="every", help="folds (default: every)")
    parser.add_argument("--rule", choices=list(RULES), default=DEFAULT_RULE, metavar="R", help="of `landshift tune`")
    shared.add_training(parser)


def plan(options: argparse.Namespace) -> int:
    """Count, estimate and print; what stops a run is raised here, too."""
    from benchmark.conformance.costs import read_costs
    from benchmark.experiments.estimate import Timing, outline, run_bytes, store_bytes
    from benchmark.experiments.listing import chosen_folds, wanted_labels
    from benchmark.experiments.results import ResultsFolder, has_results
    from methods.registry import available

    settings = make_plan(options)
    labels = wanted_labels(options.method or available(), settings.recipe)
    results = ResultsFolder(options.results) if has_results(options.results) else None
    protocol = outline(settings)
    folds = chosen_folds(protocol.label, list(protocol.sizes), options.folds)
    counts = ", ".join(map(_many, (labels, folds, options.seeds), ("method", "fold", "seed")))
    print(f"{protocol.label}: {counts}; {settings.recipe.steps:,} steps a training")
    stages = _stages(options, settings.recipe, results, protocol, labels, folds)
    costs = {name: cost.time for name, cost in read_costs(COSTS).items()}
    timing = Timing(results.runs("") if results else [], protocol, settings.recipe, costs)
    for stage in stages:
        _print_stage(stage, timing)
    if results and not protocol.decoded:
        print(f"finished runs are not counted as done, since the data are not decoded in {options.stores}")
    left = [job for stage in stages for job in stage.work.left]
    print(f"\ntime: {timing.words(left, options.workers or usual_workers(options))}")
    run, there = run_bytes(timing.records), "there already" if protocol.decoded else "at least, to be decoded"
    disk = "unknown before a run is finished" if isnan(run) else f"{_bytes(run * len(left))}, {_bytes(run)} a run"
    print(f"disk: decoded patches {_bytes(store_bytes(protocol))} ({there}); results {disk}")
    return 0


def _stages(
    options: argparse.Namespace, recipe: Any, results: Any, protocol: Any, labels: list[str], folds: list[str]
) -> list[Any]:
    """Return the comparison, after its tuning if there is one; the second trial is counted as the chosen setting."""
    from benchmark.experiments.estimate import count_jobs
    from benchmark.tuning.plan import Tuning, check_rule
    from benchmark.tuning.space import trial_labels

    if options.trials is None:
        return [count_jobs("the comparison", protocol.jobs(labels, folds, options.seeds), {}, results)]
    on, tuning = folds[:1] if options.tune_on == "one" else folds, Tuning(options.rule, max(options.trials, 2))
    check_rule(tuning)
    trials, reasons = trial_labels(labels, recipe, tuning)
    for reason in dict.fromkeys(reasons.values()):
        print(f"not tuned: {', '.join(label for label, why in reasons.items() if why == reason)}: {reason}")
    rows = {trial: label for label, tried in trials.items() for trial in tried}
    jobs = protocol.jobs([trial for tried in trials.values() for trial in tried[: options.trials]], on, [tuning.seed])
    first = count_jobs(f"{options.trials} trials of each method on {_many(on, 'fold')}", jobs, rows, results)
    tuned = {trials[label][1]: f"{label} (tuned)" for label in trials}
    jobs = protocol.jobs([*tuned, *reasons], folds, options.seeds)
    return [first, count_jobs("the tuned comparison", jobs, tuned, results, first.work.left)]


def _print_stage(stage: Any, timing: Any) -> None:
    from benchmark.common.console import duration, print_rows

    states, body = ("done", "running", "skipped", "left"), []
    for row, (label, count) in stage.counts().items():
        seconds, source = timing.of(label)
        times = ("", "") if isnan(seconds) else (duration(seconds), duration(seconds * count["left"]))
        body.append((row, *(str(count[state] or "") for state in states), *times, source))
    body.append(("all", *(str(len(getattr(stage.work, state))) for state in states), "", "", ""))
    print(f"\n{stage.title}:")
    print_rows(("method", "done", "running", "skipped", "to do", "a run takes", "all take", "from"), body)
    for reason, rows in stage.skipped().items():
        print(f"skipped: {', '.join(rows)}: {reason}")
    if starting := sum(bool(job.parent) for job in stage.work.left):
        print(f"{starting:,} of them start from the source-only run of their fold and seed, which is listed once")


def _many(what: Sized, name: str) -> str:
    return f"{len(what):,} {name}" + "s" * (len(what) != 1)


def _bytes(count: float) -> str:
    units = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6))
    return next((f"{count / size:,.1f} {unit}" for unit, size in units if count >= size), f"{count / 1e3:,.0f} kB")
