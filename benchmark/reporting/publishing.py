"""A comparison written into MLflow: a summary run a method, and the tables on the experiment's page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.evaluation.comparison import summary_metrics
from benchmark.evaluation.significance import paired_metrics
from benchmark.experiments.experiment_pages import PAGE, describe, write_page
from benchmark.experiments.results import ResultsFolder
from benchmark.tracking import Summary
from benchmark.tracking.ui_views import table_tag
from protocols.base import Protocol

if TYPE_CHECKING:
    from benchmark.reporting.collect import ComparisonState

HALF_INTERVAL = "summary/target_miou_half_interval"  # MLflow's bars have no error bars, its table has a column for it
NOTE_LENGTH = 12_000  # of the 20,000 characters that MLflow keeps; links take the others


def publish(
    results: ResultsFolder,
    experiment: str,
    protocol: Protocol,
    state: "ComparisonState",
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
    earlier = results.summaries(experiment)
    results.remove_summaries(
        experiment,
        [name for name, facts in earlier.items() if facts.get("comparison") == comparison and name not in kept],
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
        write_page(results, experiment, pages | {PAGE + comparison: page})
        results.database.edit(experiment, PAGE + comparison, lambda old: page)


def words_of(state: "ComparisonState") -> str:
    """Return a short description that differs between the comparisons of an experiment."""
    counts = [(len(state.grid.methods), "method"), (len(state.grid.folds), "fold"), (len(state.grid.seeds), "seed")]
    counted = [f"{count} {name}{'s' * (count > 1)}" for count, name in counts if count > 1 or name != "seed"]
    return ", ".join([f"{state.facts['steps']} steps", *["tuned"] * bool(state.tuned), *counted])
