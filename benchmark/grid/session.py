"""One call of ``landshift run``: what is done already, what is left, and what the comparison then says."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.alarms import alarms
from benchmark.comparison import Cell, Grid, Line, compare, rarer_half, summary_metrics, table
from benchmark.errors import TrackingError
from benchmark.grid.jobs import Bench, Job, Plan
from benchmark.grid.labels import parse_label
from benchmark.grid.pool import Ended, Waiting, run_all
from benchmark.grid.records import class_pixels, majorities, patch_noises, with_nested, with_records
from benchmark.paired import Paired, Ranking, compare_with_control, paired_metrics, rank
from benchmark.rules import RuleLine, compare_rules
from benchmark.tracking import RunRecord, Summary, Tracker
from methods.base import MethodError
from methods.sources import code_digest
from protocols.base import Protocol

SHIFT = "shift"  # the summary run of `landshift shift`, which is of the folds and not of a comparison
INNER = " (source domains held out)"  # the name of the experiment with runs inside the folds of another
NESTED = "landshift.nested"  # experiment tag, with the id of that one
GRID = "landshift.grid."  # experiment tag, with the comparison's key behind it
NOTE_LENGTH = 15_000  # of the 20,000 characters that MLflow keeps; the report's own files hold everything
STATUS = {"FINISHED": "done", "RUNNING": "running", "FAILED": "failed", "KILLED": "failed"}


@dataclass(frozen=True)
class TunedRows:
    """Rows of a table whose settings were tuned.

    Attributes:
        key: of the tuning.
        words: how they were tuned.
        labels: of each row, the label that stands behind it on each fold.
    """

    key: str
    words: str
    labels: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Standing:
    """The state of a comparison.

    Attributes:
        grid: its axes.
        cells: every place of the grid.
        lines: one a method.
        paired: one a method but the control, against it.
        ranking: of the methods on the folds; None where there are too few.
        rules: one a selection rule; none where the runs have no record of their checkpoints.
        others: finished runs of the same protocol with other settings or data, by the key of their comparison.
        facts: what all its runs share.
        folders: of the artifacts of each cell that has a run, by method, fold and seed.
        runs: the same runs as the store knows them.
        alarms: what is most likely a mistake, or must be known before the table is believed.
    """

    grid: Grid
    cells: list[Cell]
    lines: list[Line]
    paired: list[Paired]
    ranking: Ranking | None
    rules: list[RuleLine]
    others: Mapping[str, int]
    facts: dict[str, str]
    folders: Mapping[tuple[str, str, int], Path]
    runs: Mapping[tuple[str, str, int], RunRecord]
    alarms: list[str]


class Session:
    """A plan opened together with its MLflow experiment.

    Args:
        plan: what to run.
        progress: see :class:`benchmark.grid.jobs.Bench`.
        bench: the plan, where it is open already.
        nested: keep the runs of folds inside the folds, in an experiment of their own.
    """

    def __init__(
        self,
        plan: Plan,
        progress: Callable[[int, int], None] | None = None,
        bench: Bench | None = None,
        *,
        nested: bool = False,
    ) -> None:
        self.plan = plan
        self.bench = bench or Bench(plan, progress)
        self.tracker = Tracker(plan.results)
        self.experiment = open_experiment(self.tracker, self.bench)
        if nested:
            outer, self.experiment = self.experiment, self.tracker.experiment(self.bench.protocol.label + INNER)
            self.tracker.tag(outer, NESTED, self.experiment)
        self.tracker.close_stale(self.experiment)

    def left(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that are neither finished, nor skipped, nor running in another process."""
        taken = {
            record.identity
            for record in self.tracker.cells(self.experiment)
            if record.status in ("FINISHED", "RUNNING")
        }
        return [job for job in jobs if not job.skip and job.identity not in taken]

    def run(
        self,
        jobs: Sequence[Job],
        workers: int,
        on_progress: Callable[[Job, float], None],
        on_end: Callable[[Ended], None],
    ) -> None:
        """Run jobs; whatever happens, what is finished stays finished."""
        workers = min(workers, len(jobs)) or 1
        run_all(self.plan, self.experiment, Waiting(jobs), workers, self.bench, on_progress, on_end)

    def remember(self, jobs: Sequence[Job], tuned: TunedRows | None = None, tuned_jobs: Sequence[Job] = ()) -> None:
        """Write the grid into the experiment, so that a report can tell what is missing, and why.

        Args:
            jobs: one a cell of the rows that are named by their labels.
            tuned: further rows; a table with them is a comparison of its own.
            tuned_jobs: those of these rows.
        """
        comparison = self.comparison(tuned)
        grid = _read_grid(self.tracker, self.experiment, comparison)
        grid["facts"] = {name: str(value) for name, value in self.bench.shared_facts().items()}
        if tuned:
            grid["facts"] |= {"tuned": tuned.words, "comparison": comparison}
            for row, labels in tuned.labels.items():
                grid["methods"][row] = _described(next(iter(labels.values()))) | {"labels": labels}
        grid["methods"] |= {job.label: _described(job.label) for job in jobs}
        for job in (*jobs, *tuned_jobs):
            if job.fold not in grid["folds"]:
                grid["folds"] = sorted({*grid["folds"], job.fold})
            grid["seeds"] = sorted({*grid["seeds"], job.seed})
            if job.skip:
                grid["skipped"].setdefault(job.label, {})[job.fold] = job.skip
        self.tracker.tag(self.experiment, GRID + comparison, json.dumps(grid))

    def comparison(self, tuned: TunedRows | None = None) -> str:
        """The key of a comparison of this plan."""
        return self.bench.comparison + (f"-{tuned.key}" if tuned else "")


