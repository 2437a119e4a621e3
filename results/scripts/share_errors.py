"""Does the better map give the better statistic? Errors of class shares against mean IoU, of published comparisons.

    python results/scripts/share_errors.py results/published/share-errors results/published/trees-leave-years-out-v1 \
        results/published/world-leave-times-out-v2-all-methods --results results --class tree

Nothing is trained: each cell of a published table (`comparison.json`) names its run, whose confusion matrices are read
from the folder of results. Writes `share-errors.csv`, `share-errors.md`, `share-errors.png` and, with `--class`, the
true and predicted share of that class in every held-out domain (`shares-CLASS.csv`).
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("agg")
from matplotlib import pyplot as plt

from benchmark.common.errors import DataError
from benchmark.common.files import read_arrays
from benchmark.common.texts import markdown_table
from benchmark.evaluation.comparison import Grid
from benchmark.evaluation.shares import ShareLine, compare_shares, rank_correlation, share_errors
from benchmark.evaluation.statistics import fold_means, mean_of_known
from benchmark.experiments.checkpoint_records import CONFUSIONS, read_confusions
from benchmark.experiments.run_folder import folder_of
from benchmark.reporting.table_file import Table, TableCell, read_table
from benchmark.reporting.tables import SHARE_HEADER, about_shares, share_rows

BOUND, CONTROL = "oracle", "source-only"
NAMED = 3  # methods with the least and with the largest error that the figure names, of those that have no other name
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
    errors, scores = {}, {method: np.full((len(folds), len(seeds)), np.nan) for method in methods}
    for cell in cells:
        test, source = matrices(results, table, cell)
        if found := share_errors(test, source.values()):
            errors[cell.method, cell.fold, cell.seed] = found
        scores[cell.method][folds.index(cell.fold), seeds.index(cell.seed)] = cell.target_miou
    return compare_shares(errors, {name: mean_of_known(fold_means(of)) for name, of in scores.items()}, grid)


def shares_of(table: Table, results: Path, name: str) -> Iterable[tuple[str, str, str, float, float]]:
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


def markdown_page(by_table: Mapping[str, Sequence[ShareLine]]) -> str:
    """Return a table a comparison with what it means."""
    parts = ["# Errors of class shares"]
    for name, lines in by_table.items():
        parts += [f"## {name}", markdown_table(SHARE_HEADER, share_rows(lines)), about_shares(lines)]
    return "\n\n".join(parts) + "\n"


def draw(by_table: Mapping[str, Sequence[ShareLine]], path: Path) -> None:
    """Draw the error of domains against mean IoU, a panel a comparison."""
    figure, axes = plt.subplots(1, len(by_table), figsize=(5.4 * len(by_table), 4.4), squeeze=False)
    for axis, (name, lines) in zip(axes[0], by_table.items(), strict=True):
        ordered = sorted((line for line in lines if not line.bound), key=lambda line: line.domains.mean)
        named = {CONTROL, BOUND, *(line.method for line in (*ordered[:NAMED], *ordered[-NAMED:]))}
        for line in lines:
            place = 100 * line.miou, 100 * line.domains.mean
            color = "#888888" if line.bound else "#d55e00" if line.method == CONTROL else "#0072b2"
            axis.plot(*place, "D" if line.bound else "o", color=color, markersize=5)
            if line.method in named or len(lines) <= 2 * NAMED + 4:
                right = place[0] > np.mean(axis.get_xlim()) and len(lines) > 1
                axis.annotate(
                    line.method.partition("[")[0],
                    place,
                    (-6 if right else 6, 3),
                    textcoords="offset points",
                    ha="right" if right else "left",
                    fontsize=7,
                )
        axis.set(xlabel="target mIoU (%)", title=f"{name}\nrank correlation {rank_correlation(lines):+.2f}")
        axis.title.set_fontsize(9)
        axis.set_ylim(0)
        axis.margins(x=0.15)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("error of the domains' class shares (% of the ground)")
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
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "share-errors.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = "zones", "corrected_zones", "domains", "corrected_domains"
        writer.writerow(["table", "method", "target_miou", *names, "domains_low", "domains_high"])
        for name, lines in by_table.items():
            for line in lines:
                values = line.miou, *(getattr(line, of).mean for of in names), line.domains.low, line.domains.high
                writer.writerow([name, line.method, *(f"{value:.5f}" for value in values)])
    (options.output / "share-errors.md").write_text(markdown_page(by_table), encoding="utf-8")
    draw(by_table, options.output / "share-errors.png")
    if options.of:
        with (options.output / f"shares-{options.of}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["table", "method", "domain", "true", "predicted"])
            for table in tables:
                for *words, true, predicted in shares_of(table, options.results, options.of):
                    writer.writerow([*words, f"{true:.5f}", f"{predicted:.5f}"])


if __name__ == "__main__":
    main()
