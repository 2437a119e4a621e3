"""Which runs and rows of a protocol are to be forgotten, and forgetting them."""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import SettingsError
from benchmark.grid.asked import Asked, drop_rows, key_of_runs, keys, read_asked
from benchmark.grid.cells import STATUS, as_it_is
from benchmark.grid.leftovers import savepoints_of
from benchmark.grid.standing import NESTED
from benchmark.tracking import Reader, RunRecord, Tracker

Row = tuple[str, str]
"""Key of a comparison, and a row of its table."""


@dataclass(frozen=True)
class Selection:
    """What a user names; what is empty, or 0, selects by nothing, and what several name must fit them all.

    Attributes:
        methods: rows, as tables write them.
        status: of runs, in the words of ``landshift status``.
        comparison: its key.
        steps: that a run was trained with.
        runs: ids, or their first characters.
    """

    methods: Sequence[str] = ()
    status: str = ""
    comparison: str = ""
    steps: int = 0
    runs: Sequence[str] = ()

    @property
    def of_single_runs(self) -> bool:
        """Whether it may select some runs of a row and not others."""
        return bool(self.status or self.runs)

    def fits_row(self, key: str, row: str, asked: Asked) -> bool:
        """Whether methods, comparison and steps fit a row of a comparison."""
        return (
            (not self.methods or row in self.methods)
            and self.comparison in ("", key)
            and self.steps in (0, int(asked.facts.get("steps", 0)))
        )

    def fits_run(self, run: RunRecord) -> bool:
        """Whether status and id fit a run."""
        return self.status in ("", STATUS[run.status]) and (
            not self.runs or any(run.id.startswith(prefix) for prefix in self.runs)
        )

    def fits_lost_run(self, run: RunRecord) -> bool:
        """Whether all fits a run that no table has a row for."""
        return (
            self.fits_run(run)
            and (not self.methods or run.facts.get("method") in self.methods)
            and self.comparison in ("", run.facts.get("comparison"))
            and str(self.steps) in ("0", run.facts.get("steps"))
        )


@dataclass(frozen=True)
class Doomed:
    """What is to be forgotten.

    Attributes:
        runs: of the protocol's experiment, and of that with runs inside its folds.
        rows: of which no run is left then.
        comparisons: of which no row is left then.
    """

    runs: Sequence[RunRecord]
    rows: Sequence[Row]
    comparisons: Sequence[str]


def find(reader: Reader, experiment: str, selection: Selection) -> Doomed:
    """What a selection comes to.

    A run that two tables show is kept as long as one of them keeps its row. A row goes with its last run, or, where the
    selection is of whole rows, also if it never had one.

    Raises:
        SettingsError: nothing fits; there is no such comparison, method or run; or a process is at one of the runs.
    """
    tables = {key: read_asked(reader, experiment, key) for key in keys(reader, experiment)}
    inner = reader.tags(experiment).get(NESTED)
    every = [as_it_is(run) for run in (*reader.cells(experiment), *(reader.cells(inner) if inner else ()))]
    _check(selection, tables, every)
    fitting = {
        (key, row) for key, asked in tables.items() for row in asked.grid.methods if selection.fits_row(key, row, asked)
    }
    owners = {run.id: _rows_of(run, tables) for run in every}
    runs = [
        run
        for run in every
        if (selection.fits_run(run) and owners[run.id] <= fitting if owners[run.id] else selection.fits_lost_run(run))
    ]
    if busy := [run for run in runs if run.status == "RUNNING"]:
        raise SettingsError(f"{len(busy)} of these runs are at work, as {busy[0].name}; stop that command first")
    gone = {run.id for run in runs}
    kept = {row for run in every if run.id not in gone for row in owners[run.id]}
    touched = {row for id in gone for row in owners[id]}
    rows = fitting & (touched - kept) if selection.of_single_runs else fitting
    rows_left = {key for key, asked in tables.items() if any((key, row) not in rows for row in asked.grid.methods)}
    if not runs and not rows:
        raise SettingsError("no run and no row of a table fits; landshift status shows what there is")
    return Doomed(runs, sorted(rows), [key for key in tables if key not in rows_left])


def forget(tracker: Tracker, experiment: str, doomed: Doomed) -> None:
    """Delete the runs with their files and what was saved of them, and take the rows out of their tables."""
    for key in dict.fromkeys(key for key, _ in doomed.rows):
        drop_rows(tracker, experiment, key, {row for of, row in doomed.rows if of == key})
    tracker.discard([*doomed.runs, *_summaries(tracker, experiment, doomed)])
    remove_savepoints(tracker.results, {run.identity for run in doomed.runs if run.status != "FINISHED"})


def remove_savepoints(results: Path, identities: Collection[str]) -> None:
    """Remove what was saved of unfinished trainings, so that the next one begins at its first step."""
    for identity in identities:
        shutil.rmtree(savepoints_of(results, identity), ignore_errors=True)


def _summaries(tracker: Tracker, experiment: str, doomed: Doomed) -> list[RunRecord]:
    """The summary runs of the rows."""
    rows = set(doomed.rows)
    return [
        run
        for run in tracker.summaries(experiment)
        if (run.facts.get("comparison", ""), run.facts.get("method")) in rows
    ]


def _rows_of(run: RunRecord, tables: dict[str, Asked]) -> set[Row]:
    """The rows of tables that a run stands behind; one inside a fold stands behind what that fold does."""
    fold, method = run.facts.get("inside", run.facts.get("fold", "")), run.facts.get("method", "")
    return {
        (key, row)
        for key, asked in tables.items()
        if key_of_runs(key) == run.facts.get("comparison")
        for row in asked.grid.methods
        if asked.label(row, fold) == method
    }


def _check(selection: Selection, tables: dict[str, Asked], runs: Sequence[RunRecord]) -> None:
    if selection.comparison and selection.comparison not in tables:
        raise SettingsError(f"there is no comparison {selection.comparison!r}; there are {', '.join(tables) or 'none'}")
    rows = dict.fromkeys(row for asked in tables.values() for row in asked.grid.methods)
    rows |= dict.fromkeys(run.facts.get("method", "") for run in runs)
    if unknown := [method for method in selection.methods if method not in rows]:
        raise SettingsError(f"no table has a row {unknown[0]!r}; there are {', '.join(rows) or 'none'}")