def open_experiment(tracker: Tracker, bench: Bench) -> str:
    """The id of the MLflow experiment of a protocol, which is made if there is none yet."""
    protocol = bench.protocol
    facts = {"protocol": protocol.name, "fingerprint": bench.fingerprint}
    return tracker.experiment(protocol.label, describe(protocol), facts)


def standing(tracker: Tracker, experiment: str, comparison: str = "", *, mixed: bool = False) -> Standing:
    """The state of the newest comparison of an experiment, or of the one named.

    Args:
        mixed: take runs of several versions of landshift into one table.

    Raises:
        TrackingError: there is no run yet, or the runs are of several versions.
    """
    records = tracker.cells(experiment)
    started = [r.facts["comparison"] for r in records if r.status == "FINISHED"]
    asked = [tag.removeprefix(GRID) for tag in tracker.tags(experiment) if tag.startswith(GRID)]
    if not asked:
        raise TrackingError(f"nothing has been run under this protocol yet in {tracker.results} (see --results)")
    comparison = comparison or (started or asked)[-1]
    if comparison not in asked:
        raise TrackingError(f"there is no comparison {comparison!r}; there are {', '.join(asked)}")
    count = Counter(started)
    others = {key: count[_plain(key)] for key in asked if key != comparison and count[_plain(key)]}
    mine = [record for record in records if record.facts.get("comparison") == _plain(comparison)]
    content = _read_grid(tracker, experiment, comparison)
    grid = Grid(
        methods=tuple(content["methods"]),
        folds=tuple(content["folds"]),
        seeds=tuple(content["seeds"]),
        needs={label: method["needs"] for label, method in content["methods"].items()},
        bounds=frozenset(label for label, method in content["methods"].items() if method["bound"]),
        control=next((label for label, method in content["methods"].items() if method["control"]), ""),
    )
    best = _rows(content, _best_record(mine))
    cells = [
        _cell(label, fold, seed, best.get((label, fold, seed)), content["skipped"].get(label, {}).get(fold, ""))
        for label in grid.methods
        for fold in grid.folds
        for seed in grid.seeds
    ]
    folders = {place: record.artifacts for place, record in best.items()}
    cells = with_records(cells, grid, folders)
    if inner := tracker.tags(experiment).get(NESTED):
        runs = _best_record([run for run in tracker.cells(inner) if run.facts.get("comparison") == comparison])
        cells = with_nested(cells, [(run.facts, run.artifacts) for run in runs.values() if run.status == "FINISHED"])
    target = {label: table(cells, grid, label, "target/miou") for label in grid.methods}
    control = target.get(grid.control, np.nan)
    others_of = [label for label in grid.methods if label != grid.control]
    rare = {fold: rarer_half(pixels) for fold, pixels in class_pixels(cells, grid, folders).items()}
    return Standing(
        grid=grid,
        cells=cells,
        lines=compare(cells, grid, rare, int(content["facts"].get("devices", 1))),
        paired=compare_with_control(
            {label: target[label] - control for label in others_of}, patch_noises(cells, grid, folders)
        ),
        ranking=rank({label: target[label].mean(1) for label in grid.methods if label not in grid.bounds}),
        rules=compare_rules(cells, grid),
        others=others,
        facts=content["facts"],
        folders=folders,
        runs=best,
        alarms=[
            *_tuned(content["facts"]),
            *_versions(best, mixed),
            *_remarks(best),
            *alarms(cells, grid, majorities(cells, grid, folders)),
        ],
    )


