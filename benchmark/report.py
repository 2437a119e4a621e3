"""The comparison as text, Markdown and CSV."""

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from benchmark.comparison import Cell, Grid, Line, table
from benchmark.paired import Paired
from benchmark.rules import RuleLine
from benchmark.statistics import mean_of_known
from benchmark.texts import markdown, shown

TRAINING = ("encoder_weights", "crop", "turn", "optimizer", "learning_rate", "schedule", "checkpoints", "precision")
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
    "rare",
    "device-seconds",
    "images",
    "rule",
)
TEXTS = (0, 1, len(HEADER) - 1)  # the columns that hold words
EXPLANATION = """\
mIoU in percent at the checkpoint that the *rule* in the last column chose; a bound, and what starts from a source model
and cannot be chosen by that rule, is taken at its last. Rows with missing cells come after the others: a mean over some
folds is not one over all. *Target*: mean over the held-out folds and seeds, with a bootstrap interval over both;
*± seeds*: standard deviation over seeds of the mean over folds; *drop*: source validation minus target; *gain*: over
source-only on the same folds and seeds; *gap closed*: (method - source-only) / (oracle - source-only), median over the
cells where the oracle gains at least a point [quartiles] (how many); *worst*: the lowest fold; *rare*: mean IoU of the
rare classes, which are the rarer half (rounded down) of the classes that occur in a fold's test, by their valid pixels,
so that no absent class is among them; *device-seconds*: of a training, on all its devices, median, without that of the
source model it starts from, and how often as long as source-only's of the same fold and seed, on a machine that may
have been busy; *images*: that it was trained on, source and target, median. A bound is trained on target labels and is
not a result. With a few folds an interval is rough, and with one seed little more than their range.

A method that sees *the test stream* gets the target in batches of the batch size, in order of date and zone. It is
scored on what it predicts for a batch before it learns from it, learns on from batch to batch, and starts anew in each
run; its seconds and images are those of predictions and updates, and its source validation is of its first state."""


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
TUNED_HEADER = ("row", "applied to", "setting")
RULE_HEADER = ("rule", "looks at", "target mIoU", "regret", "rank correlation", "regret among all")
ABOUT_RULES = """\
Each rule on the same runs, those of all methods but bounds and those of the test stream. *Target*: mean over the
checkpoints that it takes, one a run; *regret*: how much better the best checkpoint of the run is, with a bootstrap
interval over folds and seeds; *rank correlation*: Spearman's between its score and the target mIoU over all checkpoints
of all methods of a fold and seed, mean; *regret among all*: where it chooses the method, too. The oracle rule has seen
the answer."""


def rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """The table's rows below :data:`HEADER`, best target first; then those with missing cells, and bounds."""
    ordered = sorted(
        lines, key=lambda line: (line.bound, not line.target.cells, line.partial, -_sortable(line.target.mean))
    )
    return [
        (
            line.shown,
            line.needs,
            _percent(line.target.mean),
            f"{_percent(line.target.low)} to {_percent(line.target.high)}" if line.target.cells > 1 else "–",
            _percent(line.target.seed_std),
            _percent(line.source_val.mean),
            _percent(line.source_val.mean - line.target.mean),
            _percent(line.gain.mean, sign=True) if line.gain.cells else "–",
            _gap(line),
            _percent(line.target.worst),
            _percent(line.rare),
            _cost(line),
            f"{line.images:,.0f}" if math.isfinite(line.images) else "–",
            line.rule or "–",
        )
        for line in ordered
    ]


def markdown_table(lines: Sequence[Line]) -> str:
    """The comparison as a Markdown table."""
    head = f"| {' | '.join(HEADER)} |\n|{'|'.join(['---'] * 2 + ['--:'] * (len(HEADER) - 3) + ['---'])}|"
    return "\n".join([head, *map(_row, rows(lines))])


def fold_rows(cells: Sequence[Cell], grid: Grid) -> tuple[list[str], list[list[str]]]:
    """Header and rows: target mIoU of every fold, mean over seeds."""
    values = {method: table(cells, grid, method, "target/miou") for method in grid.methods}
    rows = [[method, *(_percent(mean_of_known(row)) for row in found)] for method, found in values.items()]
    return ["method", *grid.folds], rows


def fold_table(cells: Sequence[Cell], grid: Grid) -> str:
    """Target mIoU of every fold (mean over seeds) as a Markdown table."""
    header, body = fold_rows(cells, grid)
    head = f"{_row(header)}\n|---{'|--:' * len(grid.folds)}|"
    return "\n".join([head, *map(_row, body)])


