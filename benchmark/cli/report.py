"""``landshift report``: the comparison in the terminal, as an HTML page, Markdown, LaTeX and CSV, and in MLflow."""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.cli import options as shared
from benchmark.common.errors import DataError, TrackingError

if TYPE_CHECKING:  # all that takes time to import is imported where it is used
    from concurrent.futures import ProcessPoolExecutor

    from benchmark.cli.reported import Printed

FIGURES = {
    "comparison.png": "Target mIoU of every method, and its gain over source-only on every fold.",
    "ranks.png": "Mean ranks over the held-out domains; a bar joins methods that Nemenyi's test does not tell apart.",
    "classes.png": "IoU of every class, mean over folds and seeds; classes from frequent to rare.",
    "costs.png": "Gain against cost.",
}
SHOWN = 4  # folds in the gallery


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog = (
        "Comparisons of the results folder that differ from it in series settings alone (landshift run --series) are "
        "beside it in one table, Modalities."
    )
    shared.add_protocol(parser)
    parser.add_argument("--comparison", default="", metavar="KEY", help="another than the newest comparison")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: RESULTS/PROTOCOL)")
    shared.add_table(parser)
    shared.add_results(parser)


def report(options: argparse.Namespace) -> int:
    """Write and print the comparison.

    Raises:
        SettingsError: the process that draws was killed.
    """
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    from filelock import FileLock

    from benchmark.cli.reported import inputs_of, recall
    from benchmark.common.errors import SettingsError
    from benchmark.experiments.results import ResultsFolder, has_results
    from benchmark.reporting.collect import newest_comparison
    from protocols.files import load

    protocol = load(options.protocol, partial=options.partial)
    results = ResultsFolder(options.results) if has_results(options.results) else None
    if results is None or protocol.label not in results.experiments():
        raise TrackingError(f"nothing has been run under this protocol yet in {options.results} (see --results)")
    results.close_expired()
    runs = results.runs(protocol.label)
    comparison = options.comparison or newest_comparison(results, protocol.label, runs)
    inputs = inputs_of(results, runs, protocol, comparison, _folder_of(options, protocol, comparison), options)
    printed = recall(results, protocol.label, inputs)
    if printed is None:
        with ProcessPoolExecutor(max_workers=1) as artist:
            artist.submit(_prepare)  # it imports while this process reads
            try:
                # The last to write must be the last that has looked.
                with FileLock(results.folder / "report.lock"):
                    printed = _write(options, artist, protocol, results, inputs)
            except BrokenProcessPool as error:
                raise SettingsError("the process that draws the figures was killed; run the command again") from error
    _print(printed)
    return 0


def _print(printed: "Printed") -> None:
    from benchmark.cli.printed import print_comparison
    from benchmark.common.console import print_line

    if printed.verdict:
        print_line(printed.verdict)
    print_comparison(printed.rows, printed.rules, printed.empty, printed.shared)
    for alarm in printed.alarms:
        print_line(f"alarm: {alarm}")
    for aside in printed.asides:
        print(aside)
    print_line(printed.written)


