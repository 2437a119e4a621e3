"""The pages of an experiment that a user should see first: saved views of MLflow's UI, written as experiment tags.

MLflow documents neither the tags nor the links (read from its UI, 3.17: a saved view is the tag
`mlflow.sharedViewState.<id>` that holds {name, createdAt, state}, state being "deflate;" and the base64 of the
zlib-compressed JSON of the page's state). A UI that does not understand them shows its plain page: nothing breaks.

Each view shows one comparison: its summary runs by their param `comparison`, the runs of jobs by a tag of their own
(`table_tag`), because tables share runs, and a param has one value.
"""

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Okabe and Ito's colours for all kinds of vision, without black and yellow, then Tol's muted ones.
PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00",
    "#332288", "#999933", "#882255", "#44aa99", "#aa4499", "#117733",
)  # fmt: skip
PREFIX = "mlflow.sharedViewState.landshift-"  # of the tags that hold our views
HEADLINES = {
    "target/miou": "**target mIoU {:.1f} %**",
    "selected/source_val_miou": "source validation {:.1f} %",
    "selected/drop": "drop {:.1f} points",
}  # metrics of a run, and what its page says of them
_RUNS = "#/experiments/{}/runs?workflowType=machine_learning"  # without it the sidebar offers tools of language models
LISTED = 10  # comparisons that have views and links, of an experiment with more


@dataclass(frozen=True)
class View:
    """A comparison that has views."""

    comparison: str  # its key
    words: str  # the difference from others, for example "800 steps, 5 methods, 3 folds"
    created: float  # start of its newest run, in seconds since the epoch; the UI lists the newest first


# Per kind of view: the title of its link, MLflow's filter ({} is the comparison's key), the columns of the runs' table
# (metrics have a "/" in their names, params none), the one that sorts it, and the charts of each section with their
# metrics. Where `is_grouped`, the runs of a row are one: their mean, and a band from the lowest to the highest.
_ROWS = "tags.`landshift.table.{}` LIKE '%'"
_PAGES: dict[str, dict[str, Any]] = {
    "comparison": {  # of summary runs, a bar a method: the target first, then how far it is below the source
        "title": "comparison of methods",
        "runs": "tags.`landshift.kind` = 'summary' and params.`comparison` = '{}'",
        "columns": "summary/target_miou_mean summary/target_miou_half_interval summary/gain_mean summary/gap_closed "
        "summary/worst_fold_miou summary/rare_miou_mean summary/drop_mean summary/device_seconds summary/images "
        "needs rule steps comparison",
        "order": "summary/target_miou_mean",
        "charts": {
            "On the held-out target": "BAR summary/target_miou_mean, BAR summary/gap_closed, "
            "BAR summary/worst_fold_miou",
            "95 % intervals: lower end, mean, upper end": "BAR summary/target_miou_low summary/target_miou_mean "
            "summary/target_miou_high, BAR summary/gap_closed_low summary/gap_closed summary/gap_closed_high",
            "The shift: from places and times seen to those held out": "BAR summary/drop_mean, "
            "BAR summary/source_val_miou_mean, SCATTER summary/source_val_miou_mean summary/target_miou_mean",
            "What it costs": "SCATTER summary/device_seconds summary/gain_mean",
        },
    },
    "curves": {
        "title": "curves by method",
        "runs": _ROWS,
        "columns": "fold seed steps comparison target/miou",
        "order": "fold",  # MLflow groups what it has loaded, 100 runs: by fold, these are the same folds of all methods
        "charts": {"Mean and range of a method's runs": "LINE source_val/miou, LINE train/loss/segmentation"},
        "is_grouped": True,
    },
    "table": {
        "title": "table of runs",
        "runs": _ROWS,
        "columns": "method fold seed steps comparison target/miou selected/source_val_miou selected/drop",
        "order": "target/miou",
        "charts": {
            "Each run, in the colour of its method": "BAR target/miou, "
            "SCATTER selected/source_val_miou target/miou, LINE source_val/miou",
        },
    },
}


def newest_first(views: Sequence[View]) -> list[View]:
    """Return the views that an experiment shows, at most `LISTED`."""
    return sorted(views, key=lambda view: view.created, reverse=True)[:LISTED]


