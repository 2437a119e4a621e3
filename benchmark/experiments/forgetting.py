"""Removal of runs and rows of a protocol that a user selects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.common.errors import SettingsError
from benchmark.experiments.cells import STATUS
from benchmark.experiments.experiment_pages import unpublish
from benchmark.experiments.queue import QUEUED
from benchmark.experiments.request import INNER, ComparisonRequest, drop_rows, key_of_runs, keys, read_request
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_record import RunRecord

TableRow = tuple[str, str]
"""Key of a comparison, and a row of its table."""


@dataclass(frozen=True)
class Selection:
    """A user's selection; what is empty, or 0, selects by nothing, and what several name must fit them all.

    Attributes:
        methods: rows, as tables write them.
        status: status of runs, in the words of ``landshift status``.
        comparison: its key.
        steps: number of steps that a run was trained with.
        runs: ids, or their first characters.
    """

    methods: Sequence[str] = ()
    status: str = ""
    comparison: str = ""
    steps: int = 0
    runs: Sequence[str] = ()

    @property
    def of_single_runs(self) -> bool:
        """The selection may include some runs of a row and not others."""
        return bool(self.status or self.runs)

    def fits_row(self, key: str, row: str, request: ComparisonRequest) -> bool:
        """Return whether methods, comparison and steps fit a row of a comparison."""
        return (
            (not self.methods or row in self.methods)
            and self.comparison in ("", key)
            and self.steps in (0, int(request.facts.get("steps", 0)))
        )

    def fits_run(self, run: RunRecord) -> bool:
        """Return whether status and id fit a run."""
        return self.status in ("", STATUS[run.status]) and (
            not self.runs or any(run.id.startswith(prefix) or run.run.startswith(prefix) for prefix in self.runs)
        )

    def fits_facts(self, facts: Mapping[str, str]) -> bool:
        """Return whether methods, comparison and steps fit a job that no table has a row for."""
        return (
            (not self.methods or facts.get("method") in self.methods)
            and self.comparison in ("", facts.get("comparison"))
            and str(self.steps) in ("0", facts.get("steps"))
        )


@dataclass(frozen=True)
class Doomed:
    """The runs and rows to be removed.

    Attributes:
        runs: runs of the protocol's experiment, and of that with runs inside its folds.
        waiting: keys of queued jobs that were not begun.
        rows: rows of which no run is left then.
        comparisons: comparisons of which no row is left then.
    """

    runs: Sequence[RunRecord]
    waiting: Sequence[str]
    rows: Sequence[TableRow]
    comparisons: Sequence[str]


def find(results: ResultsFolder, experiment: str, selection: Selection) -> Doomed:
    """Return the runs and rows that a selection fits.

    A run that two tables show is kept as long as one of them keeps its row. A row goes with its last job, or, where the
    selection is of whole rows, also if it never had one.

    Raises:
        SettingsError: nothing fits; there is no such comparison, method or run; or one of the runs is being trained.
    """
    tables = {key: read_request(results, experiment, key) for key in keys(results, experiment)}
    every = [*results.runs(experiment), *results.runs(experiment + INNER)]
    queued = [
        row
        for place in (experiment, experiment + INNER)
        for row in results.queue.rows(place)
        if row.state == QUEUED and not row.attempts
    ]
    _check(selection, tables, every)
    fitting = {
        (key, row) for key, table in tables.items() for row in table.grid.methods if selection.fits_row(key, row, table)
    }
    owners = {run.id: _rows_of(run.facts, tables) for run in every}
    owners |= {row.key: _rows_of(row.facts, tables) for row in queued}

    def fits(key: str, facts: Mapping[str, str]) -> bool:
        return owners[key] <= fitting if owners[key] else selection.fits_facts(facts)

    runs = [run for run in every if selection.fits_run(run) and fits(run.id, run.facts)]
    waiting = [row.key for row in queued if not selection.of_single_runs and fits(row.key, row.facts)]
    if busy := [run for run in runs if run.status == "RUNNING"]:
        raise SettingsError(f"{len(busy)} of these runs are at work, as {busy[0].name}; stop that command first")
    gone = {*(run.id for run in runs), *waiting}
    kept = {row for key in owners if key not in gone for row in owners[key]}
    touched = {row for id in gone for row in owners[id]}
    rows = fitting & (touched - kept) if selection.of_single_runs else fitting
    rows_left = {key for key, table in tables.items() if any((key, row) not in rows for row in table.grid.methods)}
    if not (runs or waiting or rows):
        raise SettingsError("no run and no row of a table fits; landshift status shows what there is")
    return Doomed(runs, waiting, sorted(rows), [key for key in tables if key not in rows_left])


def forget(results: ResultsFolder, experiment: str, doomed: Doomed) -> None:
    """Delete the jobs with the files of their runs, and take the rows out of their tables."""
    keys = [*(run.id for run in doomed.runs), *doomed.waiting]
    for place in (experiment, experiment + INNER):
        results.remove(place, keys)
    for key in dict.fromkeys(key for key, _ in doomed.rows):
        drop_rows(results, experiment, key, {row for of, row in doomed.rows if of == key})
    rows = set(doomed.rows)
    summaries = results.summaries(experiment)
    names = [name for name, facts in summaries.items() if (facts.get("comparison", ""), facts.get("method")) in rows]
    results.remove_summaries(experiment, names)
    unpublish(results, experiment, doomed.comparisons)


def _rows_of(facts: Mapping[str, str], tables: dict[str, ComparisonRequest]) -> set[TableRow]:
    """Return the rows of tables that a job is part of; one inside a fold is part of what that fold is."""
    fold, method = facts.get("inside", facts.get("fold", "")), facts.get("method", "")
    return {
        (key, row)
        for key, request in tables.items()
        if key_of_runs(key) == facts.get("comparison")
        for row in request.grid.methods
        if request.label(row, fold) == method
    }


def _check(selection: Selection, tables: dict[str, ComparisonRequest], runs: Sequence[RunRecord]) -> None:
    if selection.comparison and selection.comparison not in tables:
        raise SettingsError(f"there is no comparison {selection.comparison!r}; there are {', '.join(tables) or 'none'}")
    rows = dict.fromkeys(row for request in tables.values() for row in request.grid.methods)
    rows |= dict.fromkeys(run.facts.get("method", "") for run in runs)
    if unknown := [method for method in selection.methods if method not in rows]:
        raise SettingsError(f"no table has a row {unknown[0]!r}; there are {', '.join(rows) or 'none'}")
