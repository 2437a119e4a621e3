"""``landshift verify``: published tables against their protocol, the installed code, their runs, and a rerun."""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.cli import options as shared

WORDS = {True: "holds", False: "CONTRADICTED", None: "–"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("folder", type=Path, help="what landshift report wrote, or a folder with several of them")
    parser.add_argument("--rerun", type=int, default=0, metavar="N", help="train N cells of each again (default: 0)")
    shared.add_places(parser)
    shared.add_results(parser)


def verify(options: argparse.Namespace) -> int:
    """Print a table of checks for each published comparison, then the counts; return 1 where something contradicts."""
    from benchmark.common.console import print_rows
    from benchmark.common.errors import SettingsError
    from benchmark.experiments.results import ResultsFolder, has_results
    from benchmark.reporting.table_file import TABLE, read_table, table_folders

    folders = table_folders(options.folder)
    if not folders:
        raise SettingsError(f"there is no published comparison in {options.folder} or below")
    tables = {folder: read_table(folder) for folder in folders if (folder / TABLE).is_file()}
    datasets = sorted({table.facts["dataset"] for table in tables.values()})
    if options.data and len(datasets) > 1:
        raise SettingsError(f"--data is of one data set; these tables are of {', '.join(datasets)}: take one at a time")
    results = ResultsFolder(options.results) if has_results(options.results) else None
    contradicted = 0
    for folder in folders:
        print(f"\n{folder}")
        if folder not in tables:
            print("no record of identities: it was written by an older version of landshift")
            continue
        checks = _checks(tables[folder], results, options)
        print_rows(
            ("check", "", "result"), [(check.what, WORDS[check.holds], check.message) for check in checks], texts=True
        )
        contradicted += any(check.holds is False for check in checks)
    whole, without = len(tables) - contradicted, len(folders) - len(tables)
    print(
        f"\n{len(folders)} tables: {whole} without a contradiction, {contradicted} contradicted, "
        f"{without} without a record of identities"
    )
    return 1 if contradicted else 0


def _checks(table: Any, results: Any, options: argparse.Namespace) -> list[Any]:
    from benchmark.conformance.replay import verify

    runs = verify.runs_of(table, results) if results else {}
    data = options.data or _recorded_place(table, runs)
    checks = [
        verify.check_protocol(table, data, options.protocol),
        verify.check_identities(table),
        verify.check_engine(table),
        verify.check_files(table),
        verify.check_numbers(table, runs),
    ]
    return [*checks, _rerun(table, data, options)] if options.rerun and table.cells else checks


def _recorded_place(table: Any, runs: Mapping[str, Any]) -> Path | None:
    """Return where the data of a table's runs were, if the runs and the data are here; else None, the default place."""
    from benchmark.common.errors import DataError
    from benchmark.conformance.replay.recorded import data_place

    try:
        return data_place(next(iter(runs.values())).source, table.facts["dataset"]) if runs else None
    except DataError:
        return None


def _rerun(table: Any, data: Path | None, options: argparse.Namespace) -> Any:
    from benchmark.common.console import FileBar
    from benchmark.common.errors import LandshiftError
    from benchmark.conformance.replay import verify
    from benchmark.conformance.replay.recorded import retrain
    from benchmark.experiments.jobs import Bench
    from benchmark.experiments.labels import is_foreign
    from benchmark.experiments.run_bar import RunBar
    from methods.base import MethodError
    from protocols.base import ProtocolError

    cells = verify.chosen(table, options.rerun)
    with tempfile.TemporaryDirectory(prefix="landshift-verify-") as folder:
        try:
            plan = verify.plan_of_table(table, data, Path(folder), options.stores, options.protocol)
            with FileBar("decoding files") as decoding:
                bench = Bench(plan, decoding)
            if why := verify.other_data(table, bench):
                return verify.TableCheck("rerun", None, f"not possible: {why}")
            bench.check_settings()
            for label in dict.fromkeys(cell.setting for cell in cells if is_foreign(cell.setting)):
                print(f"imports the module of {label}, which the table names")
            of_cells = verify.jobs_of_cells(bench, cells)
            jobs = list(dict.fromkeys(job for of_cell in of_cells.values() for job in of_cell))
            with RunBar(len(jobs)) as bar:
                again = retrain(bench, jobs, Path(folder), bar.advance, bar.end)
            return verify.check_rerun(table, cells, of_cells, again)
        except (LandshiftError, MethodError, ProtocolError) as error:
            return verify.TableCheck("rerun", None, f"not possible: {error}")
