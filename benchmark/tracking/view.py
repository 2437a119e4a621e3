"""The pages of an experiment that a user should see first: saved views of MLflow's UI, written as experiment tags.

MLflow documents neither the tags nor the links (read from its UI, 3.17: a saved view is the tag
`mlflow.sharedViewState.<id>` that holds {name, createdAt, state}, state being "deflate;" and the base64 of the
zlib-compressed JSON of the page's state). A UI that does not understand them shows its plain page: nothing breaks.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

METHODS_TAG = "landshift.methods"
"""Experiment tag: the methods seen so far, in the order of their colours."""

# Okabe and Ito's colours for all kinds of vision, without black and yellow, then Tol's muted ones.
PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00",
    "#332288", "#999933", "#882255", "#44aa99", "#aa4499", "#117733",
)  # fmt: skip

_TAG = "mlflow.sharedViewState."
_COMPARISON = "landshift-comparison"
_CELLS = "landshift-cells"
_TABLE = "landshift-table"
# Milliseconds since the epoch; fixed, because a view that has not changed is not written again.
_CREATED = 1_760_000_000_000


def tags() -> dict[str, str]:
    """The experiment tags that hold the views."""
    return {
        _TAG + _COMPARISON: _encoded("landshift: comparison of methods", _comparison()),
        _TAG + _CELLS: _encoded("landshift: all runs by method", _cells()),
        _TAG + _TABLE: _encoded("landshift: table of all runs", _table()),
    }


def color(method: str, known: Sequence[str]) -> str:
    """The colour of a method.

    Args:
        known: methods in the order of their colours; of more than fit into a tag, a method's own name decides.
    """
    index = known.index(method) if method in known else zlib.crc32(method.encode())
    return PALETTE[index % len(PALETTE)]


def comparison_link(experiment: str) -> str:
    """The address of the comparison, below the server's: one bar a method."""
    return _link(experiment, _COMPARISON)


def cells_link(experiment: str) -> str:
    """The address of all runs, below the server's: grouped by method."""
    return _link(experiment, _CELLS)


def table_link(experiment: str) -> str:
    """The address of all runs, below the server's: a line each, without charts."""
    return _link(experiment, _TABLE, charts=False)


def links(experiment: str) -> str:
    """The line of links on top of an experiment's note, in Markdown."""
    return (
        f"**[Comparison of the methods]({comparison_link(experiment)})** · "
        f"[all runs by method]({cells_link(experiment)}) · "
        f"[table of all runs]({table_link(experiment)})"
    )


def _link(experiment: str, view: str, charts: bool = True) -> str:
    # Without workflowType the sidebar offers tools for language models instead of runs.
    page = f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={view}"
    return f"{page}&compareRunsMode=CHART" if charts else page


def _encoded(name: str, state: dict[str, Any]) -> str:
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": name, "createdAt": _CREATED, "state": f"deflate;{packed}"})


def _comparison() -> dict[str, Any]:
    """Summary runs only, a bar a method: the target first, then how far it lies below the source."""
    sections = {
        "On the held-out target": [
            _bar("summary/target_miou_mean"),
            _bar("summary/gap_closed"),
            _bar("summary/worst_fold_miou"),
        ],
        "The shift: from places and times seen to those held out": [
            _bar("summary/drop_mean"),
            _bar("summary/source_val_miou_mean"),
            _scatter("summary/source_val_miou_mean", "summary/target_miou_mean"),
        ],
        "What it costs": [_scatter("summary/device_seconds", "summary/gain_mean")],
    }
    columns = ["target_miou_mean", "gain_mean", "gap_closed", "worst_fold_miou", "rare_miou_mean", "drop_mean"]
    metrics = [f"metrics.`summary/{name}`" for name in (*columns, "device_seconds", "images")]
    return _page("summary", metrics[0], [*metrics, "params.`needs`", "params.`rule`"], sections)


def _cells() -> dict[str, Any]:
    """All runs of cells: the table in groups, the charts run by run in the colour of the method."""
    sections = {
        "All runs": [
            _bar("target/miou"),
            _scatter("selected/source_val_miou", "target/miou"),
            {"type": "LINE", "metricKey": "source_val/miou"},
        ],
    }
    columns = ["metrics.`target/miou`", "metrics.`selected/source_val_miou`", "params.`fold`", "params.`seed`"]
    return {
        **_page("cell", columns[0], columns, sections),
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "param", "groupByData": "method"}]},
        # MLflow colours a group by a hash, so that two methods may look alike; a run has the colour we gave it.
        "useGroupedValuesInCharts": False,
    }


def _table() -> dict[str, Any]:
    """All runs of cells, a line each. MLflow loads 100 at a time, and a group's average would be of those alone."""
    scores = ["target/miou", "selected/source_val_miou", "selected/drop"]
    facts = ["method", "fold", "seed", "rule"]
    columns = [*(f"params.`{name}`" for name in facts), *(f"metrics.`{name}`" for name in scores)]
    return _page("cell", "metrics.`target/miou`", columns, {})


def _page(kind: str, order: str, columns: list[str], sections: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """A page's state: which runs, in which order, with which columns and charts."""
    return {
        "searchFilter": f"tags.`landshift.kind` = '{kind}'",
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
            {"uuid": title, "name": title, "display": True, "isReordered": True, "deleted": False} for title in sections
        ],
    }


def _bar(metric: str) -> dict[str, Any]:
    return {"type": "BAR", "metricKey": metric}


def _scatter(x: str, y: str) -> dict[str, Any]:
    return {"type": "SCATTER", "xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
