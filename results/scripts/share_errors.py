"""Does the better map give the better statistic? Errors of class shares against mean IoU, of published comparisons.

    python results/scripts/share_errors.py results/published/share-errors results/published/trees-leave-years-out-v1 \
        results/published/world-leave-times-out-v2-all-methods --results results --class tree

Nothing is trained: each cell of a published table (`comparison.json`) names its run, whose confusion matrices are read
from the folder of results. Writes `share-errors.csv`, `share-errors.md`, `share-errors.png` and, with `--class`, the
true and predicted share of that class in every held-out domain (`shares-CLASS.csv`). Below the table of each comparison
is what four estimators make of each zone's shares by the labels of the other zones of its test.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.patheffects import Normal, Stroke

from benchmark.common.errors import DataError
from benchmark.common.files import read_arrays
from benchmark.common.texts import markdown_table
from benchmark.evaluation.comparison import Grid
from benchmark.evaluation.shares import (
    ShareErrors,
    ShareLine,
    compare_shares,
    correct,
    quantity_disagreement,
    rank_correlation,
    share_errors,
    shares_of,
)
from benchmark.evaluation.statistics import fold_means, mean_of_known
from benchmark.experiments.checkpoint_records import CONFUSIONS, read_confusions
from benchmark.experiments.run_folder import folder_of
from benchmark.reporting.table_file import Table, TableCell, read_table
from benchmark.reporting.tables import ABOUT_CORRELATION, ABOUT_SHARES, SHARE_HEADER, correlation_line, share_rows

BOUND, CONTROL = "oracle", "source-only"
NAMED = 1  # methods with the least and with the largest error that the figure names beside the control and the bound
# Where a label is, in points from its dot, so that none is on another; "" is that of the least error.
SIDES = {CONTROL: ((5, 5), "left"), BOUND: ((0, -13), "center"), "": ((-5, -10), "right")}
ESTIMATORS = ("shares of a zone", "error, % of the ground", "coverage of the 95 % interval")
ABOUT_ESTIMATORS = """\
The second table of each comparison has four ways to estimate the shares of a zone from its predictions and the
labels of the other zones of the same test, and the mean error of each over all methods but the bound, folds, seeds
and zones. *Coverage* is how many true shares are within the 95 % interval, of the classes that occur in a zone,
where there are five other zones or more."""
Matrices = dict[str, NDArray[np.int64]]


def matrices(results: Path, table: Table, cell: TableCell) -> tuple[Matrices, Matrices]:
    """Return the confusion matrices of a cell's chosen checkpoint: of the target test and of source validation."""
    label = f"{table.facts['protocol']}-v{table.facts['protocol_version']}"
    folders = folder_of(results, cell.identity), results / "artifacts" / label / cell.run / "artifacts"
    folder = next((one for one in folders if (one / CONFUSIONS).is_file()), None)
    if folder is None:
        raise DataError(f"{table.folder}: the run {cell.run or cell.identity} is not in {results}; repeat it there")
    test, source = f"{cell.step}/target_test", f"{cell.step}/source_val"
    arrays = read_arrays(folder / CONFUSIONS)
    if test in arrays:
        parts = read_confusions(folder, test, source)
        return parts.get(test, {}), parts.get(source, {})
    # Runs of version 0.1 have one array a zone.
    return tuple(  # type: ignore[return-value]
        {name.removeprefix(f"{part}/"): arrays[name] for name in arrays if name.startswith(f"{part}/")}
        for part in (test, source)
    )


def compare(table: Table, results: Path) -> list[ShareLine]:
    """Return one line a method of a published table."""
    cells = table.cells
    methods, folds, seeds = (tuple(dict.fromkeys(getattr(c, of) for c in cells)) for of in ("method", "fold", "seed"))
    grid = Grid(methods, folds, seeds, {}, frozenset({BOUND}), CONTROL)
    errors: dict[tuple[str, str, int], ShareErrors] = {}
    scores = {method: np.full((len(folds), len(seeds)), np.nan) for method in methods}
    for cell in cells:
        test, source = matrices(results, table, cell)
        if found := share_errors(test, source.values()):
            errors[cell.method, cell.fold, cell.seed] = found
        scores[cell.method][folds.index(cell.fold), seeds.index(cell.seed)] = cell.target_miou
    return compare_shares(errors, {name: mean_of_known(fold_means(of)) for name, of in scores.items()}, grid)


def estimates(zone: NDArray[np.int64], others: Sequence[NDArray[np.int64]]) -> dict[str, NDArray[np.float64]]:
    """Return the shares (C,) of a zone by each estimator, from its predictions and the labels of other zones."""
    counts = np.sum(others, axis=0)[:-1].astype(float)
    (predicted,), _, (pixels,) = shares_of([zone])
    rates, reverse = _rates(counts), _rates(counts.T)
    equations = np.vstack([rates.T, np.full(len(rates), 1e3)])  # the last: the shares have the sum 1
    inverse = nnls(equations, np.append(predicted, 1e3))[0]
    difference = correct(predicted, pixels, *shares_of(others)).values
    return {
        "as counted": predicted,
        "less the mean error": difference / difference.sum(),
        "inverse of the confusion": inverse / inverse.sum(),
        "by p(true given predicted)": predicted @ reverse,
    }


