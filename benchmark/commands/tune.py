"""``landshift tune``: search the hyperparameters of every method equally."""

import argparse
import math
import shlex
import tempfile
from pathlib import Path
from typing import Any

from benchmark.commands.settings import number_of_workers, open_bench
from benchmark.errors import SettingsError

EPILOG = """\
Every method gets the same number of trials and steps, source-only included, whose learning rate is tuned as well. Trial
0 is the defaults, the others are drawn from the ranges that the method declares, each hyperparameter from a random
stream of its own. Trials are runs of an experiment of their own in MLflow; each study has one summary run there. The
same command goes on after a kill, and other processes may run it at the same time.

example:
  landshift tune world-leave-times-out --method source-only --method max-square --trials 10
  landshift run world-leave-times-out --tuned source-validation-10-each-fold --seeds 0,1,2
"""
HEADER = ("method", "tuned on", "done / pruned / failed", "score of defaults", "of chosen", "chosen")


def tune(options: argparse.Namespace) -> int:
    """Run the trials that are left, then tell what the rule takes."""
    workers = number_of_workers(options)  # they import beside what is imported here
    from benchmark.devices import device_name, make_fabric
    from benchmark.grid.labels import control_label
    from benchmark.provenance import Provenance
    from benchmark.terminal import print_rows
    from benchmark.tracking import Tracker
    from benchmark.tuning.plan import Tuning, check_rule
    from benchmark.tuning.results import publish, results
    from benchmark.tuning.session import TuningSession

    tuning = Tuning(options.rule, options.trials, options.fold, options.seed, options.prune)
    check_rule(tuning)
    labels = _methods(options.method, tuning)
    bench = open_bench(options)
    session = TuningSession(bench, Tracker(options.results), tuning, labels)
    count, trials = len(session.searches), len(session.searches) * tuning.trials
    print(f"{bench.protocol.label}: {tuning.words}; {count} studies, {trials} trials, {session.left} not begun")
    if control_label() not in labels:
        print(f"{control_label()} is not tuned; without it there is nothing to compare tuned methods with")
    if session.left and not options.mixed:
        fabric = make_fabric(options.accelerator, bench.plan.recipe.precision)
        session.refuse_mixture(Provenance.here(device_name(fabric)))
    _work(session, workers)
    found = results(session)
    with tempfile.TemporaryDirectory(prefix="landshift-") as folder:
        for tuned in found:
            publish(session, tuned, Path(folder))
    print_rows(HEADER, [_row(tuned) for tuned in found], texts=True)
    for tuned in (tuned for tuned in found if tuned.flat):
        print(
            f"alarm: all trials of {tuned.search.label} on {tuned.search.fold} are the same: the search changes nothing"
        )
    if waiting := sum(tuned.open for tuned in found):
        print(f"{waiting} trials are open; the same command goes on, and other calls may be at them")
    elif all(tuned.chosen for tuned in found):
        print(f"compare: {_comparing(options, tuning.key)}")
    return 1 if any(tuned.failed for tuned in found) else 0


def _methods(asked: list[str] | None, tuning: Any) -> list[str]:
    """The methods to tune: those asked for, or all that the rule can choose for and that have something to tune."""
    from benchmark.grid.labels import parse_label
    from benchmark.tuning.plan import why_not
    from methods.registry import available

    able = []
    for label in asked or available():
        parse_label(label)
        if why := why_not(label, tuning.rule):
            if asked:
                raise SettingsError(f"{label} cannot be tuned by {tuning.rule}: {why}")
            print(f"left out: {label}: {why}")
        else:
            able.append(label)
    return able


def _work(session: Any, workers: int) -> None:
    """Train what other trials start from, and then the trials, under one bar."""
    from benchmark.grid.pool import run_all
    from benchmark.grid.waiting import Waiting
    from benchmark.terminal import RunBar

    parents = session.parents()
    left = len(parents) + session.left
    if not left:
        return
    session.bench.check_settings()
    with RunBar(left) as bar:

        def end(ended: Any) -> None:
            if not ended.job.trial:
                bar.end(ended)
                return
            score = session.end(ended)
            told = "no score" if math.isnan(score) else f"{session.tuning.rule} {score:.4g}"
            bar.end(ended, told)

        for jobs, count in ((Waiting(parents), len(parents)), (session, session.left)):
            if count:
                run_all(
                    session.bench.plan, session.experiment, jobs, min(workers, count), session.bench, bar.advance, end
                )


def _row(tuned: Any) -> tuple[str, ...]:
    chosen = tuned.chosen
    scores = ("–", "–") if chosen is None else (f"{chosen.default_score:.4g}", f"{chosen.score:.4g}")
    counts = f"{tuned.done} / {tuned.pruned} / {tuned.failed}" + f" ({tuned.open} open)" * bool(tuned.open)
    return tuned.search.label, tuned.search.fold, counts, *scores, tuned.setting or "–"


def _comparing(options: argparse.Namespace, key: str) -> str:
    """The command that compares what was tuned: this one's, with other words behind it."""
    words = shlex.split(options.command_line)[2:]
    drop = {"--method", "--trials", "--rule", "--fold", "--seed"}
    kept, skip = [], False
    for word in words:
        if not skip and word != "--prune" and word.partition("=")[0] not in drop:
            kept.append(word)
        skip = not skip and word in drop
    return shlex.join(["landshift", "run", *kept, "--tuned", key, "--seeds", "0,1,2"])
