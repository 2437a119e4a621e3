"""The comparison as text, Markdown and CSV."""

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.common.texts import markdown, markdown_row, shown
from benchmark.common.texts import markdown_table as text_table
from benchmark.common.texts import percent as _percent
from benchmark.evaluation.comparison import Cell, Grid, Line, table
from benchmark.evaluation.selection_rules import RuleLine
from benchmark.evaluation.shares import ShareLine, rank_correlation
from benchmark.evaluation.significance import Paired
from benchmark.evaluation.statistics import Spread, mean_of_known

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
mIoU in percent over the classes that have truth, at the checkpoint that the *rule* chose (of a bound, and of what sees
no source data, the last). Rows with missing cells come after the others. *Target*: mean over folds and seeds; its 95 %
interval is Student's t over held-out domains, and a single one has none. *± seeds*: standard deviation over seeds.
*Drop*: source validation minus target. *Gain*: over source-only on the same folds and seeds. *Gap closed*: mean gain
over the oracle's mean gain, with Fieller's 95 % interval; none where the oracle's gain is not clear of 0. *Worst*: the
lowest fold. *Rare*: mean IoU of the rarer half of the classes in a fold's test. *Device-seconds*: of a training,
median, without the source model it starts from, and how often source-only's. *Images*: that it was trained on, median.
A bound is trained on target labels and is no result. The *per-pixel baseline* is gradient boosting on the values of
single pixels, fitted once a fold: no method, and in no test.

