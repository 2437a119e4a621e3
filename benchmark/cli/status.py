"""``landshift status``: how far a comparison is, read from the store; nothing is written."""

import argparse
import contextlib
import time
from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from benchmark.cli import options as shared
from benchmark.cli.options import seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

    from benchmark.experiments.status import Running, Status

EPILOG = """\
A cell is one method on one fold with one seed. It is done, running, waiting (requested, not begun), interrupted (the
same `landshift run` goes on with it), failed (the same command tries it again) or skipped (it cannot be run, and why).
The time left is that of finished runs of the same method, shared by as many runs as are at work now. How far a run is,
is what it last wrote, every half minute.

examples:
  landshift status                                     every experiment in results, a line each
  landshift status world-leave-times-out               the comparison whose run was started last
  landshift status world-leave-times-out --watch       again and again, until nothing runs or waits; Ctrl-C ends it
  landshift status world-leave-times-out --watch 60    once a minute
  landshift status my-towns.toml --results /scratch/r --comparison 307082fd5875
"""
BEGUN = ("done", "running", "interrupted", "failed")  # states of what has a run
EVERY = 5.0  # seconds between two looks of --watch
SHOWN = 20  # running runs; of a cluster there may be hundreds
PLACES = 3  # of those that failed alike


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "protocol",
        nargs="?",
        default="",
        help="name, path of a .toml file, or an experiment (default: a line for each)",
    )
    parser.add_argument("--partial", action="store_true", help="of runs that were made with --partial")
    parser.add_argument("--comparison", default="", metavar="KEY", help="another than the one whose run began last")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=seconds,
        const=EVERY,
        metavar="SECONDS",
        help=f"look again every so often (default: {EVERY:g} s) until nothing runs or waits",
    )
    shared.add_results(parser)


def status(options: argparse.Namespace) -> int:
    """Print the state of one comparison, or a line for each experiment.

    Raises:
        SettingsError: there is no store, no such experiment, or nothing to watch.
        TrackingError: the store cannot be read.
    """
    from benchmark.common.console import console
    from benchmark.common.errors import SettingsError
    from benchmark.experiments.results import ResultsFolder, has_results
    from benchmark.experiments.status import status_of

    if options.watch and options.protocol:
        _wait_for(options)
    if not has_results(options.results):
        raise SettingsError(f"there is no store in {options.results} yet (landshift run makes one; see --results)")
    results = ResultsFolder(options.results)
    if not options.protocol:
        if options.watch or options.comparison:
            raise SettingsError("--watch and --comparison need a protocol: landshift status PROTOCOL")
        return _experiments(results)
    name = experiment_of(results, options)

    def look() -> tuple["Status", "RenderableType"]:
        current = status_of(results, name, options.comparison)
        return current, _shown(name, current, _beside(results, name))

    current, shown = look()
    if not options.watch:
        console.print(shown)
        return 0
    if not console.is_terminal:  # a log file: one picture below the other
        while True:
            console.print(time.strftime("%H:%M:%S"), shown)
            if current.is_over:
                return 0
            time.sleep(options.watch)
            current, shown = look()
    from rich.live import Live

    with Live(shown, console=console, auto_refresh=False) as live:
        while not current.is_over:
            time.sleep(options.watch)
            current, shown = look()
            live.update(shown, refresh=True)
    return 0


def _wait_for(options: argparse.Namespace) -> None:
    """Wait until a command has begun, which reads its data first."""
    from benchmark.common.console import console
    from benchmark.common.errors import SettingsError
    from benchmark.experiments.request import keys
    from benchmark.experiments.results import ResultsFolder, has_results

    def begun() -> bool:
        results = ResultsFolder(options.results) if has_results(options.results) else None
        with contextlib.suppress(SettingsError):
            experiment = experiment_of(results, options)
            return bool(results and keys(results, experiment))
        return False

    if begun():
        return
    console.print(f"nothing of {options.protocol} has been begun in {options.results} yet; waiting for it")
    while not begun():
        time.sleep(options.watch)


def experiment_of(results: Any, options: argparse.Namespace) -> str:
    """Return the name of the experiment of a protocol, or of one that is named itself."""
    from benchmark.common.errors import SettingsError

    experiments = results.experiments() if results else []
    if options.protocol in experiments:
        return str(options.protocol)
    from protocols.files import load

    name = load(options.protocol, partial=options.partial).label
    if name not in experiments:
        there = f"there is {', '.join(experiments)}" if experiments else "nor of any other protocol"
        raise SettingsError(
            f"nothing of {name} has been run in {options.results}, {there} (see --results); a command that was just "
            "begun reads its data first"
        )
    return name


