"""What was asked of a comparison: the axes of its grid, kept in MLflow so that a report can tell what is missing."""

import base64
import json
import lzma
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from benchmark.comparison import Grid
from benchmark.errors import TrackingError
from benchmark.grid.invocation import Block, commands_of, is_within, shared_arguments
from benchmark.tracking import Reader, Tracker

if TYPE_CHECKING:
    from benchmark.grid.jobs import Bench, Job  # needs torch, which who only reads can do without
    from methods.base import Needs

TAG = "landshift.grid."  # experiment tag, with the comparison's key behind it
LONGEST_TAG = 20_000  # characters that MLflow keeps
ADAPTS, IMAGES = "adapts", "target_images"  # marks of a method
PACKED = "xz;"  # before the base64 of a compressed text


@dataclass(frozen=True)
class TunedRows:
    """Rows of a table whose settings were tuned.

    Attributes:
        key: of the tuning.
        words: how they were tuned.
        labels: of each row, the label that stands behind it on each fold.
        search: what ``landshift tune`` was given for them (`benchmark.grid.invocation.tuning_arguments`).
    """

    key: str
    words: str
    labels: Mapping[str, Mapping[str, str]]
    search: str = ""


@dataclass(frozen=True)
class Asked:
    """One comparison as it was asked for.

    Attributes:
        grid: its axes.
        labels: of a row whose setting is another on each fold, the label behind it.
        skipped: why a method cannot be run, by label and fold.
        facts: what all its runs share.
        commands: that make its runs in an empty results folder; none where they are not known.
        blocks: rows, folds and seeds that were asked for together; none where that was not written down.
    """

    grid: Grid
    labels: Mapping[str, Mapping[str, str]]
    skipped: Mapping[str, Mapping[str, str]]
    facts: dict[str, str]
    commands: Sequence[str] = ()
    blocks: Sequence[Block] = ()

    def wants(self, row: str, fold: str, seed: int) -> bool:
        """Whether some command asked for this place of the grid, which spans what several commands asked for."""
        asked = ((row in rows, fold in folds, seed in seeds) for rows, folds, seeds in self.blocks)
        return not self.blocks or any(map(all, asked))

    def label(self, row: str, fold: str) -> str:
        """What was trained for a row of the table on a fold."""
        return self.labels.get(row, {}).get(fold, row)


def key_of(bench: "Bench", tuned: TunedRows | None = None) -> str:
    """The key of a comparison: a table with tuned rows is one of its own."""
    return bench.comparison + (f"-{tuned.key}" if tuned else "")


def key_of_runs(comparison: str) -> str:
    """The key that the runs of a comparison carry: tuned rows are runs like all others."""
    return comparison.partition("-")[0]


def keys(tracker: Reader, experiment: str) -> list[str]:
    """The comparisons that were asked for; the one that was asked for last is last."""
    texts = {tag.removeprefix(TAG): text for tag, text in tracker.tags(experiment).items() if tag.startswith(TAG)}
    return sorted(texts, key=lambda key: _content_of(texts[key]).get("at", 0.0))


def newest(known: Sequence[str], of_runs: Sequence[str]) -> str:
    """The newest of the comparisons that were asked for: that of the newest run, and of several with this run the one
    that was asked for last.

    Args:
        known: of `keys`.
        of_runs: keys that runs carry, oldest first.
    """
    return ([key for key in known if of_runs and key_of_runs(key) == of_runs[-1]] or known)[-1]


def remember(
    tracker: Tracker,
    experiment: str,
    bench: "Bench",
    jobs: Sequence["Job"],
    tuned: TunedRows | None = None,
    tuned_jobs: Sequence["Job"] = (),
    *,
    nested: bool = False,
) -> None:
    """Add to what was asked of a comparison.

    Args:
        jobs: one a cell of the rows that are named by their labels.
        tuned: further rows.
        tuned_jobs: those of these rows.
        nested: whether the folds inside the folds are trained, too.
    """
    with FileLock(tracker.results / "asked.lock"):  # another command must not write between reading and writing
        grid = _added(tracker, experiment, bench, jobs, tuned, tuned_jobs, nested)
        grid["at"] = time.time()
        tracker.tag(experiment, TAG + key_of(bench, tuned), _text_of(grid))


def _added(
    tracker: Tracker,
    experiment: str,
    bench: "Bench",
    jobs: Sequence["Job"],
    tuned: TunedRows | None,
    tuned_jobs: Sequence["Job"],
    nested: bool,
) -> dict[str, Any]:
    """What was asked before, and what is asked now."""
    key = key_of(bench, tuned)
    grid = _read(tracker, experiment, key)
    first = not grid["methods"]
    grid["facts"] = {name: str(value) for name, value in bench.shared_facts().items()}
    grid["facts"]["recipe"] = json.dumps(bench.shared["recipe"])  # all of it, to be looked up among calibrations
    grid["call"] = {"shared": shared_arguments(bench.plan)}
    if tuned:
        grid["call"] |= {"tuned": tuned.key, "search": tuned.search}
        grid["facts"] |= {"tuned": tuned.words, "comparison": key}
        for row, labels in tuned.labels.items():
            grid["methods"][row] = _described(next(iter(labels.values()))) | {"labels": labels}
    grid["methods"] |= {job.label: _described(job.label) for job in jobs}
    grid["controls"] = _controls(bench)
    for job in (*jobs, *tuned_jobs):
        grid["folds"] = sorted({*grid["folds"], job.fold})
        grid["seeds"] = sorted({*grid["seeds"], job.seed})
        if job.skip:
            grid["skipped"].setdefault(job.label, {})[job.fold] = job.skip
    block = [
        sorted({*(job.label for job in jobs), *(tuned.labels if tuned else ())}),
        sorted({job.fold for job in (*jobs, *tuned_jobs)}),
        sorted({job.seed for job in (*jobs, *tuned_jobs)}),
    ]
    grid["blocks"] = _with(grid.get("blocks", [] if first else None), block)
    if nested:
        grid["nested"] = _with(grid.get("nested", []), block)
    return grid


