"""The comparison as text, Markdown, CSV and a figure."""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmark.comparison import Cell, Grid, Line, table
from benchmark.paired import Paired, Ranking
from benchmark.rules import RuleLine

TRAINING = ("encoder_weights", "crop", "turn", "optimizer", "learning_rate", "schedule", "precision")
HEADER = (
    "method",
    "sees",
    "target mIoU",
    "95 % interval",
    "± seeds",
    "source val",
    "drop",
    "gain",
    "gap closed",
    "worst",
    "seconds",
)
EXPLANATION = """\
mIoU in percent at the checkpoint that source validation chose (of a bound, and of what starts from a source model: the
last). *Target*: mean over the held-out folds and seeds, with a bootstrap interval over folds and seeds; *± seeds*:
standard deviation over seeds of the mean over folds; *drop*: source validation minus target; *gain*: over source-only
on the same folds and seeds; *gap closed*: (method - source-only) / (oracle - source-only), median over the cells where
the oracle gains at least a point [quartiles] (how many); *worst*: the lowest fold; *seconds*: of a training, median,
without that of the source model it starts from, and how often as long as source-only's of the same fold and seed, on a
machine that may have been busy. A bound is trained on target labels and is not a result. With a few folds an interval
is rough, and with one seed little more than their range.

A method that sees *the test stream* gets the target in batches of the batch size, in order of date and zone. It is
scored on what it predicts for a batch before it learns from it, learns on from batch to batch, and starts anew in each
run; its seconds are those of predictions and updates, and its source validation is of its first state."""


PAIRED_HEADER = (
    "method",
    "gain",
    "95 % interval",
    "folds won : lost",
    "effect",
    "p",
    "noise: seeds / patches / domains",
)
ABOUT_PAIRED = """\
On the same folds and seeds; ≈: smaller than the noise between seeds. *Effect*: matched-pairs rank-biserial correlation
over held-out domains, -1 (all lost) to 1; *p*: Wilcoxon's signed-rank test over them, corrected by Holm for the number
of methods. *Noise*: standard deviation of the mean gain between seeds; when the zones of each test are drawn again; and
of the gain between held-out domains, which alone speaks of domains that nobody has seen."""
RULE_HEADER = ("rule", "looks at", "target mIoU", "regret", "rank correlation", "regret among all")
ABOUT_RULES = """\
Each rule on the same runs, those of all methods but bounds and those of the test stream. *Target*: mean over the
checkpoints that it takes, one a run; *regret*: how much better the best checkpoint of the run is, with a bootstrap
interval over folds and seeds; *rank correlation*: Spearman's between its score and the target mIoU over all checkpoints
of all methods of a fold and seed, mean; *regret among all*: where it chooses the method, too. The oracle rule has seen
the answer."""


def rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """The table's rows below :data:`HEADER`, best target first, bounds last."""
    ordered = sorted(lines, key=lambda line: (line.bound, -_sortable(line.target.mean)))
    return [
        (
            f"{line.method} (bound)" if line.bound else line.method,
            line.needs,
            _percent(line.target.mean),
            f"{_percent(line.target.low)} to {_percent(line.target.high)}" if line.target.cells > 1 else "–",
            _percent(line.target.seed_std),
            _percent(line.source_val.mean),
            _percent(line.source_val.mean - line.target.mean),
            _percent(line.gain.mean, sign=True) if line.gain.cells else "–",
            _gap(line),
            _percent(line.target.worst),
            _cost(line),
        )
        for line in ordered
    ]


def markdown_table(lines: Sequence[Line]) -> str:
    """The comparison as a Markdown table."""
    head = f"| {' | '.join(HEADER)} |\n|{'|'.join(['---'] * 2 + ['--:'] * (len(HEADER) - 2))}|"
    return "\n".join([head, *(f"| {' | '.join(row)} |" for row in rows(lines))])


def fold_table(cells: Sequence[Cell], grid: Grid) -> str:
    """Target mIoU of every fold (mean over seeds) as a Markdown table."""
    head = f"| method | {' | '.join(grid.folds)} |\n|---|{'|'.join(['--:'] * len(grid.folds))}|"
    body = []
    for method in grid.methods:
        values = table(cells, grid, method, "target/miou")
        body.append(f"| {method} | {' | '.join(_percent(_mean(row)) for row in values)} |")
    return "\n".join([head, *body])


def paired_rows(paired: Sequence[Paired]) -> list[tuple[str, ...]]:
    """The rows below :data:`PAIRED_HEADER`, most gained first."""
    return [
        (
            line.method,
            _percent(line.gain.mean, sign=True) + " ≈" * line.within_seed_noise,
            f"{_percent(line.gain.low, sign=True)} to {_percent(line.gain.high, sign=True)}",
            f"{line.won} : {line.lost}",
            _correlation(line.effect),
            f"{line.p:.2g}" if math.isfinite(line.p) else "–",
            " / ".join(_percent(n) for n in (line.between_seeds, line.between_patches, line.between_domains)),
        )
        for line in sorted(paired, key=lambda line: -line.gain.mean)
    ]