def publish(
    tracker: Tracker,
    experiment: str,
    protocol: Protocol,
    state: Standing,
    markdown: str,
    figures: Sequence[Path] = (),
) -> None:
    """Write one summary run a method, and the comparison itself onto the experiment's page.

    Args:
        figures: files of the comparison, of which each summary keeps a copy.
    """
    common = ("protocol", "fingerprint", "dataset", "network", "steps", "batch_size", "comparison")
    paired = {line.method: paired_metrics(line) for line in state.paired}
    shared = {name: state.facts[name] for name in common}
    summaries = [
        Summary(
            line.method,
            {"method": line.method, "needs": line.needs, "rule": line.rule} | shared,
            summary_metrics(line) | paired.get(line.method, {}),
            figures,
        )
        for line in state.lines
        if line.target.cells
    ]
    tracker.summarise(experiment, *summaries)
    tracker.keep_summaries(experiment, {SHIFT, *(summary.name for summary in summaries)})
    tracker.describe(experiment, f"{describe(protocol)}\n\n{markdown[:NOTE_LENGTH]}")


def describe(protocol: Protocol) -> str:
    """The protocol as the note on its experiment's page."""
    return f"**{protocol.title}.** {protocol.description.strip()}\n\n*What it confounds:* {protocol.confounds.strip()}"


def _read_grid(tracker: Tracker, experiment: str, comparison: str) -> dict[str, Any]:
    text = tracker.tags(experiment).get(GRID + comparison)
    return json.loads(text) if text else {"methods": {}, "folds": [], "seeds": [], "skipped": {}, "facts": {}}


def _described(label: str) -> dict[str, Any]:
    """What a table must know of a method that may not be installed any more when it is made."""
    method = parse_label(label).method
    return {"needs": method.needs.value, "bound": method.needs.is_bound, "control": method.is_control}


def _plain(comparison: str) -> str:
    """The key that the runs of a comparison carry: tuned rows are runs like all others."""
    return comparison.partition("-")[0]


def _rows(content: Mapping[str, Any], best: Mapping[Any, RunRecord]) -> dict[tuple[str, str, int], RunRecord]:
    """The run behind each place of a table."""
    places = (
        (row, about.get("labels", {}).get(fold, row), fold, seed)
        for row, about in content["methods"].items()
        for fold in content["folds"]
        for seed in content["seeds"]
    )
    return {
        (row, fold, seed): best[label, fold, str(seed)]
        for row, label, fold, seed in places
        if (label, fold, str(seed)) in best
    }


def _best_record(records: Sequence[RunRecord]) -> dict[tuple[str, str, str], RunRecord]:
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


def _tuned(facts: Mapping[str, str]) -> list[str]:
    return [facts["tuned"]] if "no legitimate result" in facts.get("tuned", "") else []


def _versions(best: Mapping[Any, RunRecord], mixed: bool) -> list[str]:
    """Budgets and folds are the same by construction; versions of landshift's own code may not be."""
    versions = Counter(record.facts["code_version"] for record in best.values() if record.status == "FINISHED")
    if len(versions) < 2:
        return []
    counts = ", ".join(f"{count} of {name}" for name, count in versions.items())
    told = f"runs of several versions of landshift: {counts}"
    if not mixed:
        raise TrackingError(f"{told}; a difference may be one of versions. --mixed takes them into one table")
    return [told]


def _remarks(best: Mapping[Any, RunRecord]) -> list[str]:
    """Which methods' results were run by other code than is at hand; the engine runs such jobs anew when asked."""
    digests: dict[str, set[str]] = {}
    for record in best.values():
        if record.status == "FINISHED":
            digests.setdefault(record.facts["method"], set()).add(record.facts["method_digest"])
    mixed = [label for label, found in digests.items() if len(found) > 1]
    other = [label for label, found in digests.items() if label not in mixed and found != {_digest_at_hand(label)}]
    return [
        f"{'all runs' if len(labels) == len(digests) else 'the runs of ' + ', '.join(labels)} are of {versions}"
        for labels, versions in (
            (mixed, "several versions of a method's code"),
            (other, "another version of the methods' code than the one that made this report"),
        )
        if labels
    ]


def _digest_at_hand(label: str) -> str:
    try:
        return code_digest(parse_label(label).method)
    except MethodError:  # it is not installed any more, or its hyperparameters are others
        return ""


def _cell(label: str, fold: str, seed: int, record: RunRecord | None, skip: str) -> Cell:
    if record is None:
        return Cell(label, fold, seed, "skipped" if skip else "not run", skip)
    status, rule = STATUS[record.status], record.facts.get("rule", "")
    return Cell(label, fold, seed, status, record.error or "", record.metrics if status == "done" else None, rule=rule)