def paired_rows(paired: Sequence[Paired]) -> list[tuple[str, ...]]:
    """The rows below :data:`PAIRED_HEADER`, most gained first."""
    return [
        (
            line.method,
            _percent(line.gain.mean, sign=True) + " ≈" * line.within_seed_noise,
            f"{_percent(line.gain.low, sign=True)} to {_percent(line.gain.high, sign=True)}"
            if line.gain.cells > 1
            else "–",
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
    table = "\n".join([head, *map(_row, paired_rows(paired))])
    return "\n\n".join(filter(None, [table, silence(paired)]))


def silence(paired: Sequence[Paired]) -> str:
    """Why no test is quoted; "" where all are."""
    reasons = "; ".join(sorted({line.silent for line in paired if line.silent}))
    return f"No test is quoted where it cannot speak: {reasons}." if reasons else ""


def rule_rows(rules: Sequence[RuleLine]) -> list[tuple[str, ...]]:
    """The rows below :data:`RULE_HEADER`, least regret first, and last what is no legitimate rule."""
    ordered = sorted(rules, key=lambda line: (not line.legitimate, line.regret.mean))
    return [
        (
            line.rule if line.legitimate else f"{line.rule} (no result)",
            line.sees,
            _percent(line.target.mean),
            f"{_percent(line.regret.mean)} ({_percent(line.regret.low)} to {_percent(line.regret.high)})"
            if line.regret.cells > 1
            else _percent(line.regret.mean),
            _correlation(line.rank_correlation.mean),
            _percent(line.regret_among_all.mean),
        )
        for line in ordered
    ]


def rule_table(rules: Sequence[RuleLine]) -> str:
    """The rules side by side as a Markdown table."""
    head = f"| {' | '.join(RULE_HEADER)} |\n|---|---|{'--:|' * (len(RULE_HEADER) - 2)}"
    return "\n".join([head, *map(_row, rule_rows(rules))])


def tuned_rows(tuned: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str, str]]:
    """Row, folds and setting: what stands behind each tuned row, a line a setting."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row, labels in tuned.items():
        for fold, label in labels.items():
            found[row, label].append(fold)
    return [(row, ", ".join(folds), label) for (row, label), folds in found.items()]


def tuned_table(tuned: Mapping[str, Mapping[str, str]]) -> str:
    """The tuned settings as a Markdown table."""
    head = f"| {' | '.join(TUNED_HEADER)} |\n|---|---|---|"
    return "\n".join([head, *map(_row, tuned_rows(tuned))])


def empty_cells(cells: Sequence[Cell]) -> str:
    """One line a reason for the cells that hold no result; "" if all do."""
    reasons = Counter((cell.method, cell.status, cell.reason) for cell in cells if cell.status != "done")
    return "\n".join(
        shown(f"- {method}: {count} × {status}{': ' + reason if reason else ''}")
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
    tuned: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """All the tables with what they mean.

    Args:
        shared: what all runs of the comparison have in common, in one line.
        paired: of `benchmark.paired.compare_with_control`.
        rules: of `benchmark.rules.compare_rules`.
        alarms: what a reader must know before the tables are believed.
        tuned: of each tuned row the label behind it on each fold.
    """
    empty = "\n".join(map(markdown, empty_cells(cells).splitlines()))
    parts = [
        *(["**Alarms**\n\n" + "\n".join(f"- {markdown(alarm)}" for alarm in alarms)] if alarms else []),
        markdown_table(lines),
        EXPLANATION,
        "Target mIoU of every fold, mean over seeds:",
        fold_table(cells, grid),
        *(("What was trained for each tuned row:", tuned_table(tuned)) if tuned else ()),
        *((f"Each method against {grid.control}:", paired_table(paired), ABOUT_PAIRED) if paired else ()),
        *(("Selection rules side by side:", rule_table(rules), ABOUT_RULES) if rules else ()),
        f"Cells without a result:\n\n{empty}" if empty else "Every cell of the grid holds a result.",
        f"*{markdown(shared)}*",
    ]
    return "\n\n".join(parts)


def shared_line(facts: Mapping[str, str], grid: Grid) -> str:
    """What all runs of the comparison have in common, in one line.

    Args:
        facts: `Bench.shared_facts`; of those of an older store, some may be missing.
    """
    training = ", ".join(f"{name.replace('_', ' ')} {facts[name]}" for name in TRAINING if name in facts)
    number, of = len(grid.folds), int(facts.get("protocol_folds", len(grid.folds)))
    tuned = f"; {facts['tuned']}" if "tuned" in facts else ""
    folds = f"{number} of {of} folds" if number < of else f"{number} fold{'s' if number > 1 else ''}"
    return (
        f"{facts['network']}, {facts['steps']} steps of {facts['batch_size']} patches ({training}), "
        f"{folds}, seeds {', '.join(map(str, grid.seeds))}{tuned}; "
        f"dataset {facts['dataset']} {facts['dataset_digest'][:12]}, folds {facts['fingerprint'][:12]}, "
        f"comparison {facts['comparison']}, code {facts['code_version']}"
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


def _row(cells: Sequence[str]) -> str:
    """A row of a Markdown table. Names come from data and from stores."""
    return f"| {' | '.join(map(markdown, cells))} |"


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


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
