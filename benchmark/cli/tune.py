"""``landshift tune``: search the hyperparameters of every method equally."""

import argparse
import shlex
import sys
from typing import Any

from benchmark.cli import options as shared
from benchmark.cli.settings import number_of_workers, open_bench
from benchmark.common.errors import SettingsError
from benchmark.evaluation.selection import DEFAULT_RULE, RULES

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


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    shared.add_protocol(parser)
    parser.add_argument(
        "--method",
        action="append",
        metavar="M",
        help="a method, as often as wanted; what is in brackets is fixed (default: all that the rule can choose for)",
    )
    parser.add_argument(
        "--trials",
        type=shared.positive,
        required=True,
        metavar="N",
        help="settings tried of each method, the defaults among them",
    )
    parser.add_argument(
        "--rule",
        choices=list(RULES),
        default=DEFAULT_RULE,
        metavar="R",
        help=f"which chooses among them (default: {DEFAULT_RULE}); one of {', '.join(RULES)}",
    )
    parser.add_argument(
        "--fold",
        type=shared.name,
        default="",
        metavar="F",
        help="tune on this fold alone, for all folds (default: each fold by itself)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all trials (default: 0)")
    parser.add_argument(
        "--prune", action="store_true", help="give up trials whose source validation is below the median of the others"
    )
    parser.add_argument("--mixed", action="store_true", help=shared.MIXED.format("search"))
    shared.add_running(parser)


def tune(options: argparse.Namespace) -> int:
    """Run the trials that are left, then print what the rule takes."""
    workers = number_of_workers(options)  # they import beside what is imported here
    from benchmark.common.console import print_rows
    from benchmark.experiments.engines import Local
    from benchmark.experiments.labels import control_label
    from benchmark.experiments.queue import FAILED
    from benchmark.tuning.plan import Tuning, check_rule
    from benchmark.tuning.results import OPEN, publish, results
    from benchmark.tuning.session import TuningSession

    engine = Local(workers, [], wait=True)
    tuning = Tuning(options.rule, options.trials, options.fold, options.seed, options.prune)
    check_rule(tuning)
    labels = _methods(options.method, tuning)
    session = TuningSession(open_bench(options), tuning, labels)
    trials = [job for search in session.searches for job in search.jobs]
    jobs = session.jobs()
    work = session.work(jobs)
    left = {job.identity for job in work.left}
    print(
        f"{session.bench.protocol.label}: {tuning.words}; {len(session.searches)} studies, {len(trials)} trials, "
        f"{sum(job.identity in left for job in trials)} not begun"
    )
    if control_label() not in labels:
        print(f"{control_label()} is not tuned; without it there is nothing to compare tuned methods with")
    engine.check(session.bench, work)
    if work.left and not options.mixed:
        session.refuse_mixture(work.done, engine.provenance(session.bench))
    session.add(work.done)
    engine.work(session, work, lambda ended: _score(session, ended))
    tuned_methods = results(session)
    print_rows(HEADER, [_row(tuned) for tuned in tuned_methods], texts=True)
    for tuned in (tuned for tuned in tuned_methods if tuned.flat):
        print(
            f"alarm: all trials of {tuned.search.label} on {tuned.search.fold} are the same: the search changes nothing"
        )
    if undelivered := session.deliver(jobs):
        print(undelivered, file=sys.stderr)
    publish(session, tuned_methods)
    if waiting := sum(tuned.count(OPEN) for tuned in tuned_methods):
        print(f"{waiting} trials are open; the same command goes on, and other calls may be at them")
    elif all(tuned.chosen for tuned in tuned_methods):
        print(f"compare: {_comparing(options, tuning.key)}")
    return 1 if any(tuned.count(FAILED) for tuned in tuned_methods) else 0


def _methods(labels: list[str] | None, tuning: Any) -> list[str]:
    """Return the methods to tune: as given, or all that the rule can choose for and that have something to tune."""
    from benchmark.experiments.labels import parse_label
    from benchmark.tuning.plan import why_not
    from methods.registry import available

    able = []
    for label in labels or available():
        parse_label(label)
        if why := why_not(label, tuning.rule):
            if labels:
                raise SettingsError(f"{label} cannot be tuned by {tuning.rule}: {why}")
            print(f"left out: {label}: {why}")
        else:
            able.append(label)
    return able


def _score(session: Any, ended: Any) -> str:
    """Return what the bar shows of an ended job: the rule's score, for the target is not to be looked at."""
    score = None if ended.error else session.score(ended.job)
    return "no score" if score is None else f"{session.tuning.rule} {score:.4g}"


def _row(tuned: Any) -> tuple[str, ...]:
    from benchmark.experiments.queue import DONE, FAILED, PRUNED
    from benchmark.tuning.results import OPEN

    chosen = tuned.chosen
    scores = ("–", "–") if chosen is None else (f"{chosen.default_score:.4g}", f"{chosen.score:.4g}")
    open_ = tuned.count(OPEN)
    counts = " / ".join(str(tuned.count(state)) for state in (DONE, PRUNED, FAILED)) + f" ({open_} open)" * (open_ > 0)
    return tuned.search.label, tuned.search.fold, counts, *scores, tuned.setting or "–"


def _comparing(options: argparse.Namespace, key: str) -> str:
    """Return the command that compares what was tuned: this one's, with other words behind it."""
    words = shlex.split(options.command_line)[2:]
    drop = {"--method", "--trials", "--rule", "--fold", "--seed"}
    kept, skip = [], False
    for word in words:
        if not skip and word != "--prune" and word.partition("=")[0] not in drop:
            kept.append(word)
        skip = not skip and word in drop
    return shlex.join(["landshift", "run", *kept, "--tuned", key, "--seeds", "0,1,2"])
