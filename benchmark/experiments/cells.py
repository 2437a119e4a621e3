"""The places of a comparison's table and the runs behind them. Needs no torch, so that a look at the store is quick."""

from collections.abc import Mapping, Sequence

from benchmark.evaluation.comparison import Cell, Grid
from benchmark.experiments.request import ComparisonRequest
from benchmark.experiments.run_record import RunRecord

STATUS = {"FINISHED": "done", "RUNNING": "running", "FAILED": "failed", "KILLED": "interrupted"}
CellKey = tuple[str, str, int]
"""Row, fold and seed."""


def places_of(grid: Grid) -> list[CellKey]:
    """Return every place of a table."""
    return [(row, fold, seed) for row in grid.methods for fold in grid.folds for seed in grid.seeds]


def runs_of(request: ComparisonRequest, best: Mapping[tuple[str, str, str], RunRecord]) -> dict[CellKey, RunRecord]:
    """Return the run behind each place of a table."""
    behind = {place: (request.label(place[0], place[1]), place[1], str(place[2])) for place in places_of(request.grid)}
    return {place: best[key] for place, key in behind.items() if key in best}


def best_record(records: Sequence[RunRecord]) -> dict[tuple[str, str, str], RunRecord]:
    """Return the newest run of each cell, by method, fold and seed.

    An older one was trained with other code of the method.
    """
    newest_last = sorted(records, key=lambda record: record.started)
    return {(record.facts["method"], record.facts["fold"], record.facts["seed"]): record for record in newest_last}


def cell_of(request: ComparisonRequest, place: CellKey, record: RunRecord | None) -> Cell:
    """Return the state of a place, by the run behind it."""
    row, fold, _ = place
    if record is None:
        skip = request.skipped.get(request.label(row, fold), {}).get(fold, "")
        return Cell(*place, "skipped" if skip else "not run", skip)
    status, rule = STATUS[record.status], record.facts.get("rule", "")
    return Cell(*place, status, record.error or "", record.metrics if status == "done" else None, rule=rule)
