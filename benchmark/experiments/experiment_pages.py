"""The page of an experiment in MLflow: what the protocol holds out, and the comparisons that it shows."""

from collections.abc import Collection, Mapping
from typing import Any

from benchmark.experiments.results import ResultsFolder
from benchmark.tracking.ui_views import View, newest_first
from protocols.base import Protocol

SHIFT = "shift"  # the summary run of `landshift shift`, which is of the folds and not of a comparison
PAGE = "page/"  # of the names of documents with what the experiment's page says of a comparison, with its key behind it


def unpublish(results: ResultsFolder, experiment: str, comparisons: Collection[str]) -> None:
    """Take comparisons that were forgotten off the experiment's page, with their summary runs and views.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    summaries = results.summaries(experiment)
    results.remove_summaries(
        experiment, [name for name, facts in summaries.items() if facts.get("comparison") in comparisons]
    )
    pages = results.database.documents(experiment, PAGE)
    gone = {PAGE + comparison for comparison in comparisons} & set(pages)
    if gone:
        write_page(results, experiment, {name: page for name, page in pages.items() if name not in gone})
        for name in gone:
            results.database.edit(experiment, name, lambda old: None)


def write_page(results: ResultsFolder, experiment: str, pages: Mapping[str, Any]) -> None:
    """Write the experiment's page: links to the views of each comparison, then the tables of the newest.

    A comparison without a finished run has no views; its page is shown where there is no other.
    """
    views = newest_first(
        [View(name.removeprefix(PAGE), page["words"], page["created"]) for name, page in pages.items()]
    )
    note = pages[PAGE + views[0].comparison]["note"] if views else results.about(experiment)["description"]
    results.client.describe(experiment, note, [view for view in views if view.created])


def describe(protocol: Protocol) -> str:
    """Return the protocol as the note on its experiment's page."""
    title, description, confounds = (
        text.strip().replace("&", "&amp;").replace("<", "&lt;")  # Markdown may stand in it, raw HTML may not
        for text in (protocol.title, protocol.description, protocol.confounds)
    )
    return f"**{title}.** {description}\n\n*What it confounds:* {confounds}"
