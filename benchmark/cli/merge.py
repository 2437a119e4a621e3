"""``landshift merge``: take the runs of another results folder into one."""

import argparse
from pathlib import Path

from benchmark.cli import options as shared

EPILOG = """\
Runs are compared by the keys of their jobs: what both folders have stays as it is, what only the other one has is
copied with its files, and comparisons that were requested in both become one. Runs of other code, packages or machines
are taken, too; a report then asks for --mixed.

example:
  landshift merge /from/the/other/lab/results --results results
  landshift report flair1-official
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", type=Path, metavar="DIR", help="the results folder to take runs from")
    shared.add_results(parser)


def merge(options: argparse.Namespace) -> int:
    """Merge, and print what was taken; 1 where runs of the same job differ."""
    from benchmark.common.console import print_line
    from benchmark.common.errors import SettingsError
    from benchmark.experiments import merging
    from benchmark.experiments.results import ResultsFolder

    if options.source.resolve() == options.results.resolve():
        raise SettingsError("a results folder cannot be merged into itself")
    source = merging.open_source(options.source)
    target = ResultsFolder(options.results)
    merged = merging.merge(target, source)
    print_line(f"{merged.added} runs added, {merged.same} were in both folders")
    if merged.mixture:
        print_line(f"the runs differ in {merged.mixture}; a report of them needs --mixed")
    for name in merged.other:
        print_line(f"another result in both folders, that of {target.folder} stays: {name}")
    for experiment in merged.experiments:
        keys = [run.id for run in target.runs(experiment)]
        if problem := target.deliver(experiment, keys):
            print_line(problem)
            break
    return 1 if merged.other else 0