def tags(view: View) -> dict[str, str]:
    """Return the experiment tags that hold the views of one comparison."""
    views = {}
    for kind, page in _PAGES.items():
        packed = base64.b64encode(zlib.compress(json.dumps(_state(page, view.comparison)).encode())).decode()
        name = f"{view.words}: {page['title']} ({view.comparison})"
        content = {"name": name, "createdAt": int(view.created * 1000), "state": f"deflate;{packed}"}
        views[f"{PREFIX}{kind}-{view.comparison}"] = json.dumps(content)
    return views


def table_tag(comparison: str) -> str:
    """Return the tag that every run in the table of a comparison has; its value is the row."""
    return f"landshift.table.{comparison}"


def color(method: str, methods: Sequence[str]) -> str:
    """Return the colour of a method: by its place among those known, of one that is not among them by its name."""
    index = methods.index(method) if method in methods else zlib.crc32(method.encode())
    return PALETTE[index % len(PALETTE)]


def links(experiment: str, views: Sequence[View]) -> str:
    """Return the links on top of the note of an experiment (by its id), in Markdown: a line a comparison."""
    start = f"{_RUNS.format(experiment)}&viewStateShareKey={PREFIX.rpartition('.')[2]}"
    lines: list[str] = []
    for view in views:
        ends = {kind: "" if kind == "table" else "&compareRunsMode=CHART" for kind in _PAGES}
        pages = [f"[{_PAGES[kind]['title']}]({start}{kind}-{view.comparison}{end})" for kind, end in ends.items()]
        lines.append(f"{view.words if lines else f'**{view.words}**'} ({view.comparison}): {' · '.join(pages)}")
    return "\n\n".join(lines)


def newest_link(experiment: str, note: str) -> str:
    """Return the first of the `links` in an experiment's note, below the server's address; else that of its runs."""
    match = re.search(r"\]\((#/experiments/[^)]*)\)", note)
    return match[1] if match else _RUNS.format(experiment)


def run_note(metrics: Mapping[str, float]) -> str:
    """Return what a run's page says above its metrics (the last value of each, as a share), in Markdown."""
    words_of_run = [words.format(100 * metrics[name]) for name, words in HEADLINES.items() if name in metrics]
    if words_of_run and "selected/step" in metrics:
        words_of_run.append(f"checkpoint of step {metrics['selected/step']:.0f}")
    return " · ".join(words_of_run)


def _state(page: Mapping[str, Any], comparison: str) -> dict[str, Any]:
    """Return the state of MLflow's page of runs: which runs, in which order, with which columns and charts."""
    sections = {title: [_chart(*chart.split()) for chart in text.split(", ")] for title, text in page["charts"].items()}
    is_grouped = page.get("is_grouped", False)
    rows = [{"mode": "tag", "groupByData": table_tag(comparison)}]
    state = {
        "searchFilter": page["runs"].format(comparison),
        **{"orderByKey": _column(page["order"]), "orderByAsc": is_grouped},
        **{"startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs"},
        "selectedColumns": [_column(name) for name in page["columns"].split()],
        "runsHiddenMode": "SHOW_ALL",  # MLflow draws the first 10 runs otherwise
        **{"viewMaximized": True, "runListHidden": False},
        "isAccordionReordered": True,  # the sections stay in this order
        "hideEmptyCharts": True,
        "groupBy": {"aggregateFunction": "average", "groupByKeys": rows} if is_grouped else None,
        "compareRunCharts": [
            {"uuid": f"{title}-{number}", "metricSectionId": title, **chart}
            for title, charts in sections.items()
            for number, chart in enumerate(charts)
        ],
        "compareRunSections": [
            {"uuid": title, "name": title, "display": True, "isReordered": True, "deleted": False}
            | {"columns": min(max(len(charts), 2), 3)}
            for title, charts in sections.items()
        ],
    }
    return {**state, "useGroupedValuesInCharts": True} if is_grouped else state


def _column(name: str) -> str:
    return f"{'metrics' if '/' in name else 'params'}.`{name}`"


def _chart(kind: str, *metrics: str) -> dict[str, Any]:
    """Return a chart; one of bars has as many of them a run as there are metrics."""
    chart = {"runsCountToCompare": 100, "deleted": False, "isGenerated": False, "type": kind}
    if kind == "SCATTER":
        return chart | {f"{axis}axis": {"key": key, "type": "METRIC"} for axis, key in zip("xy", metrics, strict=True)}
    return chart | {"metricKey": metrics[0], "selectedMetricKeys": list(metrics)}