What sees *the test stream* gets the target in batches, by date and zone where the config has no other order, is scored
on each batch before it learns from it, and starts from the source model in each run; its seconds and images are those
of predictions and updates."""
PIXELS = "per-pixel baseline (no method)"


PAIRED_HEADER = (
    "method",
    "gain",
    "95 % interval",
    "above target statistics",
    "folds won : lost",
    "effect",
    "p",
    "noise: seeds / patches / domains",
)
ABOUT_PAIRED = """\
On the same folds and seeds. ≈: other seeds could turn the sign on these folds (the 95 % interval over seeds contains
0); with one seed that is not known. *Above target statistics*: what is left of the gain above that of the control that
passes target images through the network without a loss on them. *Effect*: matched-pairs rank-biserial correlation, -1
(all folds lost) to 1. *p*: Wilcoxon's signed-rank test over held-out domains, corrected by Holm for the number of
methods but bounds. *Noise*: standard error of the mean gain over seeds; its standard deviation when the zones of each
test are drawn again; and that of the gain between folds, which alone speaks of domains that were not tested."""
TUNED_HEADER = ("row", "applied to", "setting")
RULE_HEADER = (
    "rule",
    "looks at",
    "runs",
    "target mIoU",
    "source-only's",
    "regret",
    "rank correlation",
    "regret among all",
)
ABOUT_RULES = """\
Each rule on the *runs* that it can choose in, of all methods but bounds and those of the test stream. *Target*: mean
over the checkpoints that it takes, one a run; *source-only's*: the same of source-only's runs. *Regret*: how much
better the best checkpoint of the run is, with its 95 % interval over held-out domains. *Rank correlation*: Spearman's
between its score and the target mIoU over all checkpoints of a fold and seed, mean. *Regret among all*: where it
chooses the method, too. The oracle rule has seen the answer."""

SHARE_HEADER = (
    "method",
    "target mIoU",
    "error of domains",
    "95 % interval",
    "error of zones",
    "corrected by source validation",
    "corrected by other zones",
)
ABOUT_SHARES = """\
How wrong the class shares are that are counted on the predictions, as a map's user counts them. The *error* is half
the sum over classes of the absolute difference between predicted and true share, in percent of the labelled ground
(quantity disagreement, Pontius and Millones 2011): 5 is 5 % of the ground in a wrong class, after errors that cancel
each other. It is a mean over the held-out *domains* of the test, with an interval over them, and over their *zones*,
which count alike. *Corrected* is the error of zones after the mean error of labelled zones is subtracted: those of
source validation, or the other zones of the test, which takes labels of the target."""
ABOUT_CORRELATION = """\
The *rank correlation* (Spearman) is that of mIoU with the error of domains, over the methods of the table without
bounds; at -1 the better map has the better shares. It describes the table and is no test: all methods are scored on
the same few domains."""


def rules_line(lines: Sequence[Line]) -> str:
    """Return the rules that chose the checkpoints; the most common one needs no list of its methods."""
    methods: dict[str, list[str]] = {}
    for line in lines:
        if line.rule:
            methods.setdefault(line.rule, []).append(line.method)
    usual, *others = sorted(methods, key=lambda rule: -len(methods[rule])) or [""]
    words = [usual, *(f"{rule} of {', '.join(methods[rule])}" for rule in others)]
    return f"checkpoints by {'; '.join(words)}" if usual else ""


def rows(lines: Sequence[Line], pixels: Mapping[str, float] | None = None) -> list[tuple[str, ...]]:
    """Return the table's rows below :data:`HEADER`, best target first; then those with missing cells, and bounds.

    Args:
        pixels: mean IoU of the per-pixel baseline on each fold, for a last row; its mean is shown where every fold has
            one.
    """
    ordered = sorted(
        lines, key=lambda line: (line.bound, not line.target.cells, line.partial, -_sortable(line.target.mean))
    )
    reference = _percent(float(np.mean(list(pixels.values())))) if pixels else ""
    last = [(PIXELS, "source labels", reference, *["–"] * (len(HEADER) - 3))] if pixels else []
    return [
        (
            line.shown,
            line.needs,
            _percent(line.target.mean),
            _interval(line.target.low, line.target.high),
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
    ] + last


def markdown_table(lines: Sequence[Line], pixels: Mapping[str, float] | None = None) -> str:
    """Return the comparison as a Markdown table."""
    head = f"| {' | '.join(HEADER)} |\n|{'|'.join(['---'] * 2 + ['--:'] * (len(HEADER) - 3) + ['---'])}|"
    return "\n".join([head, *map(markdown_row, rows(lines, pixels))])


def fold_rows(
    cells: Sequence[Cell], grid: Grid, pixels: Mapping[str, float] | None = None
) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of a table with the target mIoU of every fold, mean over seeds."""
    values = {method: table(cells, grid, method, "target/miou") for method in grid.methods}
    rows = [[method, *(_percent(mean_of_known(row)) for row in scores)] for method, scores in values.items()]
    if pixels:
        rows.append([PIXELS, *(_percent(pixels.get(fold, math.nan)) for fold in grid.folds)])
    return ["method", *grid.folds], rows


def fold_table(cells: Sequence[Cell], grid: Grid, pixels: Mapping[str, float] | None = None) -> str:
    """Return target mIoU of every fold (mean over seeds) as a Markdown table."""
    header, body = fold_rows(cells, grid, pixels)
    head = f"{markdown_row(header)}\n|---{'|--:' * len(grid.folds)}|"
    return "\n".join([head, *map(markdown_row, body)])


def paired_rows(paired: Sequence[Paired]) -> list[tuple[str, ...]]:
    """Return the rows below :data:`PAIRED_HEADER`, most gained first."""
    return [
        (
            line.method,
            _percent(line.gain.mean, sign=True) + " ≈" * line.within_seed_noise,
            _interval(line.gain.low, line.gain.high, sign=True),
            _with_interval(line.above, sign=True),
            f"{line.won} : {line.lost}",
            _correlation(line.effect),
            f"{line.p:.2g}" if math.isfinite(line.p) else "–",
            " / ".join(_percent(n) for n in (line.between_seeds, line.between_patches, line.between_domains)),
        )
        for line in sorted(paired, key=lambda line: -line.gain.mean)
    ]


