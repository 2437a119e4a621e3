"""``landshift plan``: what a comparison would cost, before anything is trained."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.cli.arguments import above_zero, positive
from benchmark.cli.settings import make_plan
from benchmark.evaluation.selection import DEFAULT_RULE, RULES

EPILOG = """\
It counts trainings as `landshift run` and `landshift tune` would start them: each job once, and finished ones not at
all. It trains nothing and writes nothing; the data need not be there where the sizes of the folds are pinned or
published.

Times are those of finished runs of the same method and training in this results folder; where there are none, those of
source-only times what a step of the method costs beside it (`landshift bench --methods`); where there is no source-only
run either, a few steps are measured on this machine (--no-measure leaves that out). Every number says which it is.
--seconds-per-step takes the place of all of them, to plan for a device that is not at hand.

examples:
  landshift plan world-leave-times-out --seeds 0,1,2                          all methods
  landshift plan world-leave-times-out --method source-only --method dacs --trials 20 --tune-on one
  landshift plan my-towns.toml --data my-data.toml --fleet 8 --runs-per-device 2
  landshift plan flair1-leave-departments-out --preset flair-baseline --seconds-per-step 0.05 --fleet 64
  landshift plan my-towns.toml --simulate folds=12,train=9000,val=1000,adapt=400,test=400,bands=3,size=256,classes=5
