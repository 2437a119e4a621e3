"""The pages of an experiment that a user should see first: saved views of MLflow's UI, written as experiment tags.

MLflow documents neither the tags nor the links (read from its UI, 3.17: a saved view is the tag
`mlflow.sharedViewState.<id>` that holds {name, createdAt, state}, state being "deflate;" and the base64 of the
zlib-compressed JSON of the page's state). A UI that does not understand them shows its plain page: nothing breaks.

Each view shows one comparison: its summary runs by their param `comparison`, the runs of jobs by a tag of their own
(`table_tag`), because tables share runs, and a param has one value.
"""

import base64
import json
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
LISTED = 10  # comparisons that have views and links, of an experiment with more

_COMPARISON, _CURVES, _TABLE = "comparison", "curves", "table"
_TITLES = {_COMPARISON: "comparison of methods", _CURVES: "curves by method", _TABLE: "table of runs"}


@dataclass(frozen=True)
class View:
    """A comparison that has views.

    Attributes:
        comparison: its key.
        words: what tells it from others, for example "800 steps, 5 methods, 3 folds".
        created: start of its newest run, in seconds since the epoch; the UI lists the newest first.
    """

    comparison: str
    words: str
    created: float


def newest_first(views: Sequence[View]) -> list[View]:
    """Return the views that an experiment shows, at most `LISTED`."""
    return sorted(views, key=lambda view: view.created, reverse=True)[:LISTED]


def tags(view: View) -> dict[str, str]:
    """Return the experiment tags that hold the views of one comparison."""
    states = {_COMPARISON: _comparison, _CURVES: _curves, _TABLE: _table}
    return {
        f"{PREFIX}{kind}-{view.comparison}": _encoded(
            f"{view.words}: {_TITLES[kind]} ({view.comparison})", state(view.comparison), view.created
        )
        for kind, state in states.items()
    }


def table_tag(comparison: str) -> str:
    """Return the tag that every run in the table of a comparison has; its value is the row."""
    return f"landshift.table.{comparison}"


def color(method: str, known: Sequence[str]) -> str:
    """Return the colour of a method.

    Args:
        known: methods in the order of their colours; of more than fit into a tag, a method's own name decides.
    """
    index = known.index(method) if method in known else zlib.crc32(method.encode())
    return PALETTE[index % len(PALETTE)]


def links(experiment: str, views: Sequence[View]) -> str:
    """Return the links on top of an experiment's note, in Markdown: a line a comparison.

    Args:
        experiment: its id.
        views: of `newest_first`.
    """
    lines = []
    for number, view in enumerate(views):
        pages = " · ".join(f"[{title}]({_link(experiment, view, kind)})" for kind, title in _TITLES.items())
        words = f"**{view.words}**" if number == 0 else view.words
        lines.append(f"{words} ({view.comparison}): {pages}")
    return "\n\n".join(lines)


def runs_link(experiment: str) -> str:
    """Return the address of an experiment's page of runs, below the server's."""
    # Without workflowType the sidebar offers tools for language models instead of runs.
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning"


def newest_link(experiment: str, tags: Mapping[str, str]) -> str:
    """Return the address of the newest comparison of an experiment, below the server's; else that of its runs.

    Args:
        experiment: its id.
        tags: all tags of the experiment.
    """
    start = f"{PREFIX}{_COMPARISON}-"
    views = [
        View(name.removeprefix(start), "", json.loads(text)["createdAt"])
        for name, text in tags.items()
        if name.startswith(start)
    ]
    return _link(experiment, newest_first(views)[0], _COMPARISON) if views else runs_link(experiment)


def run_note(metrics: Mapping[str, float]) -> str:
    """Return what a run's page says above its metrics, which stand in the order in which they were logged, in Markdown.

    Args:
        metrics: the last value of each, as a share.
    """
    told = [words.format(100 * metrics[name]) for name, words in HEADLINES.items() if name in metrics]
    step = [f"checkpoint of step {metrics['selected/step']:.0f}"] if told and "selected/step" in metrics else []
    return " · ".join([*told, *step])


def _link(experiment: str, view: View, kind: str) -> str:
    page = f"{runs_link(experiment)}&viewStateShareKey={PREFIX.rpartition('.')[2]}{kind}-{view.comparison}"
    return page if kind == _TABLE else f"{page}&compareRunsMode=CHART"


def _encoded(name: str, state: dict[str, Any], created: float) -> str:
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": name, "createdAt": int(created * 1000), "state": f"deflate;{packed}"})


