"""``landshift zones``: figures of maps in polygons."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli import options as shared

if TYPE_CHECKING:
    from benchmark.maps.zones import Zones

EPILOG = """\
examples:
  landshift zones maps --zones communes.gpkg --zone-name nom --output figures    of all maps in a folder
  landshift zones maps/town.classes.tif                                         the whole map is one zone

Writes zones.html, zones.csv, zone-classes.csv and zones.gpkg. The bounds of the artificialised share are not the legal
figure: use is not observed.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "maps", nargs="+", type=Path, metavar="MAP", help="maps of classes (*.classes.tif), or folders of some"
    )
    add_zones(parser)
    parser.add_argument(
        "--output", type=shared.folder, metavar="DIR", help="where to write (default: beside the first map)"
    )
    shared.add_results(parser)


def add_zones(parser: argparse._ActionsContainer) -> None:
    """Add the options of the polygons."""
    parser.add_argument(
        "--zones",
        type=Path,
        metavar="FILE",
        help="polygons (.gpkg, .geojson, .shp) in which the classes are counted",
    )
    parser.add_argument(
        "--zone-name", default="", metavar="FIELD", help="attribute that names them (default: name or nom)"
    )


def zones(options: argparse.Namespace) -> int:
    """Count the classes of maps in zones, and say where the figures are."""
    from benchmark.common.errors import DataError
    from benchmark.maps.map_file import CLASSES

    found: list[Path] = []
    for path in options.maps:
        found += sorted(path.glob(f"*{CLASSES}")) if path.is_dir() else [path]
    if not found:
        raise DataError(f"{options.maps[0]}: holds no map of classes (*{CLASSES})")
    write_figures(found, read(options), options.output or found[0].parent, options.results)
    return 0


def read(options: argparse.Namespace) -> "Zones | None":
    """Return the zones that the options name; None where they name none."""
    from benchmark.common.errors import SettingsError
    from benchmark.maps.zones import read_zones

    if options.zone_name and not options.zones:
        raise SettingsError("--zone-name names an attribute of the polygons; give them with --zones FILE")
    return read_zones(options.zones, options.zone_name) if options.zones else None


def write_figures(paths: Sequence[Path], polygons: "Zones | None", output: Path, results: Path) -> None:
    """Write the figures of maps, corrected by the labelled zones of the run that made them where it is found."""
    from benchmark.common.console import FileBar, print_line
    from benchmark.experiments.results import ResultsFolder, has_results
    from benchmark.maps.map_file import read_map
    from benchmark.maps.zone_report import labelled_zones, report_zones

    maps = [read_map(path) for path in paths]
    labelled = labelled_zones(maps, ResultsFolder(results)) if has_results(results) else []
    if not labelled:
        print_line(
            f"not corrected for the errors of the maps: {results} lacks labelled zones of one run that made them all"
        )
    with FileBar("pieces of the maps") as bar:
        written = report_zones(maps, polygons, output, labelled, bar)
    for path in written:
        print_line(f"written: {path}")