"""
FLEETS = (1, 8, 64)
COSTS = Path("docs", "methods", "costs.json")  # of this repository


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only a plan has."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--trials",
        type=positive,
        metavar="N",
        help="as if `landshift tune --trials N` came first (default: no tuning)",
    )
    parser.add_argument(
        "--tune-on",
        choices=("one", "every"),
        default="every",
        help="tune on one fold for all, or on every fold (default)",
    )
    parser.add_argument(
        "--rule",
        choices=list(RULES),
        default=DEFAULT_RULE,
        metavar="R",
        help=f"of the tuning (default: {DEFAULT_RULE})",
    )
    parser.add_argument("--fleet", type=positive, default=1, metavar="N", help="devices there are (default: 1)")
    parser.add_argument(
        "--runs-per-device", type=positive, default=1, metavar="N", help="runs at once on each device (default: 1)"
    )
    parser.add_argument(
        "--seconds-per-step", type=above_zero, metavar="S", help="of source-only, in place of all that is measured"
    )
    parser.add_argument(
        "--seconds-per-patch",
        type=above_zero,
        metavar="S",
        help="of a patch that is only predicted (default: a third of what it costs in a step)",
    )
    parser.add_argument("--no-measure", action="store_true", help="no short measurement where no run is finished")
    parser.add_argument(
        "--simulate",
        default="",
        metavar="COUNTS",
        help="folds=50,train=68000,val=7500,adapt=775,test=775: what to take of folds that nobody knows yet",
    )


def plan(options: argparse.Namespace) -> int:
    """Count, estimate and print.

    Raises:
        SettingsError, MethodError, ProtocolError, DataError: what would stop a run as well, or nothing is known of the
            folds.
    """
    from benchmark.experiments.listing import chosen_folds, wanted_labels
    from benchmark.experiments.results import ResultsFolder, has_results
    from benchmark.planning.outline import outline, read_simulated
    from methods.registry import available

    settings = make_plan(options)
    results = ResultsFolder(options.results) if has_results(options.results) else None
    found = outline(settings, results, read_simulated(options.simulate) if options.simulate else None)
    labels = wanted_labels(options.method or available(), settings.recipe)
    folds = chosen_folds(found.label, list(found.folds), options.folds)
    stages = _stages(options, found, labels, folds, settings.recipe, results)
    _print_head(options, found, settings.recipe, labels, folds)
    known = _known(options, found, settings.recipe, results)
    print(f"  times: {known.words}")
    timing = _timing(found, settings.recipe, known)
    for stage in stages:
        _print_stage(stage, timing, known, options)
    if options.trials:
        _print_untuned(labels, settings.recipe, options.rule, options.trials)
    _print_sum(stages, timing, options)
    _print_disk(stages, found, settings.recipe, known)
    _print_memory(labels, settings.recipe, known, options)
    if timing:
        _print_more(stages[-1], timing, labels, folds, options)
    return 0


@dataclass(frozen=True)
class _Known:
    """What the estimates stand on."""

    paces: Any
    words: str
    weights: int
    activations: float | None
    costs: Mapping[str, Any]
    records: Sequence[Any]


def _stages(
    options: argparse.Namespace, found: Any, labels: Sequence[str], folds: Sequence[str], recipe: Any, results: Any
) -> list[Any]:
    from benchmark.planning.count import comparison_stage, tuned_stage, tuning_stage
    from benchmark.tuning.plan import Tuning, check_rule

    if options.trials is None:
        return [comparison_stage(found, labels, options.seeds, folds, recipe, results)]
    on = list(folds[:1] if options.tune_on == "one" else folds)
    tuning = Tuning(options.rule, options.trials, on[0] if options.tune_on == "one" else "")
    check_rule(tuning)
    trials = tuning_stage(found, labels, on, recipe, results, tuning)
    return [trials, tuned_stage(found, labels, options.seeds, folds, recipe, results, tuning, trials)]


def _known(options: argparse.Namespace, found: Any, recipe: Any, results: Any) -> _Known:
    """Look at the finished runs, and measure where there are none."""
    from benchmark.conformance.costs import read_costs
    from benchmark.experiments.labels import control_label
    from benchmark.planning.estimate import peaks_of
    from benchmark.planning.pace import Pace, Paces, assumed_base, measured_paces, stream_factor
    from benchmark.planning.probe import activations_of, probe, weights_of

    costs = read_costs(Path(__file__).parents[2] / COSTS)
    measured, device, mine = measured_paces(results.runs("") if results else [], found, recipe)
    base = measured.get(control_label())
    if options.seconds_per_step:
        measured, base = {}, assumed_base(options.seconds_per_step, options.seconds_per_patch, recipe, found.shape)
        words = f"assumed, not measured: {options.seconds_per_step:g} s a step of source-only (--seconds-per-step)"
    elif base:
        words = f"measured here, on {device}"
    elif options.no_measure:
        words = "of methods without a run here nothing is known (--no-measure)"
    else:
        seen = probe(recipe, found.shape, options.accelerator)
        base = Pace(seen.step, seen.patch, "measured now")
        part = "" if seen.batch == recipe.batch_size else f" with {seen.batch} of {recipe.batch_size} patches a step"
        words = f"a few steps of source-only measured now on this machine's {seen.device}{part}, on random images"
    paces = Paces(measured, base, costs, stream_factor(recipe, found.shape))
    weights = weights_of(recipe, found.shape)
    activations = None if options.no_measure or peaks_of(mine) else activations_of(recipe, found.shape)
    return _Known(paces, words, weights, activations, costs, mine)


def _timing(found: Any, recipe: Any, known: _Known) -> Any:
    from benchmark.planning.estimate import Timing

    return Timing(found, recipe, known.paces) if known.paces.base else None


def _print_head(
    options: argparse.Namespace, found: Any, recipe: Any, labels: Sequence[str], folds: Sequence[str]
) -> None:
    from statistics import mean

    from benchmark.planning.estimate import shape_words
    from protocols.base import PARTS

    means = [mean(column) for column in zip(*(found.folds[fold] for fold in folds), strict=True)]
    parts = ", ".join(f"{number:,.0f} {part}" for part, number in zip(PARTS, means, strict=True))
    counts = ((len(labels), "method"), (len(folds), "fold"), (len(options.seeds), "seed"))
    network = recipe.network
    print(f"{found.label}: {', '.join(_many(*count) for count in counts)}")
    print(f"  a fold has on average {parts}; patches of {shape_words(found.shape)}")
    print(
        f"  {network.architecture} {network.encoder}, {recipe.steps:,} steps of {recipe.batch_size} patches, crop "
        f"{recipe.crop or 'none'}, {_many(recipe.checkpoints, 'checkpoint')}, {recipe.precision}"
    )
    for words in found.words:
        print(f"  {words}")


def _print_stage(stage: Any, timing: Any, known: _Known, options: argparse.Namespace) -> None:
    from benchmark.common.console import print_rows
    from benchmark.planning.count import skipped_reasons

    counts = stage.counts()
    states = ("asked", "new", "done", "running", "shared", "skipped")
    used = [state for state in states if state in ("asked", "new") or any(row[state] for row in counts.values())]
    hours = timing.by_row(stage) if timing else {}
    labels = {stage.rows.get(job.identity, job.label): job.label for job in stage.asked}
    body = []
    for row, count in counts.items():
        pace, mine = known.paces.of(labels[row]), hours.get(row)
        times = (
            _span(mine.total / count["new"]) if mine else "",
            _hours(mine.total * _share(options)) if mine else "",
            f"{pace.step:.3g}" if pace else "unknown",
            pace.words if pace else "",
        )
        body.append((row, *(f"{count[state]:,}" if count[state] else "" for state in used), *times))
    total = {state: sum(row[state] for row in counts.values()) for state in used}
    whole = _hours(sum(one.total for one in hours.values()) * _share(options)) if timing else ""
    body.append(("all", *(f"{total[state]:,}" for state in used), "", whole, "", ""))
    print(f"\n{stage.title}:")
    print_rows(("method", *used, "a run", "device-hours", "s a step", "from"), body)
    for reason, labels_ in skipped_reasons(stage).items():
        print(f"skipped: {', '.join(labels_)}: {reason}")
    if stage.starting:
        print(f"{stage.starting:,} of them start from a source-only run, which is trained once a fold and seed for all")


def _print_untuned(labels: Sequence[str], recipe: Any, rule: str, trials: int) -> None:
    from benchmark.planning.count import untunable
    from benchmark.tuning.plan import Tuning

    for reason, of in untunable(labels, recipe, Tuning(rule, trials)).items():
        print(f"not tuned: {', '.join(of)}: {reason}")


def _print_sum(stages: Sequence[Any], timing: Any, options: argparse.Namespace) -> None:
    from benchmark.planning.count import taken_over

    left = sum(len(stage.work.left) for stage in stages)
    naive = sum(stage.naive for stage in stages)
    print(f"\ntrainings: {left:,} new; {naive:,} if every row and trial trained its own, and its own source model")
    if trials := taken_over(stages):
        cost = f" ({_hours(timing.sum(trials).total * _share(options))} device-hours)" if timing else ""
        print(f"{len(trials):,}{cost} of the comparison are trials as well")
    if timing is None:
        print("device-hours: unknown; give --seconds-per-step, or leave --no-measure out")
        return
    parts = [timing.sum(stage.work.left) for stage in stages]
    training, evaluation = (sum(getattr(part, kind) for part in parts) for kind in ("training", "evaluation"))
    saved = sum(timing.naive(stage) for stage in stages) - training - evaluation
    share = _share(options)
    print(
        f"device-hours: {_hours((training + evaluation) * share)} = {_hours(training * share)} of training and "
        f"{_hours(evaluation * share)} of evaluating checkpoints; reuse saves {_hours(saved * share)}"
    )
    if options.runs_per_device > 1:
        print(f"with {options.runs_per_device} runs at once on a device, taken not to slow each other: measure that")
    print("a device: a GPU, or a CPU core with one run on it")
    for fleet in dict.fromkeys((*FLEETS, options.fleet)):
        wall = sum(timing.wall_clock(stage, fleet * options.runs_per_device) for stage in stages)
        print(f"wall-clock on {_many(fleet, 'device')}: {_span(wall)}")


def _print_disk(stages: Sequence[Any], found: Any, recipe: Any, known: _Known) -> None:
    from benchmark.planning.estimate import disk_of

    disk = disk_of(found, recipe, known.weights, known.records)
    count = sum(len(stage.work.left) for stage in stages)
    there = "there already" if found.decoded else "to be decoded, at least"
    print(f"\ndisk: decoded store {_bytes(disk.store)} ({there})")
    print(
        f"  runs {_bytes(disk.run * count)}: {_bytes(disk.run)} a run ({disk.run_words}; weights alone "
        f"{_bytes(disk.weights)})"
    )
    print(f"  while it runs, each run keeps {_bytes(disk.temporary)} of checkpoints in the folder for temporary files")


def _print_memory(labels: Sequence[str], recipe: Any, known: _Known, options: argparse.Namespace) -> None:
    from benchmark.planning.estimate import memory_of

    memory = memory_of(labels, recipe, known.weights, known.activations, known.costs, known.records)
    at_once = options.runs_per_device
    print(f"\nmemory: {_bytes(memory.host)} of the host a run (assumed), and the store's pages as far as there is room")
    if memory.device is None:
        print(f"  of the device: {memory.words}")
        return
    print(
        f"  of the device {_bytes(memory.device)} a run at most, by {memory.largest} ({memory.words}); "
        f"{_many(at_once, 'run')} at once: {_bytes(memory.device * at_once)}"
    )


def _print_more(
    stage: Any, timing: Any, labels: Sequence[str], folds: Sequence[str], options: argparse.Namespace
) -> None:
    """What one more of each costs, of the comparison and without further tuning."""
    places = [job for job in stage.asked if not job.skip]
    whole = timing.sum(list({job.identity: job for job in places}.values())).total * _share(options)
    seeds, count = len(options.seeds), len({job.identity for job in places})
    print("\none more, of the comparison and without further tuning:")
    for kind, number in (("seed", seeds), ("fold", len(folds)), ("method", len(labels))):
        about = ", as a method is on average" if kind == "method" else ""
        print(f"  {kind}: {round(count / number):,} trainings, {_hours(whole / number)} device-hours{about}")


def _share(options: argparse.Namespace) -> float:
    """The part of a device that a run has."""
    return float(1 / options.runs_per_device)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + "s" * (count != 1)


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.3f}"


def _span(seconds: float) -> str:
    from benchmark.common.console import duration

    if seconds < 300:
        return f"{seconds:.0f} s"
    return f"{seconds / 86_400:,.1f} days" if seconds >= 2 * 86_400 else duration(seconds)


def _bytes(count: float) -> str:
    units: Iterable[tuple[str, float]] = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6))
    return next((f"{count / size:,.1f} {unit}" for unit, size in units if count >= size), f"{count / 1e3:,.0f} kB")
