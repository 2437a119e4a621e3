"""A published table against its runs: what their confusion matrices give, and what else they logged."""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from benchmark.common.errors import TrackingError
from benchmark.conformance.replay.checks import Check, read_cells, summed, written
from benchmark.conformance.replay.stored import Stored, stored_run
from benchmark.experiments.records import read_confusions
from benchmark.experiments.results import ResultsFolder
from benchmark.reporting.table_file import Table, TableCell
from benchmark.training.prediction import METRICS, Scores, target_metrics


def check_numbers(table: Table, runs: Mapping[str, Stored]) -> Check:
    """Check whether the numbers of the record and of ``cells.csv`` are those of the runs.

    Args:
        runs: of `runs_of`.
    """
    what = "numbers"
    rows = read_cells(table.folder)
    wrong: list[str] = []
    checked = 0
    for cell in table.cells:
        run = runs.get(cell.name)
        derived = metrics_of(run, cell.step) if run else {}
        if run is None or not derived:
            continue
        checked += 1
        wrong += [f"{cell.name}: {fault}" for fault in _faults(cell, run, derived, rows)]
    if wrong:
        return Check(what, False, f"against the runs: {summed(wrong)}")
    told = f"{checked} of {len(table.cells)} cells are what their runs' confusion matrices give"
    return Check(what, True, told) if checked else Check(what, None, "the runs are not here (--results)")


def runs_of(table: Table, results: ResultsFolder) -> dict[str, Stored]:
    """Return those of a table's runs that a results folder holds, by the names of their cells."""
    found = {}
    for cell in table.cells:
        for id in (cell.identity, cell.run):  # the second finds the run of a cell whose identity was changed
            with suppress(TrackingError):  # removed, or of another results folder
                found[cell.name] = stored_run(results, id)
                break
    return found


def metrics_of(run: Stored, step: int) -> dict[str, float]:
    """Return the metrics of a checkpoint by its confusion matrices; none where they are missing."""
    places = [f"{step}/{part}" for part in ("target_test", "source_val")]
    found = read_confusions(run.record.artifacts, *places)
    test, source = (found.get(place, {}) for place in places)
    if not test:
        return {}
    metrics = target_metrics(Scores(test, float("nan")), run.settings["classes"])
    if source:
        metrics["selected/source_val_miou"] = METRICS["miou"](np.sum(list(source.values()), axis=0))
    return metrics


def _faults(
    cell: TableCell, run: Stored, derived: Mapping[str, float], rows: Mapping[tuple[str, str, int], Mapping[str, str]]
) -> list[str]:
    faults = []
    if run.record.identity != cell.identity:
        faults.append(f"the identity is {cell.identity} in the record, {run.record.identity} in the run")
    for name, value in (("target/miou", cell.target_miou), ("selected/source_val_miou", cell.source_val_miou)):
        if name in derived and value != derived[name]:
            faults.append(f"{name} is {value:.6g} in the record, {derived[name]:.6g} by the run")
    row = rows.get((cell.method, cell.fold, cell.seed), {})
    # What the run logged is of the checkpoint that it went by; a table may go by another rule.
    logged = run.record.metrics if run.record.metrics["selected/step"] == cell.step else {}
    return faults + [
        f"{name} is {row[name] or 'empty'} in cells.csv, {written(value)} by the run"
        for name, value in {**logged, **derived}.items()
        if name in row and row[name] != written(value)
    ]
