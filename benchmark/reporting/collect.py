"""The state of a comparison: from its request and its runs to all that a report shows."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from benchmark.common.errors import LandshiftError, TrackingError
from benchmark.evaluation.comparison import Cell, Grid, Line, compare, rarer_half, table
from benchmark.evaluation.sanity_checks import alarms
from benchmark.evaluation.selection import RULES
from benchmark.evaluation.selection_rules import RuleLine, compare_rules
from benchmark.evaluation.shares import ShareLine, compare_shares
from benchmark.evaluation.significance import Paired, Ranking, compare_with_control, rank
from benchmark.experiments.cells import CellKey, best_record, cell_of, places_of, runs_of
from benchmark.experiments.checkpoint_records import (
    CHANGED_NETWORK,
    class_pixels,
    majorities,
    patch_noises,
    with_nested,
    with_records,
    zonal_errors,
)
from benchmark.experiments.pixels import pixel_scores
from benchmark.experiments.provenance import code_version, differences, provenance_of
from benchmark.experiments.request import (
    INNER,
    ComparisonRequest,
    facts_that_differ,
    key_of_runs,
    keys,
    newest,
    read_request,
)
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_folder import Files
from benchmark.experiments.run_record import RunRecord
from benchmark.reporting.modalities import Modalities, compare_modalities, siblings
from benchmark.reporting.stream_orders import order_siblings
from methods.sources import file_digest, is_imported

HELD_OUT = "held_out_"  # how the facts begin that say what a run's fold holds out


@dataclass(frozen=True)
class Aside:
    """Runs that are not in a comparison.

    Attributes:
        runs: number of finished runs.
        differs: differences of the other comparison, in words.
    """

    runs: int
    differs: str


@dataclass(frozen=True)
class ComparisonState:
    """The state of a comparison.

    Attributes:
        grid: its axes.
        tuned: label behind each tuned row on each fold.
        cells: every place of the grid.
        lines: one a method.
        paired: one a method but the control, against it.
        ranking: ranking of the methods on the folds; None where there are too few.
        pixels: mean IoU of the per-pixel baseline on each fold, NaN where it has none; empty where no fold has one.
        rules: one a selection rule; none where the runs have no record of their checkpoints.
        shares: errors of class shares of each method; none where the confusion matrices are not known.
        modalities: the comparisons that differ from it in series settings alone beside it; None where there are none.
        orders: the comparisons that differ from it in the order of the test stream alone, by order, likewise.
        replaced: finished runs by label that a later run with other code of the method takes the place of.
        others: comparisons of the same protocol that have finished runs which are not in this one, by their key.
        facts: facts that all its runs share; and, as ``networks``, those with another network.
        folders: folder of the artifacts of each cell that has a run, by method, fold and seed.
        runs: the same runs as the store knows them.
        commands: commands that make its runs in an empty results folder; none where they are not known.
        calls: time when each command was first given, the command, and its rows.
        alarms: what is most likely a mistake, or must be known before the table is believed.
    """

    grid: Grid
    tuned: Mapping[str, Mapping[str, str]]
    cells: list[Cell]
    lines: list[Line]
    paired: list[Paired]
    ranking: Ranking | None
    pixels: Mapping[str, float]
    rules: list[RuleLine]
    shares: list[ShareLine]
    modalities: Modalities | None
    orders: Modalities | None
    replaced: Mapping[str, int]
    others: Mapping[str, Aside]
    facts: dict[str, str]
    folders: Mapping[CellKey, Files]
    runs: Mapping[CellKey, RunRecord]
    commands: Sequence[str]
    calls: Sequence[tuple[str, str, Sequence[str]]]
    alarms: list[str]

    @property
    def has_results(self) -> bool:
        """A run of it is finished."""
        return any(cell.status == "done" for cell in self.cells)


def collect(
    results: ResultsFolder, experiment: str, comparison: str = "", *, rule: str = "", mixed: bool = False
) -> ComparisonState:
    """Return the state of the newest comparison of an experiment, or of the one named.

    Args:
        rule: rule that chooses the checkpoints; "" for the one that each run went by.
        mixed: take runs of different provenance (`benchmark.experiments.provenance`) into one table.

    Raises:
        TrackingError: there is no run yet, or the runs differ in their provenance.
    """
    records = results.runs(experiment)
    comparison = comparison or newest_comparison(results, experiment, records)
    comparisons = keys(results, experiment)
    if comparison not in comparisons:
        raise TrackingError(f"there is no comparison {comparison!r}; there are {', '.join(comparisons) or 'none'}")
    requests = {key: read_request(results, experiment, key) for key in comparisons}
    facts = {key: request.facts for key, request in requests.items()}
    request, inner = requests[comparison], results.runs(experiment + INNER)
    of_comparison = [record for record in records if record.facts.get("comparison") == key_of_runs(comparison)]

    def fill(key: str) -> _Filled:
        return _filled(key, requests[key], records, inner, rule)

    grid, best, folders, cells, inside = own = fill(comparison)
    target = {row: table(cells, grid, row, "target/miou") for row in grid.methods}
    rows = [row for row in grid.methods if row != grid.control]
    control = target.get(grid.control, np.nan)
    rare = {fold: rarer_half(pixels) for fold, pixels in class_pixels(cells, grid, folders).items()}
    lines = compare(cells, grid, rare)
    paired = compare_with_control(
        {row: target[row] - control for row in rows},
        patch_noises(cells, grid, folders),
        grid.groups,
        grid.bounds,
        {row: target[row] - target[grid.target_control] for row in grid.target_images - {grid.target_control}}
        if grid.target_control
        else {},
    )
    scores = pixel_scores(results, experiment, request.facts)
    pixels = {fold: scores.get(fold, np.nan) for fold in grid.folds}
    return ComparisonState(
        grid=grid,
        tuned={
            row: {fold: label for fold, label in of.items() if fold in grid.folds} for row, of in request.labels.items()
        },
        cells=cells,
        lines=lines,
        paired=paired,
        ranking=rank({row: target[row].mean(1) for row in grid.methods if row not in grid.bounds}, grid.groups),
        pixels=pixels if np.isfinite(list(pixels.values())).any() else {},
        rules=compare_rules(cells, grid),
        shares=compare_shares(zonal_errors(cells, folders), {line.method: line.target.mean for line in lines}, grid),
        modalities=_beside(siblings(facts, comparison), comparison, own, fill, mixed),
        orders=_beside(order_siblings(facts, comparison), comparison, own, fill, mixed),
        replaced=_replaced(of_comparison, best),
        others=_others(requests, comparison, records, best),
        facts=request.facts | {"code_version": _code(best) or request.facts["code_version"]} | _networks(best),
        folders=folders,
        runs=best,
        commands=request.commands,
        calls=request.calls,
        alarms=[
            *_tuned(request.facts),
            *_headline(rule),
            *_provenance([*best.values(), *inside], mixed),
            *_remarks(best),
            *alarms(
                cells,
                grid,
                majorities(cells, grid, folders),
                [line.method for line in paired if line.within_seed_noise],
                pixels,
            ),
        ],
    )


class _Filled(NamedTuple):
    """The grid of a comparison with its runs.

    Attributes:
        best: run behind each place; ``folders`` are their artifacts.
        cells: every place of the grid.
        inside: finished runs inside its folds.
    """

    grid: Grid
    best: Mapping[CellKey, RunRecord]
    folders: Mapping[CellKey, Files]
    cells: list[Cell]
    inside: list[RunRecord]


def _filled(
    comparison: str, request: ComparisonRequest, records: Sequence[RunRecord], inner: Sequence[RunRecord], rule: str
) -> _Filled:
    """Return the grid of a comparison with its runs at the checkpoints of a rule.

    Args:
        records, inner: all runs of the experiment, and of the folds inside its folds.
    """
    own = key_of_runs(comparison)
    best = runs_of(request, best_record([run for run in records if run.facts.get("comparison") == own]))
    grid = replace(request.grid, held_out=_held_out(best))
    folders = {place: record.artifacts for place, record in best.items()}
    cells = with_records([cell_of(request, place, best.get(place)) for place in places_of(grid)], grid, folders)
    inside: list[RunRecord] = []
    if inner:
        runs = best_record([run for run in inner if run.facts.get("comparison") == own])
        inside = [run for run in runs.values() if run.status == "FINISHED"]
        cells = with_nested(cells, [(run.facts, run.artifacts) for run in inside], request.label)
    if rule:
        from benchmark.reporting.reselection import by_rule  # needs torch, which a report can do without

        cells = by_rule(cells, grid, folders, rule)
    return _Filled(grid, best, folders, cells, inside)


def _beside(
    alike: Mapping[str, str],
    comparison: str,
    own: _Filled,
    fill: Callable[[str], _Filled],
    mixed: bool,
) -> Modalities | None:
    """Return a comparison beside those that are alike but for one thing; None where there are none.

    Those that could not share a table with it are left out, with the reason.

    Args:
        alike: their keys, by name; its own is among them.
        fill: gives the grid of another comparison with its runs, by its key.
    """
    seen: dict[str, tuple[Grid, Sequence[Cell]]] = {}
    left_out: dict[str, str] = {}
    for name, key in alike.items():
        try:
            filled = own if key == comparison else fill(key)
            if any(cell.status == "done" for cell in filled.cells):
                _provenance([*own.best.values(), *filled.best.values()], mixed)
                seen[name] = filled.grid, filled.cells
        except LandshiftError as error:
            left_out[name] = str(error)
    return compare_modalities(own.grid, seen, left_out)


def newest_comparison(results: ResultsFolder, experiment: str, runs: Sequence[RunRecord]) -> str:
    """Return the key of the newest comparison of an experiment.

    Args:
        runs: runs of the experiment.

    Raises:
        TrackingError: none was requested yet.
    """
    comparisons = keys(results, experiment)
    if not comparisons:
        raise TrackingError(f"nothing has been run under this protocol yet in {results.folder} (see --results)")
    ended = sorted((run for run in runs if run.status == "FINISHED"), key=lambda run: run.started)
    return newest(comparisons, [run.facts["comparison"] for run in ended])


def _held_out(best: Mapping[CellKey, RunRecord]) -> dict[str, dict[str, str]]:
    """Return the held-out values of each fold, as its runs name them."""
    return {
        place[1]: {
            name.removeprefix(HELD_OUT): value
            for name, value in record.facts.items()
            if name.startswith(HELD_OUT) and value != "none"
        }
        for place, record in best.items()
    }


def _replaced(records: Sequence[RunRecord], best: Mapping[CellKey, RunRecord]) -> dict[str, int]:
    """Return the number of finished runs of each label whose place has a run with other code of the method."""
    shown = {_place(record): record.facts["method_digest"] for record in best.values()}
    finished = [run for run in records if run.status == "FINISHED" and _place(run) in shown]
    return dict(Counter(run.facts["method"] for run in finished if run.facts["method_digest"] != shown[_place(run)]))


def _place(record: RunRecord) -> tuple[str, ...]:
    return tuple(record.facts[name] for name in ("method", "fold", "seed"))


def _others(
    by_key: Mapping[str, ComparisonRequest],
    comparison: str,
    records: Sequence[RunRecord],
    best: Mapping[Any, RunRecord],
) -> dict[str, Aside]:
    """Return the finished runs of each other comparison that are not in this one."""
    own, facts = {record.id for record in best.values()}, by_key[comparison].facts
    others = {}
    for key, request in by_key.items():
        theirs = best_record([run for run in records if run.facts.get("comparison") == key_of_runs(key)])
        runs = [run for run in runs_of(request, theirs).values() if run.status == "FINISHED" and run.id not in own]
        if key != comparison and runs:
            others[key] = Aside(len(runs), facts_that_differ(request.facts, facts))
    return others


def _code(best: Mapping[Any, RunRecord]) -> str:
    """Return the versions of landshift that the finished runs are of, each with its number where there are several."""
    count = Counter(record.facts["code_version"] for record in best.values() if record.status == "FINISHED")
    return ", ".join(f"{name} ({runs} runs)" if len(count) > 1 else name for name, runs in count.items())


def _networks(best: Mapping[Any, RunRecord]) -> dict[str, str]:
    """Return the networks of methods that train another than the config names, as a fact; none if there are none."""
    words = {run.facts["method"]: run.tags[CHANGED_NETWORK] for run in best.values() if CHANGED_NETWORK in run.tags}
    changed = [f"the network of {label} is changed by the method ({text})" for label, text in words.items()]
    return {"networks": "; ".join(changed)} if changed else {}


def _tuned(facts: Mapping[str, str]) -> list[str]:
    return [facts["tuned"]] if "no legitimate result" in facts.get("tuned", "") else []


def _headline(rule: str) -> list[str]:
    looks = rule and not RULES[rule].legitimate
    return [f"{rule} chose the checkpoints: it looks at the target's labels, no legitimate result"] if looks else []


def _provenance(runs: Sequence[RunRecord], mixed: bool) -> list[str]:
    """Return how a table's runs differ besides their jobs, and whether landshift has changed since they were run."""
    provenances = [provenance_of(run) for run in runs if run.status == "FINISHED"]
    if words := differences(provenances):
        remark = f"runs of several versions of landshift, packages or machines: {words}"
        if not mixed:
            raise TrackingError(f"{remark}. A difference may be one of these. --mixed takes them into one table")
        return [remark]
    current = code_version()
    codes = {one.code for one in provenances if one.code} - {current}
    return [f"the runs are of another version of landshift ({code}) than this ({current})" for code in codes]


