"""A comparison written into MLflow: a summary run a method, and the tables on the experiment's page."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.comparison import summary_metrics
from benchmark.grid.standing import Standing
from benchmark.paired import paired_metrics
from benchmark.tracking import Summary, Tracker
from protocols.base import Protocol

SHIFT = "shift"  # the summary run of `landshift shift`, which is of the folds and not of a comparison
NOTE_LENGTH = 15_000  # of the 20,000 characters that MLflow keeps; the report's own files hold everything


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
    title, description, confounds = (
        text.strip().replace("&", "&amp;").replace("<", "&lt;")  # Markdown may stand in it, raw HTML may not
        for text in (protocol.title, protocol.description, protocol.confounds)
    )
    return f"**{title}.** {description}\n\n*What it confounds:* {confounds}"