def _rates(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return counts (C, C) divided by the sum of their row; a class that has none is mapped as it is."""
    sums = counts.sum(1, keepdims=True)
    return np.divide(counts, sums, out=np.eye(len(counts)), where=sums > 0)


def estimators(table: Table, results: Path) -> list[list[str]]:
    """Return a row an estimator: its mean error of zones in percent of the ground, and its interval's coverage."""
    errors: dict[str, list[float]] = defaultdict(list)
    covered: list[NDArray[np.bool_]] = []
    for cell in (cell for cell in table.cells if cell.method != BOUND):
        test = [matrix for matrix in matrices(results, table, cell)[0].values() if matrix[:-1].any()]
        for number, zone in enumerate(test if len(test) > 1 else []):
            others = [*test[:number], *test[number + 1 :]]
            (predicted,), (true,), (pixels,) = shares_of([zone])
            for name, shares in estimates(zone, others).items():
                errors[name].append(quantity_disagreement(shares, true))
            found = correct(predicted, pixels, *shares_of(others))
            known = np.isfinite(found.low) & ((predicted > 0) | (true > 0))
            covered.append(((found.low <= true + 1e-9) & (true <= found.high + 1e-9))[known])
    share = np.concatenate(covered) if covered else np.empty(0)
    coverage = {"less the mean error": f"{100 * share.mean():.0f}" if len(share) else "–"}
    return [[name, f"{100 * np.mean(values):.2f}", coverage.get(name, "")] for name, values in errors.items()]


def class_shares(table: Table, results: Path, name: str) -> Iterable[tuple[str, str, str, float, float]]:
    """Return table, method, domain, and true and predicted share of a class (mean over seeds)."""
    classes = list(table.shared.get("classes", ()))
    if name not in classes:
        return
    index = classes.index(name)
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for cell in table.cells:
        sums: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros((len(classes),) * 2, np.int64))
        for zone, matrix in matrices(results, table, cell)[0].items():
            sums[zone.partition("|")[0]] += matrix[:-1]
        for domain, matrix in sums.items():
            true, predicted = matrix.sum(1)[index] / matrix.sum(), matrix.sum(0)[index] / matrix.sum()
            pairs[cell.method, domain].append((float(true), float(predicted)))
    for (method, domain), values in pairs.items():
        true, predicted = np.mean(values, axis=0)
        yield table.folder.name, method, domain, true, predicted


def markdown_page(by_table: Mapping[str, Sequence[ShareLine]], estimated: Mapping[str, Sequence[list[str]]]) -> str:
    """Return the tables of each comparison with what they mean."""
    parts = ["# Errors of class shares", f"{ABOUT_SHARES} {ABOUT_CORRELATION}", ABOUT_ESTIMATORS]
    for name, lines in by_table.items():
        parts += [f"## {name}", markdown_table(SHARE_HEADER, share_rows(lines))]
        parts += [*filter(None, [correlation_line(lines)]), markdown_table(ESTIMATORS, estimated[name])]
    return "\n\n".join(parts) + "\n"


def draw(by_table: Mapping[str, Sequence[ShareLine]], path: Path) -> None:
    """Draw the error of domains against mean IoU, a panel a comparison."""
    columns = min(len(by_table), 2)
    rows = -(-len(by_table) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5.4 * columns, 4.2 * rows), squeeze=False)
    for axis, (name, lines) in zip(axes.flat, by_table.items(), strict=False):
        ordered = sorted((line for line in lines if not line.bound), key=lambda line: line.domains.mean)
        named = {CONTROL, BOUND, *(line.method for line in (*ordered[:NAMED], *ordered[-NAMED:]))}
        for line in lines:
            place = 100 * line.miou, 100 * line.domains.mean
            color = "#888888" if line.bound else "#d55e00" if line.method == CONTROL else "#0072b2"
            axis.plot(*place, "D" if line.bound else "o", color=color, markersize=5, zorder=4)
            if line.method in named:
                offset, side = SIDES.get(line.method, SIDES[""] if line in ordered[:NAMED] else SIDES[CONTROL])
                text = line.method.partition("[")[0]
                label = axis.annotate(text, place, offset, textcoords="offset points", ha=side, fontsize=7)
                label.set_path_effects([Stroke(linewidth=2, foreground="white"), Normal()])
        axis.set(
            xlabel="target mIoU (%)", title=f"{name}\nrank correlation of the methods {rank_correlation(lines):+.2f}"
        )
        axis.title.set_fontsize(9)
        axis.set_ylim(0, 112 * max(line.domains.mean for line in lines))
        axis.margins(x=0.2)
        axis.grid(alpha=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel("error of the domains' class shares (%)")
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder that is written")
    parser.add_argument("tables", type=Path, nargs="+", help="folders of published comparisons")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder with their runs")
    parser.add_argument("--class", dest="of", default="", help="class whose shares are written by domain")
    options = parser.parse_args()
    tables = [read_table(folder) for folder in options.tables]
    by_table = {table.folder.name: compare(table, options.results) for table in tables}
    estimated = {table.folder.name: estimators(table, options.results) for table in tables}
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "share-errors.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = "domains", "zones", "by_source", "by_others"
        writer.writerow(["table", "method", "target_miou", *names, "domains_low", "domains_high"])
        for name, lines in by_table.items():
            for line in lines:
                values = line.miou, *(getattr(line, of).mean for of in names), line.domains.low, line.domains.high
                writer.writerow([name, line.method, *(f"{value:.5f}" for value in values)])
    (options.output / "share-errors.md").write_text(markdown_page(by_table, estimated), encoding="utf-8")
    draw(by_table, options.output / "share-errors.png")
    if options.of:
        with (options.output / f"shares-{options.of}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["table", "method", "domain", "true", "predicted"])
            for table in tables:
                for *words, true, predicted in class_shares(table, options.results, options.of):
                    writer.writerow([*words, f"{true:.5f}", f"{predicted:.5f}"])


if __name__ == "__main__":
    main()