def _remarks(best: Mapping[Any, RunRecord]) -> list[str]:
    """Return remarks on methods whose runs are of other code than the installed one."""
    digests: dict[str, set[str]] = {}
    for record in best.values():
        if record.status == "FINISHED":
            digests.setdefault(record.facts["method"], set()).add(record.facts["method_digest"])
    mixed = [label for label, codes in digests.items() if len(codes) > 1]
    current = {label: digest_here(label) for label in digests}
    other = [label for label in digests if label not in mixed and current[label] not in (None, *digests[label])]
    unknown = [label for label in digests if label not in mixed and current[label] is None]
    return [
        f"{'all runs' if len(labels) == len(digests) else 'the runs of ' + ', '.join(labels)} are of {versions}"
        for labels, versions in (
            (mixed, "several versions of a method's code"),
            (other, "another version of the methods' code than the one that made this report"),
            (
                unknown,
                "modules that a report does not import: their code was not compared, as landshift run with them does",
            ),
        )
        if labels
    ]


def digest_here(label: str) -> str | None:
    """Return `labels.installed_digest` of a label; of a method of landshift by its files, without torch."""
    name = label.partition("[")[0]
    if not is_imported(name):
        return None
    if (digest := file_digest(name)) is not None:
        return digest
    from benchmark.experiments.labels import installed_digest

    return installed_digest(label)