def _comparison(comparison: str) -> dict[str, Any]:
    """Summary runs only, a bar a method: the target first, then how far it lies below the source."""
    target, gap = "summary/target_miou_mean", "summary/gap_closed"
    sections = {
        "On the held-out target": [_bar(target), _bar(gap), _bar("summary/worst_fold_miou")],
        # MLflow's bars have no error bars.
        "95 % intervals: lower end, mean, upper end": [
            _bar("summary/target_miou_low", target, "summary/target_miou_high"),
            _bar("summary/gap_closed_low", gap, "summary/gap_closed_high"),
        ],
        "The shift: from places and times seen to those held out": [
            _bar("summary/drop_mean"),
            _bar("summary/source_val_miou_mean"),
            _scatter("summary/source_val_miou_mean", target),
        ],
        "What it costs": [_scatter("summary/device_seconds", "summary/gain_mean")],
    }
    columns = ["target_miou_mean", "target_miou_half_interval", "gain_mean", "gap_closed", "worst_fold_miou"]
    columns += ["rare_miou_mean", "drop_mean", "device_seconds", "images"]
    metrics = [f"metrics.`summary/{name}`" for name in columns]
    chosen = f"tags.`landshift.kind` = 'summary' and params.`comparison` = '{comparison}'"
    facts = [f"params.`{name}`" for name in ("needs", "rule", "steps", "comparison")]
    return _page(chosen, f"metrics.`{target}`", [*metrics, *facts], sections)


def _curves(comparison: str) -> dict[str, Any]:
    """Runs of jobs, a group a row: the mean of its runs, and a band from the lowest to the highest of them."""
    sections = {"Mean and range of a method's runs": [_line("source_val/miou"), _line("train/loss/segmentation")]}
    columns = [*_facts("fold", "seed", "steps", "comparison"), "metrics.`target/miou`"]
    return {
        # MLflow groups what it has loaded, 100 runs: by fold, these are the same folds of all methods.
        **_page(_of_table(comparison), "params.`fold`", columns, sections),
        "orderByAsc": True,
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": table_tag(comparison)}],
        },
        "useGroupedValuesInCharts": True,
    }


def _table(comparison: str) -> dict[str, Any]:
    """Runs of jobs, a line each, and as charts in the colour of their method."""
    sections = {
        "Each run, in the colour of its method": [
            _bar("target/miou"),
            _scatter("selected/source_val_miou", "target/miou"),
            _line("source_val/miou"),
        ],
    }
    scores = [f"metrics.`{name}`" for name in ("target/miou", "selected/source_val_miou", "selected/drop")]
    columns = [*_facts("method", "fold", "seed", "steps", "comparison"), *scores]
    return _page(_of_table(comparison), scores[0], columns, sections)


def _of_table(comparison: str) -> str:
    return f"tags.`{table_tag(comparison)}` LIKE '%'"


def _facts(*names: str) -> list[str]:
    return [f"params.`{name}`" for name in names]


def _page(chosen: str, order: str, columns: list[str], sections: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return a page's state: which runs, in which order, with which columns and charts."""
    return {
        "searchFilter": chosen,
        "orderByKey": order,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "runsHiddenMode": "SHOW_ALL",  # MLflow draws the first 10 runs otherwise
        "viewMaximized": True,
        "runListHidden": False,
        "isAccordionReordered": True,  # the sections stay in this order
        "hideEmptyCharts": True,
        "groupBy": None,
        "compareRunCharts": [
            {
                "uuid": f"{title}-{number}",
                "metricSectionId": title,
                "runsCountToCompare": 100,
                "deleted": False,
                "isGenerated": False,
                **chart,
            }
            for title, charts in sections.items()
            for number, chart in enumerate(charts)
        ],
        "compareRunSections": [
            {
                "uuid": title,
                "name": title,
                "display": True,
                "isReordered": True,
                "deleted": False,
                "columns": min(max(len(charts), 2), 3),
            }
            for title, charts in sections.items()
        ],
    }


def _bar(*metrics: str) -> dict[str, Any]:
    """Return a chart with a bar a run, or of several metrics that many."""
    return {"type": "BAR", "metricKey": metrics[0], "selectedMetricKeys": list(metrics)}


def _line(metric: str) -> dict[str, Any]:
    return {"type": "LINE", "metricKey": metric, "selectedMetricKeys": [metric]}


def _scatter(x: str, y: str) -> dict[str, Any]:
    return {"type": "SCATTER", "xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