def drop_rows(tracker: Tracker, experiment: str, comparison: str, rows: Collection[str]) -> None:
    """Take rows out of what was asked of a comparison; with its last row the comparison goes, too."""
    with FileLock(tracker.results / "asked.lock"):
        content = _read(tracker, experiment, comparison)
        methods = {row: about for row, about in content["methods"].items() if row not in rows}
        if not methods:
            tracker.untag(experiment, TAG + comparison)
            return
        labels = {label for row, about in methods.items() for label in (row, *about.get("labels", {}).values())}
        content["methods"] = methods
        content["skipped"] = {label: of for label, of in content["skipped"].items() if label in labels}
        for name in ("blocks", "nested"):
            if content.get(name) is not None:
                content[name] = _without(content[name], rows)
        if content.get("blocks"):
            for axis, name in ((1, "folds"), (2, "seeds")):
                content[name] = sorted({value for block in content["blocks"] for value in block[axis]})
        tracker.tag(experiment, TAG + comparison, _text_of(content))


def read_asked(tracker: Reader, experiment: str, comparison: str) -> Asked:
    """What was asked of a comparison."""
    try:
        return _asked(_read(tracker, experiment, comparison))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise TrackingError(f"what was asked of the comparison {comparison} cannot be read: {error!r}") from error


def _asked(content: Mapping[str, Any]) -> Asked:
    methods = content["methods"]
    tuned = {label for about in methods.values() for label in about.get("labels", {}).values()}
    there = {label.partition("[")[0] for label in (*methods, *tuned)}
    controls = _said_by(content.get("controls", {}), {mark for about in methods.values() for mark in about})

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
    blocks, nested = (_blocks(content.get(name) or ()) for name in ("blocks", "nested"))
    facts = content["facts"]
    all_folds = int(facts.get("protocol_folds", len(grid.folds)))
    commands = commands_of(content.get("call", {}), grid, labels, all_folds, blocks, nested)
    return Asked(grid, labels, content["skipped"], facts, commands, blocks)


def _said_by(controls: Mapping[str, Any], marks: Collection[str]) -> dict[str, str]:
    """The controls that say something about methods with these marks; older stores hold only those, without a mark."""
    pairs = {name: ("", entry) if isinstance(entry, str) else entry for name, entry in controls.items()}
    return {name: words for name, (mark, words) in pairs.items() if not mark or mark in marks}


def _blocks(lists: Sequence[Sequence[Any]]) -> list[Block]:
    return [(frozenset(rows), frozenset(folds), frozenset(seeds)) for rows, folds, seeds in lists]


def _read(tracker: Reader, experiment: str, comparison: str) -> dict[str, Any]:
    text = tracker.tags(experiment).get(TAG + comparison)
    return _content_of(text) if text else {"methods": {}, "folds": [], "seeds": [], "skipped": {}, "facts": {}}


def _text_of(content: Mapping[str, Any]) -> str:
    """JSON; compressed where it is longer than MLflow keeps, as with hundreds of folds, whose names come often."""
    text = json.dumps(content, separators=(",", ":"))
    if len(text) <= LONGEST_TAG:
        return text
    return PACKED + base64.b64encode(lzma.compress(text.encode())).decode()


def _content_of(text: str) -> dict[str, Any]:
    """What `_text_of` was given; of what it does not write, a ValueError."""
    try:
        packed = lzma.decompress(base64.b64decode(text.removeprefix(PACKED))) if text.startswith(PACKED) else text
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from error
    content: dict[str, Any] = json.loads(packed)
    return content


def _without(blocks: Sequence[Sequence[Any]], rows: Collection[str]) -> list[list[list[Any]]]:
    """The blocks without some rows; none of them within another."""
    found: list[list[list[Any]]] | None = []
    for asked, folds, seeds in blocks:
        if left := [row for row in asked if row not in rows]:
            found = _with(found, [left, list(folds), list(seeds)])
    return found or []


def _with(blocks: list[list[list[Any]]] | None, block: list[list[Any]]) -> list[list[list[Any]]] | None:
    """The blocks and one more, without those that lie within another; None where earlier ones are not known."""
    if blocks is None or any(is_within(block, other) for other in blocks):
        return blocks
    return [*(other for other in blocks if not is_within(other, block)), block]


def _described(label: str) -> dict[str, Any]:
    """What a table must know of a method that may not be installed any more when it is made.

    Of the marks only those that are true: MLflow keeps 20,000 characters for the whole comparison.
    """
    from benchmark.grid.labels import parse_label
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
    """Of each control that can be run on some fold: the mark that a method has about which it says something, "" if
    about all, and what it shows.

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
    """Whether a method sees the target in some way, but not all its labels."""
    from methods.base import Needs

    return needs not in (Needs.SOURCE_LABELS, Needs.TARGET_LABELS)