def paired_table(paired: Sequence[Paired]) -> str:
    """The methods against the control as a Markdown table, and why no test is quoted."""
    head = f"| {' | '.join(PAIRED_HEADER)} |\n|---|{'--:|' * (len(PAIRED_HEADER) - 1)}"
    silent = "; ".join(sorted({line.silent for line in paired if line.silent}))
    table = "\n".join([head, *(f"| {' | '.join(row)} |" for row in paired_rows(paired))])
    return table + (f"\n\nNo test is quoted where it cannot speak: {silent}." if silent else "")


def rule_rows(rules: Sequence[RuleLine]) -> list[tuple[str, ...]]:
    """The rows below :data:`RULE_HEADER`, least regret first, and last what is no legitimate rule."""
    ordered = sorted(rules, key=lambda line: (not line.legitimate, line.regret.mean))
    return [
        (
            line.rule if line.legitimate else f"{line.rule} (no result)",
            line.sees,
            _percent(line.target.mean),
            f"{_percent(line.regret.mean)} ({_percent(line.regret.low)} to {_percent(line.regret.high)})",
            _correlation(line.rank_correlation.mean),
            _percent(line.regret_among_all.mean),
        )
        for line in ordered
    ]


def rule_table(rules: Sequence[RuleLine]) -> str:
    """The rules side by side as a Markdown table."""
    head = f"| {' | '.join(RULE_HEADER)} |\n|---|---|{'--:|' * (len(RULE_HEADER) - 2)}"
    return "\n".join([head, *(f"| {' | '.join(row)} |" for row in rule_rows(rules))])


def empty_cells(cells: Sequence[Cell]) -> str:
    """One line a reason for the cells that hold no result; "" if all do."""
    reasons = Counter((cell.method, cell.status, cell.reason) for cell in cells if cell.status != "done")
    return "\n".join(
        f"- {method}: {count} × {status}{': ' + reason if reason else ''}"
        for (method, status, reason), count in sorted(reasons.items())
    )


def markdown_page(
    lines: Sequence[Line],
    cells: Sequence[Cell],
    grid: Grid,
    shared: str,
    paired: Sequence[Paired] = (),
    rules: Sequence[RuleLine] = (),
    alarms: Sequence[str] = (),
) -> str:
    """All the tables with what they mean.

    Args:
        shared: what all runs of the comparison have in common, in one line.
        paired: of `benchmark.paired.compare_with_control`.
        rules: of `benchmark.rules.compare_rules`.
        alarms: what a reader must know before the tables are believed.
    """
    empty = empty_cells(cells)
    parts = [
        *(["**Alarms**\n\n" + "\n".join(f"- {alarm}" for alarm in alarms)] if alarms else []),
        markdown_table(lines),
        EXPLANATION,
        "Target mIoU of every fold, mean over seeds:",
        fold_table(cells, grid),
        *((f"Each method against {grid.control}:", paired_table(paired), ABOUT_PAIRED) if paired else ()),
        *(("Selection rules side by side:", rule_table(rules), ABOUT_RULES) if rules else ()),
        f"Cells without a result:\n\n{empty}" if empty else "Every cell of the grid holds a result.",
        f"*{shared}*",
    ]
    return "\n\n".join(parts)


def shared_line(facts: Mapping[str, str], grid: Grid) -> str:
    """What all runs of the comparison have in common, in one line.

    Args:
        facts: `Bench.shared_facts`; of those of an older store, some may be missing.
    """
    training = ", ".join(f"{name.replace('_', ' ')} {facts[name]}" for name in TRAINING if name in facts)
    number, of = len(grid.folds), int(facts.get("protocol_folds", len(grid.folds)))
    folds = f"{number} of {of} folds" if number < of else f"{number} fold{'s' if number > 1 else ''}"
    return (
        f"{facts['network']}, {facts['steps']} steps of {facts['batch_size']} patches ({training}), "
        f"{folds}, seeds {', '.join(map(str, grid.seeds))}; dataset {facts['dataset']} {facts['dataset_digest'][:12]}, "
        f"folds {facts['fingerprint'][:12]}, comparison {facts['comparison']}, code {facts['code_version']}"
    )


