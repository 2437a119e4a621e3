"""A comparison as tables and figures of Python."""

from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.common.errors import SettingsError, TrackingError
from benchmark.common.texts import markdown_table
from benchmark.evaluation.comparison import table
from benchmark.evaluation.significance import Paired, compare_with_control
from benchmark.experiments import results as store
from benchmark.experiments.calibration import verdict_on
from benchmark.reporting.collect import ComparisonState, collect
from benchmark.reporting.latex import latex_table
from benchmark.reporting.tables import shared_line
from protocols.base import Protocol
from protocols.files import load, names

SUMMARY = {
    "sees": lambda line: line.needs,
    "target_miou": lambda line: line.target.mean,
    "target_low": lambda line: line.target.low,
    "target_high": lambda line: line.target.high,
    "seed_std": lambda line: line.target.seed_std,
    "source_val_miou": lambda line: line.source_val.mean,
    "gain": lambda line: line.gain.mean,
    "gain_low": lambda line: line.gain.low,
    "gain_high": lambda line: line.gain.high,
    "gap_closed": lambda line: line.gap_closed.value,
    "worst_fold": lambda line: line.target.worst,
    "rare_miou": lambda line: line.rare,
    "seconds": lambda line: line.seconds,
    "runs": lambda line: line.target.cells,
    "is_bound": lambda line: line.bound,
}
"""Columns of a summary, of which mean IoU and gains are shares, not percent."""


class Results:
    """A comparison of methods: its runs, its summary, its tests and its figures.

    Attributes:
        protocol: what was held out.
        config: what all runs share, in one line.
        alarms: what is most likely a mistake, or must be known before the numbers are believed.
        is_converged: whether a calibration shows that twice the steps gain less than two points of source validation.
    """

    def __init__(self, state: ComparisonState, protocol: Protocol, folder: Path) -> None:
        self._state, self.protocol, self.folder = state, protocol, folder
        verdict = verdict_on(folder, protocol.name, state.facts)
        self.is_converged = verdict.converged
        self.alarms = [*([] if verdict.converged else [verdict.words]), *state.alarms]
        self.config = shared_line(state.facts, state.grid)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        protocol: str = "",
        comparison: str = "",
        *,
        rule: str = "",
        mixed: bool = False,
        partial: bool = False,
    ) -> "Results":
        """Return a comparison of a results folder; see `landshift.load_results`."""
        if not store.has_results(Path(folder)):
            raise TrackingError(f"{folder} is no results folder: landshift.run makes one")
        results = store.ResultsFolder(Path(folder))
        loaded = load(protocol, partial=partial) if protocol else _only_protocol(results)
        return cls(collect(results, loaded.label, comparison, rule=rule, mixed=mixed), loaded, Path(folder))

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row a run: method, fold, seed, status, reason of a failure, and all metrics of those that are done."""
        rows = [
            {"method": cell.method, "fold": cell.fold, "seed": cell.seed, "status": cell.status, "reason": cell.reason}
            | dict(cell.metrics or {})
            for cell in self._state.cells
        ]
        return pd.DataFrame(rows)

    def summary(self) -> pd.DataFrame:
        """Return a table of one row a method, the best first and bounds last.

        Its columns are mean IoU on the target with its 95 % interval over held-out domains, the gain over the control,
        and more (`SUMMARY`).
        """
        lines = sorted(self._state.lines, key=lambda line: (line.bound, -np.nan_to_num(line.target.mean, nan=-1)))
        rows = {line.method: {name: value(line) for name, value in SUMMARY.items()} for line in lines}
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(SUMMARY)).rename_axis("method")

    def compare(self, to: str = "") -> pd.DataFrame:
        """Return one row a method: its gain over another one on the same folds and seeds, with interval and test.

        Args:
            to: label of the other method; "" for the control (source-only).

        Raises:
            SettingsError: it is not in the comparison.
        """
        grid = self._state.grid
        to = to or grid.control
        if to not in grid.methods:
            raise SettingsError(f"there is no method {to!r} in this comparison; there are {', '.join(grid.methods)}")
        paired = self._state.paired if to == grid.control else self._paired(to)
        rows = {line.method: _paired_row(line) for line in paired}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")

    def _paired(self, to: str) -> list[Paired]:
        state, grid = self._state, self._state.grid
        target = {method: table(state.cells, grid, method, "target/miou") for method in grid.methods}
        gains = {method: values - target[to] for method, values in target.items() if method != to}
        return compare_with_control(gains, {}, grid.groups, grid.bounds)

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw mean IoU on the target and the gain on every fold.

        Args:
            path: file that the figure is written to; None to return it (a notebook then shows it).
        """
        import matplotlib.pyplot  # noqa: F401 - with it a notebook shows figures

        from benchmark.reporting.plots import draw

        title = f"{self.protocol.title} ({self._state.facts['dataset']})"
        state = self._state
        return draw(state.lines, state.cells, state.grid, title, Path(path) if path else None, state.pixels)

    def to_latex(self) -> str:
        """Return the headline table as a ``tabular`` in the style of booktabs."""
        state = self._state
        return latex_table(state.lines, state.cells, state.grid, state.pixels, self.config, self.alarms)

    def to_markdown(self) -> str:
        """Return the summary as a Markdown table, in percent."""
        shown = self._shown().reset_index()
        return markdown_table(list(shown.columns), ([str(value) for value in row] for row in shown.to_numpy().tolist()))

    def _shown(self) -> pd.DataFrame:
        shown = self.summary()[["target_miou", "target_low", "target_high", "source_val_miou", "gain", "gap_closed"]]
        scale = [1 if name == "gap_closed" else 100 for name in shown]
        return shown.mul(scale, axis=1).round({name: 2 if name == "gap_closed" else 1 for name in shown})

    def __repr__(self) -> str:
        lines = [self.protocol.title, self.config, *(f"alarm: {one}" for one in self.alarms)]
        return "\n".join([*lines, self._shown().to_string()])

    def _repr_html_(self) -> str:
        alarms = "".join(f"<p><b>alarm:</b> {escape(one)}</p>" for one in self.alarms)
        return f"<p>{escape(self.config)}</p>{alarms}{self._shown().to_html()}"


def _paired_row(line: Paired) -> dict[str, Any]:
    return {
        "gain": line.gain.mean,
        "low": line.gain.low,
        "high": line.gain.high,
        "won": line.won,
        "lost": line.lost,
        "effect": line.effect,
        "p": line.p,
        "why_no_p": line.silent,
        "noise_seeds": line.between_seeds,
        "noise_patches": line.between_patches,
        "noise_domains": line.between_domains,
    }


def _only_protocol(results: store.ResultsFolder) -> Protocol:
    """Return the protocol of the folder's comparisons.

    Raises:
        TrackingError: there are none, or several.
    """
    experiments = results.experiments()
    protocols = {one.label: one for one in map(load, names())}
    labels = [label for label in experiments if " (" not in label]
    if len(labels) != 1 or labels[0] not in protocols:
        compared = ", ".join(labels) or "none"
        raise TrackingError(f"{results.folder} holds comparisons of {compared}; name the protocol")
    return protocols[labels[0]]