def paired_table(paired: Sequence[Paired]) -> str:
    """Return the methods against the control as a Markdown table, and why no test is quoted."""
    head = f"| {' | '.join(PAIRED_HEADER)} |\n|---|{'--:|' * (len(PAIRED_HEADER) - 1)}"
    table = "\n".join([head, *map(markdown_row, paired_rows(paired))])
    return "\n\n".join(filter(None, [table, silence(paired)]))


def silence(paired: Sequence[Paired]) -> str:
    """Return why no test is quoted; "" where all are."""
    reasons = "; ".join(sorted({line.silent for line in paired if line.silent}))
    return f"No test is quoted where it cannot speak: {reasons}." if reasons else ""


def rule_rows(rules: Sequence[RuleLine]) -> list[tuple[str, ...]]:
    """Return the rows below :data:`RULE_HEADER`, least regret first, and last what is no legitimate rule."""
    ordered = sorted(rules, key=lambda line: (not line.legitimate, line.regret.mean))
    return [
        (
            line.rule if line.legitimate else f"{line.rule} (no result)",
            line.sees,
            f"{line.runs} of {line.of}" if line.runs < line.of else str(line.runs),
            _percent(line.target.mean),
            _percent(line.control.mean),
            _with_interval(line.regret),
            _correlation(line.rank_correlation.mean),
            _percent(line.regret_among_all.mean),
        )
        for line in ordered
    ]


def rule_table(rules: Sequence[RuleLine]) -> str:
    """Return the rules side by side as a Markdown table."""
    head = f"| {' | '.join(RULE_HEADER)} |\n|---|---|{'--:|' * (len(RULE_HEADER) - 2)}"
    return "\n".join([head, *map(markdown_row, rule_rows(rules))])


def share_rows(shares: Sequence[ShareLine]) -> list[tuple[str, ...]]:
    """Return the rows below :data:`SHARE_HEADER`, least error first and bounds last."""
    return [
        (
            f"{line.method}{' (bound)' if line.bound else ''}",
            _percent(line.miou),
            _percent(line.domains.mean),
            _interval(line.domains.low, line.domains.high),
            _percent(line.zones.mean),
            _percent(line.by_source.mean),
            _percent(line.by_others.mean),
        )
        for line in sorted(shares, key=lambda line: (line.bound, line.domains.mean))
    ]


def correlation_line(shares: Sequence[ShareLine]) -> str:
    """Return the rank correlation of mIoU with the error of domains; "" where it is not defined."""
    correlation = rank_correlation(shares)
    return f"Rank correlation: {correlation:+.2f}." if math.isfinite(correlation) else ""


def about_shares(shares: Sequence[ShareLine]) -> str:
    """Return what the table of class shares means, with its rank correlation."""
    line = correlation_line(shares)
    return f"{ABOUT_SHARES} {ABOUT_CORRELATION} {line}" if line else ABOUT_SHARES


def tuned_rows(tuned: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str, str]]:
    """Return row, folds and setting: what is behind each tuned row, a line a setting."""
    folds_of: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row, labels in tuned.items():
        for fold, label in labels.items():
            folds_of[row, label].append(fold)
    return [(row, ", ".join(folds), label) for (row, label), folds in folds_of.items()]


def tuned_table(tuned: Mapping[str, Mapping[str, str]]) -> str:
    """Return the tuned settings as a Markdown table."""
    head = f"| {' | '.join(TUNED_HEADER)} |\n|---|---|---|"
    return "\n".join([head, *map(markdown_row, tuned_rows(tuned))])


def lacking(grid: Grid) -> str:
    """Return which controls of a published table the comparison lacks; "" if none."""
    return f"Controls that this comparison lacks: {', '.join(grid.lacking)}." if grid.lacking else ""


