"""The printed report, kept and printed again while nothing has changed that it was made of."""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import benchmark

NAME = "report"  # of the document with the report that was written last
DRAWING = ("matplotlib", "numpy", "pillow", "scipy")


@dataclass(frozen=True)
class Printed:
    """A printed report and the state of the files that it was made of.

    Attributes:
        verdict: sentence that its training was not measured to be long enough; "" where it was.
        rows: rows of `benchmark.reporting.tables.rows`.
        rules: which rules chose the checkpoints.
        empty: cells without a result, a line each.
        shared: what all runs share.
        alarms: what must be known before the table is believed.
        asides: the runs that are not in it.
        written: path of the written report.
    """

    verdict: str
    rows: Sequence[Sequence[str]]
    rules: str
    empty: str
    shared: str
    alarms: Sequence[str]
    asides: Sequence[str]
    written: str


def inputs_of(
    results: Any, runs: Sequence[Any], protocol: Any, comparison: str, folder: Path, options: argparse.Namespace
) -> str:
    """Return a digest of all that a report is made of.

    The files of a run are known by when it ended, and by when one was last added to its folder or removed.

    Args:
        runs: runs of the protocol.
        comparison: its key.
        folder: into which it is written.
    """
    from benchmark.experiments import pixels
    from benchmark.experiments.calibration import calibrations
    from benchmark.experiments.request import INNER, PREFIX
    from benchmark.reporting.collect import digest_here

    runs = [*runs, *results.runs(protocol.label + INNER)]
    folders = [Path(str(run.artifacts)) for run in runs]
    code = [path for path in Path(next(iter(benchmark.__path__))).rglob("*") if path.suffix in (".py", ".html")]
    made_of = (
        (comparison, str(folder), options.protocol, options.rule, options.mixed, protocol),
        [replace(run, artifacts=Path()) for run in runs],
        [path.stat().st_mtime_ns if path.is_dir() else 0 for path in folders],
        [results.database.documents(protocol.label, prefix) for prefix in (PREFIX, pixels.NAME)],
        calibrations(options.results, protocol.name),
        {label: digest_here(label) for label in sorted({run.facts["method"] for run in runs})},
        [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(code)],
        [version(package) for package in DRAWING],
    )
    return hashlib.sha256(repr(made_of).encode()).hexdigest()


def recall(results: Any, experiment: str, inputs: str) -> Printed | None:
    """Return what the report printed that was written last, if it was made of the same and its files are unchanged."""
    kept = results.document(experiment, NAME)
    if not kept or kept["inputs"] != inputs or kept["files"] != _files(Path(kept["folder"])):
        return None
    return Printed(**kept["printed"])


def keep(results: Any, experiment: str, inputs: str, folder: Path, printed: Printed) -> None:
    """Keep what a report printed."""
    kept = {"inputs": inputs, "folder": str(folder.resolve()), "files": _files(folder), "printed": asdict(printed)}
    results.database.edit(experiment, NAME, lambda old: kept)


def _files(folder: Path) -> dict[str, list[int]]:
    """Return the size and time of the last change of every file in a folder, by name."""
    stats = {path.name: path.stat() for path in folder.iterdir()} if folder.is_dir() else {}
    return {name: [about.st_size, about.st_mtime_ns] for name, about in stats.items()}
