"""How much the budget turns the ranking: each method's gain over source-only at several numbers of steps.

    python results/scripts/budget.py results/published/budget-world-leave-times-out --budgets 200,500,1000,2000

The last budget should be the converged one (`landshift calibrate`). `landshift run` trains, and takes all other
options (`--workers 2`, `--preset`): what is finished is not trained again, and after Ctrl-C the same command goes on.
Only the cells of `--seeds` and `--folds` count, also where others were run into the same folder of results.
"""

import argparse
import csv
import math
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import NullLocator
from scipy.stats import kendalltau

from benchmark.cli.app import main
from benchmark.cli.options import names, seeds
from protocols.files import load

CONTROL, BOUND = "source-only", "oracle"
METHODS = (
    CONTROL,
    "source-only-augmented",
    "style-randomization",
    "entropy-minimization",
    "adversarial-alignment[width=16]",
    "fourier-adaptation",
    "dacs",
    "batch-norm-adaptation",
    BOUND,
)
# Okabe and Ito's colours, which differ for every kind of colour vision, and a marker of its own for each.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
MARKERS = "osD^vPX"
GREY = "#888888"

Means = Mapping[str, Mapping[int, float]]
"""Of each method the mean target mIoU (a share) over folds and seeds, by steps; NaN where a cell is missing."""


def run(options: argparse.Namespace, more: Sequence[str]) -> tuple[Means, dict[int, float]]:
    """Train what is left of every budget; the means, and source-only's source validation by steps."""
    table = options.results / load(options.protocol).label / "cells.csv"
    more = ["--seeds", ",".join(map(str, options.seeds)), *more]
    more = ["--folds", ",".join(options.folds), *more] if options.folds else more
    means: dict[str, dict[int, float]] = {method: {} for method in METHODS}
    learned = {}
    methods = [word for method in METHODS for word in ("--method", method)]
    for steps in options.budgets:
        words = ["run", options.protocol, "--steps", str(steps), "--results", str(options.results), *methods, *more]
        table.unlink(missing_ok=True)  # that of another budget must not be taken for this one's
        status = main(words)
        if not table.is_file():  # refused, or stopped; of runs that failed there is a table all the same
            raise SystemExit(status)
        with table.open(newline="", encoding="utf-8") as file:
            cells = cells_of(csv.DictReader(file), options.seeds, options.folds)
        for method in METHODS:
            means[method][steps] = _mean(cells, method, "target/miou")
        learned[steps] = _mean(cells, CONTROL, "selected/source_val_miou")
    return means, learned


def cells_of(
    rows: Iterable[Mapping[str, str]], seeds: Collection[int], folds: Collection[str]
) -> list[Mapping[str, str]]:
    """The cells of these seeds and folds (all, if empty): a table also has those of earlier runs with others."""
    return [row for row in rows if int(row["seed"]) in seeds and (not folds or row["fold"] in folds)]


def _mean(cells: Sequence[Mapping[str, str]], method: str, metric: str) -> float:
    values = [float(cell[metric] or "nan") for cell in cells if cell["method"] == method]
    return sum(values) / len(values) if values else math.nan


def gains_of(means: Means) -> dict[str, dict[int, float]]:
    """Points over source-only, by method and steps."""
    control = means[CONTROL]
    return {
        method: {steps: 100 * (value - control[steps]) for steps, value in of.items()}
        for method, of in means.items()
        if method != CONTROL
    }


def agreements(means: Means) -> dict[int, float]:
    """Kendall's tau-b of the ranking at each budget with that at the last one, over all methods but the oracle."""
    ranked = [of for method, of in means.items() if method != BOUND]
    last = max(ranked[0])
    final = [of[last] for of in ranked]
    return {steps: float(kendalltau([of[steps] for of in ranked], final).statistic) for steps in ranked[0]}


def as_csv(means: Means, learned: Mapping[int, float]) -> list[list[str]]:
    """Every number, a line a method and budget."""
    gains, tau = gains_of(means), agreements(means)
    rows = [["method", "steps", "target_miou", "gain_points", "source_only_source_val_miou", "kendall_tau_with_last"]]
    for method, of in means.items():
        for steps, value in of.items():
            gain = gains[method][steps] if method != CONTROL else 0.0
            rows.append([method, str(steps), *(f"{x:.6g}" for x in (value, gain, learned[steps], tau[steps]))])
    return rows