def _experiments(results: Any) -> int:
    from benchmark.common.console import print_rows
    from benchmark.experiments.request import keys
    from benchmark.experiments.status import count_runs

    body = []
    for name in results.experiments():
        records = results.runs(name)
        if not records and not keys(results, name):
            continue  # the command that opened it was refused
        counts = count_runs(records)
        last = max((record.ended or record.started for record in records), default=None)
        when = "–" if last is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(last))
        body.append((name, *(str(counts[state]) for state in BEGUN), when))
    print_rows(("experiment", *BEGUN, "last run"), body)
    return 0


def _beside(results: Any, name: str) -> list[str]:
    """Return a line for each experiment that belongs to it: its tuning, and runs inside its folds."""
    from benchmark.experiments.status import count_runs

    lines = []
    for other in results.experiments():
        if other.startswith(f"{name} ("):
            counts = count_runs(results.runs(other))
            counted = [f"{counts[state]:,} {state}" for state in BEGUN if counts[state]]
            lines.append(f"beside it: {other}: {', '.join(counted) or 'nothing'}")
    return lines


def _shown(name: str, status: "Status", beside: Sequence[str]) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    from benchmark.common.console import plain_table
    from benchmark.experiments.status import STATES

    counts = status.counts
    used = [state for state in STATES if counts[state] or state in STATES[:3]]
    rows = [
        (row.method, *(str(row.counts.get(state, 0) or "") for state in used), _long(row.seconds))
        for row in status.methods
    ]
    rows.append(("all", *(f"{counts[state]:,}" for state in used), ""))
    share = counts["done"] / max(counts.total() - counts["skipped"], 1)
    lines = [f"{name}, comparison {status.comparison}: {share:.0%} of what can be run is done", ""]
    parts: list[RenderableType] = [Text("\n".join(lines)), plain_table(("method", *used, "a run takes"), rows)]
    text = [*_running(status.running), *_reasons(status), "", *_left(status), *beside]
    text += [f"another comparison ({differs}): --comparison {key}" for key, differs in status.others.items()]
    return Group(*parts, Text("\n".join(text)))


def _running(runs: Sequence["Running"]) -> list[str]:
    lines = ["", "running:"] if runs else []
    for run in runs[:SHOWN]:
        method, fold, seed = run.place
        share = "" if isnan(run.share) else f", {run.share:.0%} of its steps"
        left = "" if isnan(run.left) else f", about {_long(run.left)} left"
        lines.append(f"  {method}, {fold}, seed {seed}: for {_long(run.seconds)}{share}{left}")
    return lines + [f"  and {len(runs) - SHOWN} more"] * (len(runs) > SHOWN)


def _reasons(status: "Status") -> list[str]:
    """Return the reasons why cells are empty: first which cells, then the reason."""
    lines = []
    for state, reasons in status.reasons.items():
        lines += ["", f"{state}:"]
        for reason, places in reasons.items():
            if state == "skipped":
                which = ", ".join(dict.fromkeys(place[0] for place in places))
            else:
                which = "; ".join(f"{method}, {fold}, seed {seed}" for method, fold, seed in places[:PLACES])
                which += f" and {len(places) - PLACES} more" * (len(places) > PLACES)
            lines.append(f"  {which}: {reason}")
    return lines


def _left(status: "Status") -> list[str]:
    at_once = len(status.running)
    if status.is_over:
        return ["nothing runs and nothing waits"]
    if at_once and isnan(status.left):
        lines = ["time left: not known before a first run is finished"]
    elif at_once:
        lines = [f"time left: about {_long(status.left)}, with {at_once} at once as now"]
    else:
        about = "" if isnan(status.waiting) else f" (about {_long(status.waiting)} one after another)"
        waits = f"{status.open:,} wait for the command that requested them, or for the same one called again"
        lines = [f"nothing runs; {waits}{about}"]
    if status.guessed:
        lines.append(f"no run of {', '.join(status.guessed)} is finished: taken to last as long as those of the others")
    return lines


def _long(seconds: float) -> str:
    from benchmark.common.console import duration

    return "" if isnan(seconds) else duration(seconds)