def _prepare() -> None:
    """Prepare the process that draws."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that waits for it says that it is stopped
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    import benchmark.reporting.plots  # noqa: F401 - takes a second


def _write(
    options: argparse.Namespace, artist: "ProcessPoolExecutor", protocol: Any, results: Any, inputs: str
) -> "Printed":
    """Make the report; return what is to be printed, which is kept where all of it was written."""
    from benchmark.cli.reported import Printed, keep
    from benchmark.common.texts import shown
    from benchmark.experiments.calibration import verdict_on
    from benchmark.reporting.collect import collect
    from benchmark.reporting.table_file import has_table
    from benchmark.reporting.tables import empty_cells, rows, rules_line, shared_line

    state = collect(results, protocol.label, options.comparison, rule=options.rule, mixed=options.mixed)
    verdict = verdict_on(options.results, protocol.name, state.facts)
    shared = f"{shared_line(state.facts, state.grid)}{f'; {verdict.words}' if verdict.converged else ''}"
    folder, is_whole = _folder_of(options, protocol, state.facts["comparison"]), False
    if has_table(folder) and not state.has_results:
        key = state.facts["comparison"]
        written = f"not written: no run of the comparison {key} is finished, and {folder} holds one with results"
    else:
        rule = f" --rule {options.rule}" if options.rule else ""  # of the table; a tuning has one of its own
        commands = [f"{command}{rule * command.startswith('landshift run')}" for command in state.commands]
        is_whole = _write_files(artist, protocol, results, state, folder, verdict, shared, commands)
        written = f"written into {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}"
        if not options.output and folder.name != protocol.label:
            written += (
                f" ({options.results / protocol.label} holds another comparison; landshift report --output replaces it)"
            )
    asides = [
        f"left aside: {count} run{'s' * (count > 1)} of {label}, made with an earlier version of its code"
        for label, count in state.replaced.items()
    ]
    asides += [
        f"left aside: {aside.runs} run{'s' * (aside.runs > 1)} of another comparison ({shown(aside.differs)}); "
        f"landshift report {options.protocol} --comparison {key}"
        for key, aside in state.others.items()
    ]
    printed = Printed(
        "" if verdict.converged else verdict.words,
        rows(state.lines, state.pixels),
        rules_line(state.lines),
        empty_cells(state.cells),
        shared,
        state.alarms,
        asides,
        written,
    )
    if is_whole:
        keep(results, protocol.label, inputs, folder, printed)
    return printed


def _folder_of(options: argparse.Namespace, protocol: Any, comparison: str) -> Path:
    """Return the folder that the report of a comparison is written to, by default the protocol's.

    Another comparison's results there are not replaced by a quick try.
    """
    from benchmark.reporting.table_file import has_table, read_table

    if options.output:
        return Path(options.output)
    usual: Path = options.results / protocol.label
    try:
        replaces = has_table(usual) and read_table(usual).facts["comparison"] != comparison
    except DataError:
        replaces = True
    return usual.with_name(f"{usual.name}-{comparison}") if replaces else usual


def _write_files(
    artist: "ProcessPoolExecutor",
    protocol: Any,
    results: Any,
    state: Any,
    folder: Path,
    verdict: Any,
    shared: str,
    commands: Sequence[str],
) -> bool:
    """Write the report's files into a folder, and its tables into MLflow; return whether MLflow took them."""
    from benchmark.common.texts import markdown
    from benchmark.experiments.checkpoint_records import class_shares
    from benchmark.experiments.experiment_pages import describe
    from benchmark.reporting.confidence_table import confidence_tables
    from benchmark.reporting.decision_table import decision_tables
    from benchmark.reporting.latex import latex_table
    from benchmark.reporting.series_tables import series_tables
    from benchmark.reporting.stream_orders import order_tables
    from benchmark.reporting.table_file import TABLE, as_json
    from benchmark.reporting.tables import cells_csv, markdown_page

    first = "" if verdict.converged else f"**{markdown(verdict.words)}**\n\n"
    folder.mkdir(parents=True, exist_ok=True)
    # Drawing takes as long as the gallery, and each has a process.
    cells = [replace(cell, records=(), pooled=()) for cell in state.cells]
    classes = class_shares(state.cells, state.grid, state.folders)
    title = f"{protocol.title} ({state.facts['dataset']})"
    drawn = artist.submit(_draw, state.lines, cells, state.grid, state.ranking, classes, title, folder, state.pixels)
    gallery = _gallery(state)
    figures = drawn.result()
    tables = markdown_page(
        state.lines,
        state.cells,
        state.grid,
        shared,
        state.paired,
        state.rules,
        state.alarms,
        state.tuned,
        state.pixels,
        state.shares,
        [
            each.markdown
            for each in (
                *confidence_tables(state),
                *decision_tables(state),
                *series_tables(state),
                *order_tables(state),
            )
        ],
    )
    pictures = "\n\n".join(f"![{FIGURES[name]}]({name})" for name in figures)
    page = f"# {protocol.label}\n\n{first}{describe(protocol)}\n\n{pictures}\n\n{tables}\n"
    (folder / "comparison.md").write_text(page, encoding="utf-8")
    alarms = [*([] if verdict.converged else [verdict.words]), *state.alarms]
    (folder / "comparison.html").write_text(
        _html(protocol, state, alarms, shared, folder, figures, gallery, commands),
        encoding="utf-8",
    )
    (folder / "comparison.tex").write_text(
        latex_table(state.lines, state.cells, state.grid, state.pixels, shared, alarms), encoding="utf-8"
    )
    (folder / "cells.csv").write_text(cells_csv(state.cells), encoding="utf-8")
    (folder / TABLE).write_text(as_json(state), encoding="utf-8")
    if state.has_results or not results.summaries(protocol.label):
        return _publish(results, protocol, state, first + tables, [folder / name for name in figures])
    return True


def _publish(results: Any, protocol: Any, *rest: Any) -> bool:
    """Publish the comparison; where MLflow cannot be used now, the next report does."""
    from benchmark.reporting.publishing import publish

    try:
        problem = results.deliver(protocol.label)
        publish(results, protocol.label, protocol, *rest)
    except TrackingError as error:
        problem = f"the comparison is not in MLflow yet: {error}. The next report publishes it"
    if problem:
        print(problem, file=sys.stderr)
    return not problem


