"""The request of a comparison: methods, folds and seeds, kept so that a report lists what is missing."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.common.errors import TrackingError
from benchmark.evaluation.comparison import Grid
from benchmark.experiments.invocation import Block, commands_of, is_within, shared_arguments
from benchmark.experiments.results import ResultsFolder

if TYPE_CHECKING:
    from benchmark.experiments.jobs import Bench, Job  # needs torch, which who only reads can do without
    from methods.base import Needs

PREFIX = "comparison/"  # of the names of documents, with the comparison's key behind it
INNER = " (source domains held out)"  # the name of the experiment with runs inside the folds of another
NOT_NAMED = ("comparison", "code_version", "recipe")  # of facts that differ: in other words, or no reason to look
ADAPTS, IMAGES = "adapts", "target_images"  # marks of a method


@dataclass(frozen=True)
class TunedRows:
    """Rows of a table whose settings were tuned.

    Attributes:
        key: key of the tuning.
        words: description of the tuning.
        labels: label that is trained for each row on each fold.
        search: arguments of ``landshift tune`` for them (`benchmark.experiments.invocation.tuning_arguments`).
    """

    key: str
    words: str
    labels: Mapping[str, Mapping[str, str]]
    search: str = ""


@dataclass(frozen=True)
class ComparisonRequest:
    """One comparison as commands requested it.

    Attributes:
        grid: its axes.
        labels: the label on each fold, of rows whose setting differs between folds.
        skipped: why a method cannot be run, by label and fold.
        facts: common facts of its runs.
        commands: commands that make its runs in an empty results folder; none where they are not known.
        blocks: rows, folds and seeds of each request.
        calls: time of the first call of each command, the command, and its rows.
    """

    grid: Grid
    labels: Mapping[str, Mapping[str, str]]
    skipped: Mapping[str, Mapping[str, str]]
    facts: dict[str, str]
    commands: Sequence[str] = ()
    blocks: Sequence[Block] = ()
    calls: Sequence[tuple[str, str, Sequence[str]]] = ()

    def wants(self, row: str, fold: str, seed: int) -> bool:
        """Return whether a command requested this cell; the grid spans the requests of several commands."""
        within = ((row in rows, fold in folds, seed in seeds) for rows, folds, seeds in self.blocks)
        return not self.blocks or any(map(all, within))

    def label(self, row: str, fold: str) -> str:
        """Return the label that is trained for a row of the table on a fold."""
        return self.labels.get(row, {}).get(fold, row)


def key_of(bench: "Bench", tuned: TunedRows | None = None) -> str:
    """Return the key of a comparison; tuned rows make another one."""
    return bench.comparison + (f"-{tuned.key}" if tuned else "")


def key_of_runs(comparison: str) -> str:
    """Return the key in the facts of the runs of a comparison: tuned rows are runs like all others."""
    return comparison.partition("-")[0]


def keys(results: ResultsFolder, experiment: str) -> list[str]:
    """Return the comparisons that were requested; the one that was requested last is last."""
    return [name.removeprefix(PREFIX) for name in results.database.documents(experiment, PREFIX)]


def newest(comparisons: Sequence[str], of_runs: Sequence[str]) -> str:
    """Return the comparison of the newest run; of several, the one that was requested last.

    Args:
        comparisons: keys of comparisons, by `keys`.
        of_runs: keys that runs carry, oldest first.
    """
    return ([key for key in comparisons if of_runs and key_of_runs(key) == of_runs[-1]] or comparisons)[-1]


def facts_that_differ(facts: Mapping[str, str], others: Mapping[str, str]) -> str:
    """Return in words what is different in the facts of one comparison from those of another."""
    names = [name for name in facts if name not in NOT_NAMED and facts[name] != others.get(name)]
    return ", ".join(f"{name.replace('_', ' ')} {facts[name]}" for name in names) or "other rows"


def remember(
    results: ResultsFolder,
    experiment: str,
    bench: "Bench",
    jobs: Sequence["Job"],
    tuned: TunedRows | None = None,
    tuned_jobs: Sequence["Job"] = (),
    *,
    nested: bool = False,
    command: str = "",
) -> None:
    """Add to a requested comparison.

    Args:
        jobs: one a cell of the rows that are named by their labels.
        tuned: further rows.
        tuned_jobs: jobs of these rows.
        nested: whether the folds inside the folds are trained, too.
        command: the command line that requests them; "" if none does.
    """
    request = _request(bench, jobs, tuned, tuned_jobs, nested)
    if command:
        request["calls"] = [[time.strftime("%Y-%m-%d %H:%M"), command, list(request["methods"])]]
    results.database.edit(experiment, PREFIX + key_of(bench, tuned), lambda old: merge_requests(old, request))


def _request(
    bench: "Bench", jobs: Sequence["Job"], tuned: TunedRows | None, tuned_jobs: Sequence["Job"], nested: bool
) -> dict[str, Any]:
    """Return what one command requests of a comparison."""
    every = [*jobs, *tuned_jobs]
    methods: dict[str, Any] = {}
    facts = {name: str(value) for name, value in bench.shared_facts().items()}
    facts["recipe"] = json.dumps(bench.shared["recipe"])  # all of it, to be looked up among calibrations
    call = {"shared": shared_arguments(bench.plan)}
    if tuned:
        call |= {"tuned": tuned.key, "search": tuned.search}
        facts |= {"tuned": tuned.words, "comparison": key_of(bench, tuned)}
        for row, labels in tuned.labels.items():
            methods[row] = _described(next(iter(labels.values()))) | {"labels": labels}
    methods |= {job.label: _described(job.label) for job in jobs}
    skipped: dict[str, dict[str, str]] = {}
    for job in every:
        if job.skip:
            skipped.setdefault(job.label, {})[job.fold] = job.skip
    folds, seeds = sorted({job.fold for job in every}), sorted({job.seed for job in every})
    block = [sorted(methods), folds, seeds]
    return {
        **{"methods": methods, "controls": _controls(bench), "facts": facts, "call": call, "skipped": skipped},
        **{"folds": folds, "seeds": seeds, "blocks": [block], "nested": [block] if nested else [], "calls": []},
    }


def drop_rows(results: ResultsFolder, experiment: str, comparison: str, rows: Collection[str]) -> None:
    """Take rows out of a requested comparison; with its last row the comparison is deleted, too."""

    def change(content: Any) -> Any:
        content = _empty() | (content or {})
        methods = {row: about for row, about in content["methods"].items() if row not in rows}
        if not methods:
            return None
        labels = {label for row, about in methods.items() for label in (row, *about.get("labels", {}).values())}
        content["methods"] = methods
        content["skipped"] = {label: of for label, of in content["skipped"].items() if label in labels}
        for name in ("blocks", "nested"):
            content[name] = _without(content[name], rows)
        left = [(made, command, [row for row in of if row not in rows]) for made, command, of in content["calls"]]
        content["calls"] = [call for call in left if call[2]]
        for axis, name in ((1, "folds"), (2, "seeds")):
            content[name] = sorted({value for block in content["blocks"] for value in block[axis]})
        return content

    results.database.edit(experiment, PREFIX + comparison, change)


def merge_requests(old: Any, new: Mapping[str, Any]) -> dict[str, Any]:
    """Return two requests of one comparison as one.

    Args:
        old: content of its document; None where there is none.
        new: another one, which holds where both say something.
    """
    if not old:
        return dict(new)
    merged = {**old, **new}
    merged["methods"] = {**old["methods"], **new["methods"]}
    both = {**old["skipped"], **new["skipped"]}
    merged["skipped"] = {label: {**old["skipped"].get(label, {}), **of} for label, of in both.items()}
    for name in ("folds", "seeds"):
        merged[name] = sorted({*old[name], *new[name]})
    for name in ("blocks", "nested"):
        merged[name] = list(old[name])
        for block in new[name]:
            merged[name] = _with(merged[name], block)
    merged["calls"] = list(old["calls"])
    for call in new["calls"]:
        if call[1:] not in [earlier[1:] for earlier in merged["calls"]]:  # a repeated one goes on
            merged["calls"] = [*(earlier for earlier in merged["calls"] if earlier[1] != call[1]), call]
    return merged


def read_request(results: ResultsFolder, experiment: str, comparison: str) -> ComparisonRequest:
    """Return a comparison as it was requested."""
    try:
        return _asked(_empty() | (results.document(experiment, PREFIX + comparison) or {}))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise TrackingError(f"what was asked of the comparison {comparison} cannot be read: {error!r}") from error


def _asked(content: Mapping[str, Any]) -> ComparisonRequest:
    methods = content["methods"]
    tuned = {label for about in methods.values() for label in about.get("labels", {}).values()}
    there = {label.partition("[")[0] for label in (*methods, *tuned)}
    controls = _said_by(content["controls"], {mark for about in methods.values() for mark in about})

    def marked(name: str) -> frozenset[str]:
        return frozenset(row for row, about in methods.items() if about.get(name))

    grid = Grid(
        methods=tuple(methods),
        folds=tuple(content["folds"]),
        seeds=tuple(content["seeds"]),
        needs={row: about["needs"] for row, about in methods.items()},
        bounds=marked("bound"),
        control=next((row for row, about in methods.items() if about.get("control")), ""),
        source_free=marked("source_free"),
        target_images=marked(IMAGES),
        target_control=next((row for row, about in methods.items() if about.get("target_control")), ""),
        lacking=tuple(f"{name} ({words})" for name, words in controls.items() if name not in there),
    )
    labels = {row: about["labels"] for row, about in methods.items() if "labels" in about}
    blocks, nested = (_blocks(content[name]) for name in ("blocks", "nested"))
    facts = content["facts"]
    all_folds = int(facts.get("protocol_folds", len(grid.folds)))
    commands = commands_of(content["call"], grid, labels, all_folds, blocks, nested)
    calls = [(str(made), str(command), [str(row) for row in rows]) for made, command, rows in content["calls"]]
    return ComparisonRequest(grid, labels, content["skipped"], facts, commands, blocks, calls)


def _said_by(controls: Mapping[str, Any], marks: Collection[str]) -> dict[str, str]:
    """Return the controls that say something about methods with these marks."""
    return {name: words for name, (mark, words) in controls.items() if not mark or mark in marks}


def _blocks(lists: Sequence[Sequence[Any]]) -> list[Block]:
    return [(frozenset(rows), frozenset(folds), frozenset(seeds)) for rows, folds, seeds in lists]


def _empty() -> dict[str, Any]:
    lists: dict[str, Any] = {name: [] for name in ("folds", "seeds", "blocks", "nested", "calls")}
    return {**lists, **{name: {} for name in ("methods", "controls", "skipped", "facts", "call")}}


def _without(blocks: Sequence[Sequence[Any]], rows: Collection[str]) -> list[list[list[Any]]]:
    """Return the blocks without some rows; none of them within another."""
    remaining: list[list[list[Any]]] = []
    for requested, folds, seeds in blocks:
        if left := [row for row in requested if row not in rows]:
            remaining = _with(remaining, [left, list(folds), list(seeds)])
    return remaining


def _with(blocks: Sequence[list[list[Any]]], block: list[list[Any]]) -> list[list[list[Any]]]:
    """Return the blocks and one more, without those that are within another."""
    if any(is_within(block, other) for other in blocks):
        return list(blocks)
    return [*(other for other in blocks if not is_within(other, block)), block]


def _described(label: str) -> dict[str, Any]:
    """Return what a table must know of a method that may not be installed any more when it is made.

    Of the marks only those that are true.
    """
    from benchmark.experiments.labels import parse_label
    from methods.base import Needs

    method = parse_label(label).method
    marks = {
        "bound": method.needs.is_bound,
        "control": method.is_control,
        "source_free": method.needs.starts_from_source,
        ADAPTS: _adapts(method.needs),
        IMAGES: method.needs is Needs.TARGET_IMAGES,
        "target_control": method.is_target_control,
    }
    return {"needs": method.needs.value} | {name: True for name, is_true in marks.items() if is_true}


def _controls(bench: "Bench") -> dict[str, tuple[str, str]]:
    """Return the controls that can be run on some fold, each with the methods it is about and what it shows.

    The first value is the mark of these methods, "" for all.
    A control with target images says something about methods with target images, and another one that sees the target
    without all its labels says something about methods that see it in any way.
    """
    from methods.base import Needs
    from methods.registry import available

    controls = {name: method for name, method in available().items() if method.control_for}
    runnable = {job.label for job in bench.jobs(list(controls), [0]) if not job.skip}

    def mark(needs: Needs) -> str:
        return IMAGES if needs is Needs.TARGET_IMAGES else ADAPTS if _adapts(needs) else ""

    return {name: (mark(method.needs), method.control_for) for name, method in controls.items() if name in runnable}


def _adapts(needs: "Needs") -> bool:
    """Return whether a method sees the target in some way, but not all its labels."""
    from methods.base import Needs

    return needs not in (Needs.SOURCE_LABELS, Needs.TARGET_LABELS)