def empty_cells(cells: Sequence[Cell]) -> str:
    """Return one line a reason for the cells that hold no result; "" if all do."""
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
    pixels: Mapping[str, float] | None = None,
    shares: Sequence[ShareLine] = (),
    more: Sequence[str] = (),
) -> str:
    """Return all the tables with what they mean.

    Args:
        shared: what all runs of the comparison have in common, in one line.
        paired: lines of `benchmark.evaluation.significance.compare_with_control`.
        rules: lines of `benchmark.evaluation.selection_rules.compare_rules`.
        alarms: what a reader must know before the tables are believed.
        tuned: label behind each tuned row on each fold.
        pixels: mean IoU of the per-pixel baseline on each fold.
        shares: lines of `benchmark.evaluation.shares.compare_shares`.
        more: further tables with what they mean.
    """
    empty = "\n".join(map(markdown, empty_cells(cells).splitlines()))
    parts = [
        *(["**Alarms**\n\n" + "\n".join(f"- {markdown(alarm)}" for alarm in alarms)] if alarms else []),
        markdown_table(lines, pixels),
        EXPLANATION,
        *filter(None, [markdown(lacking(grid))]),
        "Target mIoU of every fold, mean over seeds:",
        fold_table(cells, grid, pixels),
        *(("What was trained for each tuned row:", tuned_table(tuned)) if tuned else ()),
        *((f"Each method against {grid.control}:", paired_table(paired), ABOUT_PAIRED) if paired else ()),
        *(("Selection rules side by side:", rule_table(rules), ABOUT_RULES) if rules else ()),
        *(
            ("Class shares of zones:", text_table(SHARE_HEADER, share_rows(shares)), about_shares(shares))
            if shares
            else ()
        ),
        *more,
        f"Cells without a result:\n\n{empty}" if empty else "Every cell of the grid holds a result.",
        f"*{markdown(shared)}*",
    ]
    return "\n\n".join(parts)


def shared_line(facts: Mapping[str, str], grid: Grid) -> str:
    """Return what all runs of the comparison have in common, in one line.

    Args:
        facts: `ComparisonState.facts`, of which some may be missing.
    """
    training = ", ".join(f"{name.replace('_', ' ')} {facts[name]}" for name in TRAINING if name in facts)
    number, of = len(grid.folds), int(facts.get("protocol_folds", len(grid.folds)))
    tuned = f"; {facts['tuned']}" if "tuned" in facts else ""
    folds = f"{number} of {of} folds" if number < of else f"{number} fold{'s' if number > 1 else ''}"
    networks = f" ({facts['networks']})" if "networks" in facts else ""
    return (
        f"{facts['network']}{networks}, {facts['steps']} steps of {facts['batch_size']} patches ({training}), "
        f"{folds}, seeds {', '.join(map(str, grid.seeds))}{tuned}; "
        f"dataset {facts['dataset']} {facts['dataset_digest'][:12]}, folds {facts['fingerprint'][:12]}, "
        f"comparison {facts['comparison']}, code {facts['code_version']}"
    )


def cells_csv(cells: Sequence[Cell]) -> str:
    """Return every cell with its status, reason and final metrics."""
    names = sorted({name for cell in cells if cell.metrics for name in cell.metrics if not name.startswith("train/")})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "fold", "seed", "status", "reason", *names])
    for cell in cells:
        values = [f"{cell.metrics[n]:.6g}" if cell.metrics and n in cell.metrics else "" for n in names]
        writer.writerow([cell.method, cell.fold, cell.seed, cell.status, cell.reason, *values])
    return text.getvalue()


def _correlation(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else "–"


def _cost(line: Line) -> str:
    ratio = f" ({line.cost:.1f} ×)" if math.isfinite(line.cost) else ""
    return f"{line.seconds:.3g}{ratio}" if math.isfinite(line.seconds) else "–"


def _interval(low: float, high: float, sign: bool = False) -> str:
    return f"{_percent(low, sign)} to {_percent(high, sign)}" if math.isfinite(low) else "–"


def _with_interval(stats: Spread, sign: bool = False) -> str:
    around = f" ({_interval(stats.low, stats.high, sign)})" if math.isfinite(stats.low) else ""
    return _percent(stats.mean, sign) + around


def _gap(line: Line) -> str:
    ratio = line.gap_closed
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" if math.isfinite(ratio.value) else "–"


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