def _draw(
    lines: Any,
    cells: Any,
    grid: Any,
    ranking: Any,
    classes: Mapping[str, float],
    title: str,
    folder: Path,
    pixels: Mapping[str, float],
) -> list[str]:
    """Draw what there is to draw; the names of the files."""
    from benchmark.reporting.plots import draw, draw_classes, draw_costs, draw_ranks

    for name in FIGURES:  # of an older comparison; none must stand beside new numbers
        (folder / name).unlink(missing_ok=True)
    draw(lines, cells, grid, title, folder / "comparison.png", pixels)
    if ranking:
        draw_ranks(ranking, folder / "ranks.png")
    if classes:
        draw_classes(lines, cells, classes, folder / "classes.png")
    draw_costs(lines, folder / "costs.png")
    return [name for name in FIGURES if (folder / name).is_file()]


def _html(
    protocol: Any,
    state: Any,
    alarms: list[str],
    shared: str,
    folder: Path,
    figures: list[str],
    gallery: list[Any],
    commands: Sequence[str],
) -> str:
    from benchmark.reporting import tables
    from benchmark.reporting.confidence_table import confidence_tables
    from benchmark.reporting.decision_table import decision_tables
    from benchmark.reporting.html import Figure, Section, html_page
    from benchmark.reporting.series_tables import series_tables
    from benchmark.reporting.stream_orders import order_tables

    pictures = {name: Figure.of(folder / name, FIGURES[name]) for name in figures}
    header, rows = tables.fold_rows(state.cells, state.grid, state.pixels)
    about = f"{_plain(tables.EXPLANATION)} {tables.lacking(state.grid)}"
    sections = [
        Section(
            "Comparison",
            tables.HEADER,
            tables.rows(state.lines, state.pixels),
            _of(pictures, "comparison.png"),
            about,
            tables.TEXTS,
        ),
        Section("Every fold", header, rows, note="Target mIoU in percent, mean over seeds."),
    ]
    if state.tuned:
        sections.append(Section("Tuned settings", tables.TUNED_HEADER, tables.tuned_rows(state.tuned), texts=(0, 1, 2)))
    if lost := tables.empty_cells(state.cells).splitlines():
        sections.append(Section("Cells without a result", ("cells",), [[line.removeprefix("- ")] for line in lost]))
    if state.paired:
        about = f"{_plain(tables.ABOUT_PAIRED)} {tables.silence(state.paired)}"
        paired, against = tables.paired_rows(state.paired), f"Against {state.grid.control}"
        sections.append(Section(against, tables.PAIRED_HEADER, paired, _of(pictures, "ranks.png"), about))
    sections += [
        Section(title, figures=drawn)
        for title, drawn in (
            ("Classes", _of(pictures, "classes.png")),
            ("Gain against cost", _of(pictures, "costs.png")),
            ("Where the methods differ most", gallery),
        )
        if drawn
    ]
    if state.rules:
        rules, about = tables.rule_rows(state.rules), _plain(tables.ABOUT_RULES)
        sections.append(Section("Selection rules", tables.RULE_HEADER, rules, note=about, texts=(0, 1)))
    if state.shares:
        about = _plain(tables.about_shares(state.shares))
        sections.append(Section("Class shares", tables.SHARE_HEADER, tables.share_rows(state.shares), note=about))
    sections += [
        Section(each.title, each.header, each.rows, note=f"{_plain(each.about)} {'; '.join(each.lines)}")
        for each in (
            *confidence_tables(state),
            *decision_tables(state),
            *series_tables(state),
            *order_tables(state),
        )
    ]
    if state.calls:
        calls = [(made, command, ", ".join(rows)) for made, command, rows in state.calls]
        sections.append(
            Section("Which command requested which row", ("when", "command", "rows"), calls, texts=(0, 1, 2))
        )
    return html_page(
        f"{protocol.title} ({protocol.label})",
        protocol.description,
        protocol.confounds,
        commands,
        state.grid.control,
        alarms,
        sections,
        shared,
    )


def _gallery(state: Any) -> list[Any]:
    """Return the figures of the folds on which the methods differ most, at the first seed."""
    from benchmark.experiments.checkpoint_records import PANEL
    from benchmark.reporting.gallery import differing, widest
    from benchmark.reporting.html import Figure

    seed = state.grid.seeds[0]
    methods = [line.method for line in sorted(state.lines, key=lambda line: -line.target.mean) if line.target.cells]
    sheets = []
    for fold in widest(state.cells, seed)[:SHOWN]:
        present = [method for method in methods if (method, fold, seed) in state.folders]
        if picture := differing({method: state.folders[method, fold, seed] / PANEL for method in present}):
            sheets.append((fold, *picture))
    caption = "{}, seed {}: on average a method differs from the most frequent answer on {:.0%} of the pixels."
    most = sorted(sheets, key=lambda entry: -entry[2])
    return [Figure.drawn(sheet, caption.format(fold, seed, share)) for fold, sheet, share in most]


def _of(pictures: Mapping[str, Any], name: str) -> list[Any]:
    return [pictures[name]] if name in pictures else []


def _plain(markdown: str) -> str:
    return markdown.replace("*", "").replace("\n", " ")
