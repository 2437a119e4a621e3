"""``landshift shift``: the distance of the target of each fold from its source."""

import argparse
from pathlib import Path
from typing import Any

from benchmark.cli import options as shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("protocols", nargs="+", metavar="PROTOCOL", help="one or several of one data set, in one table")
    parser.add_argument("--encoder", default="resnet18", help="whose features are compared (default: resnet18)")
    parser.add_argument(
        "--encoder-weights", metavar="W", help="packaged, imagenet or a file (default: random, a look at low level)"
    )
    parser.add_argument(
        "--patches", type=shared.positive, default=200, metavar="N", help="of each side, at most (default: 200)"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: RESULTS/shift-PROTOCOL)")
    shared.add_data(parser)
    shared.add_stores(parser)
    shared.add_results(parser)


def shift(options: argparse.Namespace) -> int:
    """Measure, print, write and log; several protocols of one data set share a table."""
    from benchmark.common.console import FileBar, print_rows
    from benchmark.data.classes import short_slug
    from benchmark.experiments.experiment_pages import SHIFT
    from benchmark.experiments.jobs import Bench, ExperimentPlan
    from benchmark.experiments.results import ResultsFolder
    from benchmark.experiments.session import open_experiment
    from benchmark.experiments.shifts import MEASURES, measure_shifts
    from benchmark.models.segmentation import NetworkSettings
    from benchmark.reporting.shift_report import as_csv, cells, draw, header, markdown
    from benchmark.tracking import Summary
    from benchmark.training.config import TrainingConfig
    from protocols.files import load

    weights = "" if options.encoder_weights in (None, "none") else options.encoder_weights
    settings = NetworkSettings(encoder=options.encoder, encoder_weights=weights)
    results = ResultsFolder(options.results)
    folder: Path = options.output or options.results / "-".join(["shift", *map(_stem, options.protocols)])
    folder.mkdir(parents=True, exist_ok=True)
    of = f"{options.encoder} with {weights or 'random'} weights"
    note = f"Features: {of}, at most {options.patches} patches of each side."
    rows: list[dict[str, Any]] = []
    logged = []
    for name in options.protocols:
        load(name, partial=options.partial)  # fails on a misspelt one before the first is measured
    for name in options.protocols:
        plan = ExperimentPlan(
            name, options.data, options.results, options.stores, TrainingConfig(), partial=options.partial
        )
        with FileBar("decoding files") as decoding:
            bench = Bench(plan, decoding)
        with FileBar(f"folds of {bench.protocol.name}") as bar:
            shifts = measure_shifts(bench, settings, options.patches, bar)
        experiment = bench.protocol.label
        open_experiment(results, bench, experiment)
        drops = _drops(results, experiment)
        protocol_rows = [
            {
                "protocol": bench.protocol.name,
                "fold": shift.fold,
                **shift.values,
                "drop": drops.get(shift.fold, float("nan")),
            }
            for shift in shifts
        ]
        rows += protocol_rows
        facts = {"protocol": bench.protocol.name, "fingerprint": bench.fingerprint, "encoder": options.encoder}
        metrics = {
            f"shift/{short_slug(shift.fold)}/{key}": value for shift in shifts for key, value in shift.values.items()
        }
        for shift in shifts:
            for band, (mean, std) in shift.bands.items():
                metrics |= {
                    f"shift/{short_slug(shift.fold)}/{kind}/{short_slug(band)}": gap
                    for kind, gap in (("mean_gap", mean), ("std_gap", std))
                }
        logged.append((experiment, facts, metrics))
    files = {
        folder / "shift.md": markdown(rows, MEASURES, note),
        folder / "shift.csv": as_csv(rows, list(MEASURES)),
    }
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    draw(rows, bench.catalog.patches, list(MEASURES), folder / "shift.png")
    for experiment, facts, metrics in logged:
        results.summarise(experiment, Summary(SHIFT, facts, metrics, [*files, folder / "shift.png"]))
    printed = cells(rows, list(MEASURES))
    for name in dict.fromkeys(row[0] for row in printed):
        print(f"\n{name}")
        print_rows(header(list(MEASURES))[1:], [row[1:] for row in printed if row[0] == name])
    print(f"written: {', '.join(sorted(str(path) for path in folder.iterdir()))}")
    return 0


def _stem(protocol: str) -> str:
    return Path(protocol).stem


def _drops(results: Any, experiment: str) -> dict[str, float]:
    """Return the drop of source-only, in points, by fold: mean over the finished seeds."""
    import numpy as np

    from benchmark.common.errors import TrackingError
    from benchmark.reporting.collect import collect

    try:
        state = collect(results, experiment)
    except TrackingError:
        return {}
    drops: dict[str, list[float]] = {}
    for cell in state.cells:
        if cell.method == state.grid.control and cell.metrics and "selected/drop" in cell.metrics:
            drops.setdefault(cell.fold, []).append(100 * cell.metrics["selected/drop"])
    return {fold: float(np.mean(values)) for fold, values in drops.items()}
