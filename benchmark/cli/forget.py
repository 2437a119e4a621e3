"""``landshift forget``: remove runs that failed or were only a trial, and rows of tables."""

import argparse
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from benchmark.cli import options as shared
from benchmark.cli.options import positive

if TYPE_CHECKING:
    from benchmark.experiments.forgetting import Doomed

EPILOG = """\
What several options name must fit them all. Of whole rows (--method, --comparison, --steps) the runs are deleted, and
the rows are taken out of their tables, those without any run, too. Of single runs (--status, --run) a row stays as long
as it has another run; the deleted ones are then trained again by the same `landshift run`. A run that another table
shows is kept. Files of the runs are deleted for good; in MLflow's list of deleted runs only their numbers are left.
`landshift report` then writes the table without them.

examples:
  landshift forget world-leave-times-out --status failed             runs that failed, to be tried again
  landshift forget world-leave-times-out --method my_idea:MyIdea     a row that was only tried, with its runs
  landshift forget world-leave-times-out --steps 40 --dry-run        what a quick try left: only show it
  landshift forget my-towns.toml --comparison 307082fd5875 --yes     a whole table, without a question
  landshift forget my-towns.toml --run 5f0c --run 77ab               two runs, by the first characters of their ids
"""
SHOWN = 20  # lines


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("protocol", help="name, path of a .toml file, or an experiment")
    parser.add_argument("--partial", action="store_true", help="of runs that were made with --partial")
    parser.add_argument("--method", action="append", default=[], metavar="M", help="a row, as tables write it")
    parser.add_argument("--status", default="", choices=("done", "failed", "interrupted"), help="of single runs")
    parser.add_argument("--comparison", default="", metavar="KEY", help="of this comparison (default: of all)")
    parser.add_argument("--steps", type=positive, default=0, metavar="N", help="trained with as many steps")
    parser.add_argument("--run", action="append", default=[], metavar="ID", help="a run's id, or how it begins")
    parser.add_argument("--dry-run", action="store_true", help="show what would be removed, and remove nothing")
    parser.add_argument("--yes", action="store_true", help="ask no question")
    shared.add_results(parser)


def forget(options: argparse.Namespace) -> int:
    """Show what is to be removed, ask, and remove it; 1 where the answer is no.

    Raises:
        SettingsError: nothing is named, nothing fits, or there is no terminal to confirm in.
        TrackingError: the store cannot be used.
    """
    from benchmark.cli.status import experiment_of
    from benchmark.common.console import print_line
    from benchmark.common.errors import SettingsError
    from benchmark.experiments import forgetting
    from benchmark.experiments.results import ResultsFolder, has_results

    selection = forgetting.Selection(options.method, options.status, options.comparison, options.steps, options.run)
    if selection == forgetting.Selection(methods=[], runs=[]):
        raise SettingsError("name what is to be forgotten: --method, --status, --comparison, --steps or --run")
    if not has_results(options.results):
        raise SettingsError(f"there is no store in {options.results} (see --results)")
    results = ResultsFolder(options.results)
    experiment = experiment_of(results, options)
    results.close_expired()
    doomed = forgetting.find(results, experiment, selection)
    for line in _lines(doomed):
        print_line(line)
    if (status := kept(options)) is not None:
        return status
    forgetting.forget(results, experiment, doomed)
    print_line(f"removed. The table without them: landshift report {options.protocol}")
    return 0


def _lines(doomed: "Doomed") -> list[str]:
    """Return what is to be removed: runs counted by what they share, then rows and tables."""
    from benchmark.experiments.cells import STATUS

    counts = Counter(_shared(run, STATUS[run.status]) for run in doomed.runs)
    lines = [f"{count} run{'s' * (count > 1)}: {shared}" for shared, count in counts.items()]
    lines += [f"{len(doomed.waiting)} queued jobs that were not begun"] * bool(doomed.waiting)
    of_tables = set(doomed.comparisons)
    lines += [f"row {row} of the comparison {key}" for key, row in doomed.rows if key not in of_tables]
    lines += [f"the whole comparison {key}" for key in doomed.comparisons]
    hidden = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"and {hidden} lines like these"] if hidden > 0 else [])]


def _shared(run: Any, status: str) -> str:
    facts = run.facts
    return f"{facts.get('method')}, {facts.get('steps', '?')} steps, comparison {facts.get('comparison')}, {status}"


def kept(options: argparse.Namespace) -> int | None:
    """Return the exit status where nothing of what was shown is to be removed; None where the user wants it."""
    if options.dry_run:
        print("nothing is removed (--dry-run)")
        return 0
    if options.yes or _agreed():
        return None
    print("nothing is removed")
    return 1


def _agreed() -> bool:
    """Ask whether to remove what was shown; without a terminal that is a `SettingsError`."""
    from benchmark.common.errors import SettingsError

    if not sys.stdin.isatty():
        raise SettingsError("there is no terminal to ask whether to remove them; --yes removes them")
    try:
        return input("remove them for good? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
