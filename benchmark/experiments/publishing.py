"""A comparison written into MLflow: a summary run a method, and the tables on the experiment's page."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.comparison import summary_metrics
from benchmark.experiments.results import Results
from benchmark.paired import paired_metrics
from benchmark.tracking import Summary
from benchmark.tracking.ui_views import View, newest_first, table_tag
from protocols.base import Protocol

if TYPE_CHECKING:
    from benchmark.experiments.standing import Standing

HALF_INTERVAL = "summary/target_miou_half_interval"  # MLflow's bars have no error bars, its table has a column for it
SHIFT = "shift"  # the summary run of `landshift shift`, which is of the folds and not of a comparison
PAGE = "page/"  # of the names of documents with what the experiment's page says of a comparison, with its key behind it
NOTE_LENGTH = 12_000  # of the 20,000 characters that MLflow keeps; links take the others


def publish(
    results: Results,
    experiment: str,
    protocol: Protocol,
    state: "Standing",
    markdown: str,
    figures: Sequence[Path] = (),
) -> None:
    """Write one summary run a method, and the comparison onto the experiment's page if it is the newest.

    Nothing is said that MLflow shows already.

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
            summary_metrics(line)
            | {HALF_INTERVAL: (line.target.high - line.target.low) / 2}
            | paired.get(line.method, {}),
            figures,
        )
        for line in state.lines
        if line.target.cells
    ]
    results.summarise(experiment, *summaries)
    comparison = state.facts["comparison"]
    kept = {summary.key for summary in summaries}
    known = results.summaries(experiment)
    results.remove_summaries(
        experiment,
        [name for name, facts in known.items() if facts.get("comparison") == comparison and name not in kept],
    )
    rows: dict[str, list[str]] = {}
    for (row, _, _), run in state.runs.items():
        rows.setdefault(run.id, []).append(row)
    results.tag(experiment, table_tag(comparison), {key: ", ".join(dict.fromkeys(of)) for key, of in rows.items()})
    page = {
        "note": f"{describe(protocol)}\n\n{markdown}"[:NOTE_LENGTH],
        "words": words_of(state),
        # Not the time of the report: a report of an older comparison leaves it in its place.
        "created": max((run.started for run in state.runs.values() if run.status == "FINISHED"), default=0.0),
    }
    pages = results.database.documents(experiment, PAGE)
    if pages.get(PAGE + comparison) != page:
        _describe(results, experiment, pages | {PAGE + comparison: page})
        results.database.edit(experiment, PAGE + comparison, lambda old: page)


def unpublish(results: Results, experiment: str, comparisons: Collection[str]) -> None:
    """Take comparisons that were forgotten off the experiment's page, with their summary runs and views.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    known = results.summaries(experiment)
    results.remove_summaries(
        experiment, [name for name, facts in known.items() if facts.get("comparison") in comparisons]
    )
    pages = results.database.documents(experiment, PAGE)
    gone = {PAGE + comparison for comparison in comparisons} & set(pages)
    if gone:
        _describe(results, experiment, {name: page for name, page in pages.items() if name not in gone})
        for name in gone:
            results.database.edit(experiment, name, lambda old: None)


def _describe(results: Results, experiment: str, pages: Mapping[str, Any]) -> None:
    """Write the experiment's page: links to the views of each comparison, then the tables of the newest.

    A comparison without a finished run has no views; its page is shown where there is no other.
    """
    views = newest_first(
        [View(name.removeprefix(PAGE), page["words"], page["created"]) for name, page in pages.items()]
    )
    note = pages[PAGE + views[0].comparison]["note"] if views else results.about(experiment)["description"]
    results.client.describe(experiment, note, [view for view in views if view.created])


def words_of(state: "Standing") -> str:
    """Return what tells a comparison from others of its experiment."""
    counts = [(len(state.grid.methods), "method"), (len(state.grid.folds), "fold"), (len(state.grid.seeds), "seed")]
    told = [f"{count} {name}{'s' * (count > 1)}" for count, name in counts if count > 1 or name != "seed"]
    return ", ".join([f"{state.facts['steps']} steps", *["tuned"] * bool(state.tuned), *told])


def describe(protocol: Protocol) -> str:
    """The protocol as the note on its experiment's page."""
    title, description, confounds = (
        text.strip().replace("&", "&amp;").replace("<", "&lt;")  # Markdown may stand in it, raw HTML may not
        for text in (protocol.title, protocol.description, protocol.confounds)
    )
    return f"**{title}.** {description}\n\n*What it confounds:* {confounds}"