def cells_csv(cells: Sequence[Cell]) -> str:
    """Every cell with its status, reason and final metrics."""
    names = sorted({name for cell in cells if cell.metrics for name in cell.metrics if not name.startswith("train/")})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "fold", "seed", "status", "reason", *names])
    for cell in cells:
        values = [f"{cell.metrics[n]:.6g}" if cell.metrics and n in cell.metrics else "" for n in names]
        writer.writerow([cell.method, cell.fold, cell.seed, cell.status, cell.reason, *values])
    return text.getvalue()


def draw(lines: Sequence[Line], cells: Sequence[Cell], grid: Grid, title: str, path: Path) -> None:
    """Two panels: target mIoU of each method (folds small, mean and interval large), and the gain of every fold."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    ordered = sorted((line for line in lines if line.target.cells), key=lambda line: (not line.bound, line.target.mean))
    if not ordered:
        return  # nothing is done yet, and an empty figure would say less than the reasons in the text
    names = [line.method for line in ordered]
    height = 1.6 + 0.36 * len(ordered)
    figure, (left, right) = plt.subplots(
        1,
        2,
        figsize=(7 + max(3.0, 0.62 * len(grid.folds)), height),
        width_ratios=[5, max(3.0, 0.62 * len(grid.folds))],
        layout="constrained",
    )
    for place, line in enumerate(ordered):
        folds = 100 * np.array([_mean(row) for row in table(cells, grid, line.method, "target/miou")])
        color = "#888888" if line.bound else "#0072b2"
        left.plot(folds, np.full(len(folds), place - 0.2), "o", color=color, alpha=0.6, markersize=4)
        left.plot([100 * line.target.low, 100 * line.target.high], [place, place], color=color, linewidth=3)
        left.plot(100 * line.target.mean, place, "o", color=color, markersize=9)
        left.plot(100 * line.source_val.mean, place, "|", color="#d55e00", markersize=14, markeredgewidth=2)
        if line.method == grid.control:
            left.axvline(100 * line.target.mean, color="black", linewidth=0.8, linestyle="dotted")
    left.set_yticks(range(len(names)), [f"{line.method} (bound)" if line.bound else line.method for line in ordered])
    left.set_ylim(-0.6, len(names) - 0.4)
    left.set_xlabel("target mIoU (%): mean, 95 % interval, folds\norange: source validation")
    _draw_gains(right, names, cells, grid)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_gains(axes, names: Sequence[str], cells: Sequence[Cell], grid: Grid) -> None:  # type: ignore[no-untyped-def]
    control = table(cells, grid, grid.control, "target/miou")
    gains = [[_mean(row) for row in table(cells, grid, name, "target/miou") - control] for name in names]
    values = 100 * np.array(gains).reshape(len(names), len(grid.folds))
    reach = max(5.0, float(np.nanmax(np.abs(values)))) if np.isfinite(values).any() else 5.0
    axes.imshow(values, cmap="RdBu", vmin=-reach, vmax=reach, aspect="auto", origin="lower")
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text, dark = (f"{value:+.1f}", abs(value) > 0.6 * reach) if math.isfinite(value) else ("–", False)
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(len(grid.folds)), grid.folds, rotation=45, ha="right", fontsize=8)
    axes.set_yticks([])
    axes.set_xlabel(f"gain over {grid.control or 'the control'}\nin points, by held-out fold")


def _percent(value: float, sign: bool = False) -> str:
    return "–" if not math.isfinite(value) else f"{100 * value:{'+' if sign else ''}.1f}"


def _correlation(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else "–"


def _cost(line: Line) -> str:
    ratio = f" ({line.cost:.1f} ×)" if math.isfinite(line.cost) else ""
    return f"{line.seconds:.3g}{ratio}" if math.isfinite(line.seconds) else "–"


def _gap(line: Line) -> str:
    median, low, high = line.gap_closed
    quartiles = f" [{low:.2f}, {high:.2f}]" if line.gap_cells > 1 else ""
    return f"{median:.2f}{quartiles} ({line.gap_cells})" if line.gap_cells else "–"


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def draw_ranks(ranking: Ranking, path: Path) -> None:
    """Critical-difference diagram: mean ranks, and bars over methods that Nemenyi's test does not tell apart."""
    import matplotlib

    matplotlib.use("agg")
    import pandas as pd
    from matplotlib import pyplot as plt
    from scikit_posthocs import critical_difference_diagram

    names = list(ranking.ranks)
    different = pd.DataFrame(ranking.nemenyi_p, index=names, columns=names)
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.16 * len(names)), layout="constrained")
    critical_difference_diagram(dict(ranking.ranks), different, ax=axes, label_props={"fontsize": 8})
    axes.set_title(
        f"Mean rank over {ranking.domains} held-out domains (1 is best); critical difference "
        f"{ranking.critical_difference:.2f} (Nemenyi, 5 %), Friedman p = {ranking.friedman_p:.2g}",
        fontsize=9,
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)
