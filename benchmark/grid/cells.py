"""The places of a comparison's table and the runs behind them. Needs no torch, so that a look at the store is quick."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmark.comparison import Cell, Grid
from benchmark.grid.asked import Asked
from benchmark.tracking import OWNER, RunRecord, is_gone

STATUS = {"FINISHED": "done", "RUNNING": "running", "FAILED": "failed", "KILLED": "interrupted"}
Place = tuple[str, str, int]
"""Row, fold and seed."""


def places_of(grid: Grid) -> list[Place]:
    """Every place of a table."""
    return [(row, fold, seed) for row in grid.methods for fold in grid.folds for seed in grid.seeds]


def runs_of(asked: Asked, best: Mapping[tuple[str, str, str], RunRecord]) -> dict[Place, RunRecord]:
    """The run behind each place of a table."""
    behind = {place: (asked.label(place[0], place[1]), place[1], str(place[2])) for place in places_of(asked.grid)}
    return {place: best[key] for place, key in behind.items() if key in best}


def best_record(records: Sequence[RunRecord]) -> dict[tuple[str, str, str], RunRecord]:
    """Of the runs of a cell (oldest first) that are the same job as the newest: a finished one, else the newest.

    An older job of the cell was run with other code of the method, and would stand for what it is not.
    """
    best: dict[tuple[str, str, str], RunRecord] = {}
    for record in records:
        key = record.facts["method"], record.facts["fold"], record.facts["seed"]
        same_job = key in best and best[key].identity == record.identity
        if not (same_job and best[key].status == "FINISHED" and record.status != "FINISHED"):
            best[key] = record
    return best


def cell_of(asked: Asked, place: Place, record: RunRecord | None) -> Cell:
    """The state of a place, by the run behind it."""
    row, fold, _ = place
    if record is None:
        skip = asked.skipped.get(asked.label(row, fold), {}).get(fold, "")
        return Cell(*place, "skipped" if skip else "not run", skip)
    status, rule = STATUS[record.status], record.facts.get("rule", "")
    return Cell(*place, status, record.error or "", record.metrics if status == "done" else None, rule=rule)


def as_it_is(record: RunRecord) -> RunRecord:
    """The record, as killed where its process is gone and nobody has written that down yet."""
    if record.status != "RUNNING" or not is_gone(record.tags.get(OWNER, "")):
        return record
    return replace(record, status="KILLED", error="its process was killed")
