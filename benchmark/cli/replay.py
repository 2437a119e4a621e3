"""``landshift replay``: train one run again from what is recorded of it, and compare."""

import argparse
import tempfile
from pathlib import Path

from benchmark.cli import options as shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("run", metavar="RUN_ID", help="the id that MLflow shows, or its first characters")
    shared.add_places(parser)
    shared.add_results(parser)


def replay(options: argparse.Namespace) -> int:
    """Print changed circumstances, train, and print what differs; the status is 0 where nothing does."""
    from benchmark.common.console import FileBar, print_rows
    from benchmark.common.errors import TrackingError
    from benchmark.conformance.replay.differences import compare_runs, numbers_of
    from benchmark.conformance.replay.recorded import jobs_of, plan_of, retrain, stored_run
    from benchmark.conformance.replay.replay import circumstances, deciding, same, verdict
    from benchmark.experiments.jobs import Bench
    from benchmark.experiments.labels import is_foreign
    from benchmark.experiments.results import ResultsFolder, has_results
    from benchmark.experiments.run_bar import RunBar

    if not has_results(options.results):
        raise TrackingError(f"there are no runs in {options.results} (see --results)")
    run = stored_run(ResultsFolder(options.results), options.run)
    with tempfile.TemporaryDirectory(prefix="landshift-replay-") as folder:
        plan = plan_of(run, Path(folder), options.stores, options.data, options.protocol)
        with FileBar("decoding files") as decoding:
            bench = Bench(plan, decoding)
        if is_foreign(run.place[0]):
            print(f"imports the module of {run.place[0]}, which the run names")
        rows = circumstances(run, bench)
        print(f"{run.record.id}: {run.record.name}")
        print_rows(("what", "recorded", "here", "same"), [row.cells for row in rows], texts=True)
        if other := deciding(rows):
            print(f"not trained again: with other {' and '.join(other)} the numbers are others")
            return 1
        jobs = jobs_of(bench, *run.place, run.record.facts.get("inside", ""))
        bench.check_settings()
        with RunBar(len(jobs)) as bar:
            new = retrain(bench, jobs, Path(folder), bar.advance, bar.end)[jobs[-1].identity]
        findings = compare_runs(numbers_of(run.record), numbers_of(new))
    recorded, again = (record.metrics.get("target/miou", float("nan")) for record in (run.record, new))
    print(
        f"target mIoU: recorded {100 * recorded:.4f}, here {100 * again:.4f} ({100 * (again - recorded):+.4f} points)"
    )
    print("\n".join(verdict(findings, rows)))
    return 0 if same(findings) else 1