def as_markdown(means: Means, learned: Mapping[int, float], protocol: str, command: str) -> str:
    """The page: gains by steps, the most gained at the last budget first, and how alike the rankings are."""
    gains, tau = gains_of(means), agreements(means)
    budgets = sorted(learned)
    ordered = sorted(gains, key=lambda method: (method == BOUND, -_sortable(gains[method][budgets[-1]])))
    lines = [["gain over source-only, points", *(f"{steps:,} steps" for steps in budgets)]]
    lines += [["---", *(["--:"] * len(budgets))]]
    for method in ordered:
        name = f"{method} (bound)" if method == BOUND else method
        lines.append([name, *(f"{gains[method][steps]:+.1f}" for steps in budgets)])
    lines += [
        ["source-only: target", *(f"{100 * means[CONTROL][steps]:.1f}" for steps in budgets)],
        ["source-only: source validation", *(f"{100 * learned[steps]:.1f}" for steps in budgets)],
        ["Kendall's τ with the last ranking", *(f"{tau[steps]:+.2f}" for steps in budgets)],
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"""\
# How much the budget turns the ranking: {protocol}

Mean target mIoU over folds and seeds, in percent, at the checkpoint that each method's rule chose; every budget is a
training of its own, from the same starting weights. *Kendall's τ* compares the ranking of {len(gains)}
methods, source-only among them and the oracle not, with that at {budgets[-1]:,} steps: 1 is the same order, 0 no
relation, −1 the reverse.

![Gain of each method against steps](budget.png)

{table}

`{command}`
"""


def draw(means: Means, path: Path, title: str) -> None:
    """Gain against steps on a logarithmic axis, each line with its name at the end."""
    gains, tau = gains_of(means), agreements(means)
    budgets = sorted(tau)
    figure, axes = plt.subplots(figsize=(8.6, 5.4), layout="constrained")
    known = [method for method in gains if all(map(math.isfinite, gains[method].values()))]
    colors = dict(zip((m for m in known if m != BOUND), COLORS, strict=False)) | {BOUND: GREY}
    markers = dict(zip(colors, MARKERS, strict=False)) | {BOUND: "s"}
    for method in known:
        dashed = {"linestyle": "dashed", "markerfacecolor": "white"} if method == BOUND else {}
        values = [gains[method][steps] for steps in budgets]
        axes.plot(budgets, values, color=colors[method], marker=markers[method], linewidth=1.8, markersize=6, **dashed)
    axes.axhline(0, color="black", linewidth=0.8, linestyle="dotted")
    axes.set_xscale("log")
    axes.set_xticks(budgets, [f"{steps:,}\nτ {tau[steps]:+.2f}" for steps in budgets])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    ends = {method: gains[method][budgets[-1]] for method in known} | {CONTROL: 0.0}
    for method, place in spread_out(ends, 0.048 * (high - low)).items():
        name = f"{method} (bound)" if method == BOUND else method
        axes.annotate(
            name,
            (budgets[-1], ends[method]),
            (1.03, (place - low) / (high - low)),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=colors.get(method, "black"),
            arrowprops={"arrowstyle": "-", "color": colors.get(method, "black"), "linewidth": 0.6, "alpha": 0.6},
            annotation_clip=False,
        )
    axes.set_ylim(low, high)
    axes.set_xlabel("optimiser steps; τ: Kendall's, of the ranking with the last one (without the oracle)")
    axes.set_ylabel("gain in target mIoU over source-only, points")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def spread_out(places: Mapping[str, float], least: float) -> dict[str, float]:
    """Places moved as little as needed (together) so that neighbours are at least so far apart; the order stays."""
    groups: list[list[str]] = []
    centers: list[float] = []
    for name in sorted(places, key=lambda name: places[name]):
        groups.append([name])
        centers.append(places[name])
        while len(groups) > 1 and centers[-1] - centers[-2] < least * (len(groups[-1]) + len(groups[-2])) / 2:
            merged = groups.pop(-2) + groups.pop()
            groups.append(merged)
            centers[-2:] = [sum(places[one] for one in merged) / len(merged)]
    return {
        name: center + least * (number - (len(group) - 1) / 2)
        for group, center in zip(groups, centers, strict=True)
        for number, name in enumerate(group)
    }


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _budgets(text: str) -> list[int]:
    found = sorted({int(word) for word in text.split(",")})
    if len(found) < 2 or found[0] < 1:
        raise ValueError("at least two numbers of steps")
    return found


def study(words: Sequence[str]) -> None:
    """Run the study and write its page, table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder of the page, the table and the figure")
    parser.add_argument("--protocol", default="world-leave-times-out", help="default: world-leave-times-out")
    parser.add_argument(
        "--budgets", type=_budgets, required=True, metavar="200,500,N", help="steps; the last converged"
    )
    parser.add_argument("--seeds", type=seeds, default=(0,), metavar="0,1,2", help="default: 0")
    parser.add_argument("--folds", type=names, default=(), metavar="A,B", help="default: all")
    parser.add_argument("--results", type=Path, default=Path("results"), help="default: results")
    options, more = parser.parse_known_args(words)
    means, learned = run(options, more)
    options.output.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "results/scripts/budget.py", *words])
    page = as_markdown(means, learned, options.protocol, command)
    (options.output / "budget.md").write_text(page, encoding="utf-8")
    with (options.output / "budget.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(as_csv(means, learned))
    draw(means, options.output / "budget.png", f"How much the budget turns the ranking: {options.protocol}")
    print(f"written: {options.output}")


if __name__ == "__main__":
    study(sys.argv[1:])
