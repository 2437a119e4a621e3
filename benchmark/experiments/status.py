"""Status of a comparison: what is done, running, waiting and failed, and when the rest should be done."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from benchmark.common.errors import TrackingError
from benchmark.evaluation.comparison import Cell
from benchmark.experiments.cells import STATUS, CellKey, best_record, cell_of, places_of, runs_of
from benchmark.experiments.request import ComparisonRequest, facts_that_differ, key_of_runs, keys, newest, read_request
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_record import RunRecord

STATES = ("done", "running", "waiting", "interrupted", "failed", "skipped")


@dataclass(frozen=True)
class MethodStatus:
    """One row of a comparison.

    Attributes:
        counts: its cells by state, of `STATES`.
        seconds: median duration of its finished runs, in seconds; NaN where there are none.
    """

    method: str
    counts: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class Running:
    """A run that a process is training.

    Attributes:
        place: method, fold and seed.
        seconds: since it began.
        share: share of its steps when it last wrote, every half minute; NaN where it has not.
        left: seconds it should still take; NaN where nothing like it is finished.
    """

    place: CellKey
    seconds: float
    share: float
    left: float


@dataclass(frozen=True)
class Status:
    """The status of a comparison.

    Attributes:
        comparison: its key.
        others: the other comparisons of the protocol by key: what is different in each.
        methods: one a row.
        running: the longest first.
        reasons: places by reason, for interrupted, failed and skipped.
        waiting: seconds that the waiting and the interrupted runs should take, one after another; NaN where no run is
            finished.
        guessed: methods of which no run is finished; theirs are taken to last as long as the median of the others.
    """

    comparison: str
    others: Mapping[str, str]
    methods: Sequence[MethodStatus]
    running: Sequence[Running]
    reasons: Mapping[str, Mapping[str, Sequence[CellKey]]]
    waiting: float
    guessed: Sequence[str]

    @property
    def counts(self) -> Counter[str]:
        """The cells of all methods by state."""
        return sum((Counter(method.counts) for method in self.methods), Counter[str]())

    @property
    def is_over(self) -> bool:
        """Nothing runs, and nothing waits to be begun or continued."""
        return not (self.counts["running"] or self.open)

    @property
    def open(self) -> int:
        """Cells that wait to be begun or continued."""
        return self.counts["waiting"] + self.counts["interrupted"]

    @property
    def left(self) -> float:
        """Seconds until all is done, with as many runs at once as now; NaN where nothing runs or nothing is known."""
        if not self.running:
            return nan
        lefts = [run.left for run in self.running]
        return max((self.waiting + sum(lefts)) / len(lefts), *lefts)


def status_of(results: ResultsFolder, experiment: str, comparison: str = "") -> Status:
    """Return the status of a comparison of an experiment.

    Args:
        comparison: its key; "" for the one whose run was started last.

    Raises:
        TrackingError: nothing was requested yet, or there is no such comparison.
    """
    comparisons = keys(results, experiment)
    if not comparisons:
        raise TrackingError(f"nothing has been run under this protocol yet in {results.folder} (see --results)")
    records = results.runs(experiment)
    comparison = comparison or newest(
        comparisons, [run.facts["comparison"] for run in sorted(records, key=lambda run: run.started)]
    )
    if comparison not in comparisons:
        raise TrackingError(f"there is no comparison {comparison!r}; there are {', '.join(comparisons)}")
    request, own = read_request(results, experiment, comparison), key_of_runs(comparison)
    best = best_record([record for record in records if record.facts.get("comparison") == own])
    runs = runs_of(request, best)
    cells = [
        cell_of(request, place, runs.get(place))
        for place in places_of(request.grid)
        if place in runs or request.wants(*place)
    ]
    others = {
        key: facts_that_differ(read_request(results, experiment, key).facts, request.facts)
        for key in comparisons
        if key != comparison
    }
    return _status(results, comparison, others, request, cells, runs)


def _status(
    results: ResultsFolder,
    comparison: str,
    others: Mapping[str, str],
    request: ComparisonRequest,
    cells: Sequence[Cell],
    runs: Mapping[CellKey, RunRecord],
) -> Status:
    now, states = results.database.time(), {(cell.method, cell.fold, cell.seed): state_of(cell) for cell in cells}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, dict[str, list[CellKey]]] = defaultdict(lambda: defaultdict(list))
    lengths: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        place = cell.method, cell.fold, cell.seed
        counts[cell.method][states[place]] += 1
        if states[place] in ("interrupted", "failed", "skipped"):
            reasons[states[place]][cell.reason].append(place)
        elif states[place] == "done" and (ended := runs[place].ended) is not None:
            lengths[cell.method].append(ended - runs[place].started)
    usual = {method: statistics.median(seconds) for method, seconds in lengths.items()}
    any_method = statistics.median(usual.values()) if usual else nan
    running = {
        runs[place].id: _running(place, runs[place], usual.get(place[0], any_method), now)
        for place, state in states.items()
        if state == "running"
    }
    waiting = [place[0] for place, state in states.items() if state in ("waiting", "interrupted")]
    open_methods = dict.fromkeys([*waiting, *(run.place[0] for run in running.values())])
    return Status(
        comparison=comparison,
        others=others,
        methods=[MethodStatus(row, counts[row], usual.get(row, nan)) for row in request.grid.methods],
        running=sorted(running.values(), key=lambda run: -run.seconds),
        reasons=reasons,
        waiting=sum(usual.get(method, any_method) for method in waiting),
        guessed=[method for method in open_methods if usual and method not in usual],
    )


def _running(place: CellKey, record: RunRecord, usual: float, now: float) -> Running:
    seconds, share = max(now - record.started, 0.0), record.progress or nan
    by_steps = nan if isnan(share) else seconds / share - seconds
    return Running(place, seconds, share, by_steps if isnan(usual) else max(usual - seconds, 0.0))


def state_of(cell: Cell) -> str:
    """Return the state of a cell in this module's words."""
    return "waiting" if cell.status == "not run" else cell.status


def count_runs(records: Iterable[RunRecord]) -> Counter[str]:
    """Return the number of runs in each state."""
    return Counter(STATUS[record.status] for record in records)
