"""``landshift map``: georeferenced predictions of a finished run."""

import argparse
from datetime import date
from pathlib import Path

from benchmark.cli import options as shared
from benchmark.cli import zones

CODINGS = MASKS, COSIA = "masks", "cosia"  # those of `benchmark.maps.coding`, which a help need not import
USAGE = """\
landshift map RUN IMAGE ... --output DIR [further options]
       landshift map --compare A B --output DIR"""
EPILOG = """\
examples:
  landshift map best:dann ortho.tif --output maps --preview          a map, and a page to look at
  landshift map 3f2a ortho.tif --output maps                         of the run whose id begins so
  landshift map best:dann@D075_2021 tiles --output maps              of the best run on a fold; a folder of images
  landshift map 3f2a tiles/*.tif --mosaic town --output maps         tiles of one mosaic, in one map
  landshift map 3f2a ortho.tif --output maps --zones communes.gpkg   and figures of each commune
  landshift map --compare 2019/town.classes.tif 2021/town.classes.tif --output change    what became what
  landshift map 3f2a data/flair1 --output maps --submission flair1   the file of a challenge

A map of an image NAME is DIR/NAME.classes.tif, the class of each pixel, and DIR/NAME.confidence.tif, its probability in
percent; 255 is no data in both. An interrupted command goes on where it was, when it is given again.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.set_defaults(resumes=True)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage, parser.epilog = USAGE, EPILOG
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="first characters of its id; or best:METHOD, best:METHOD@FOLD: the best on source validation",
    )
    parser.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="images, or folders of some; each gets a map of its own"
    )
    parser.add_argument("--output", type=shared.folder, required=True, metavar="DIR", help="where to write the maps")
    _add_run(parser)
    _add_image(parser)
    _add_files(parser)
    zones.add_zones(parser.add_argument_group("figures of zones"))
    _add_other(parser)
    _add_how(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which run")
    shared.add_results(group)
    group.add_argument("--protocol", default="", metavar="P", help="of best:METHOD, where several have runs of it")
    group.add_argument("--comparison", default="", metavar="KEY", help="of best:METHOD, where a protocol has several")


def _add_image(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which images")
    group.add_argument("--mosaic", default="", metavar="NAME", help="all images are tiles of one map of this name")
    group.add_argument("--date", type=_day, default="", metavar="DAY", help="when they were taken (default: by tags)")
    group.add_argument("--no-crs", action="store_true", help="take images without a place on the earth, too")


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which files")
    group.add_argument(
        "--preview",
        action="store_true",
        help="also NAME.preview.png, a picture, and NAME.preview.html, a page to zoom, which needs no network",
    )
    group.add_argument("--probabilities", action="store_true", help="also the percentages of all classes")
    group.add_argument(
        "--coding", choices=CODINGS, default=MASKS, help="values as in the masks (default), or the numbers of CosIA"
    )
    group.add_argument("--vectors", action="store_true", help="also the polygons of the classes, NAME.gpkg")
    for name, unit, text in (
        ("--min-area", "M2", "smaller patches, in m², join others"),
        ("--simplify", "M", "about how far outlines may move, in m"),
    ):
        group.add_argument(name, type=_measure, default=0.0, metavar=unit, help=f"of --vectors: {text}")
    group.add_argument(
        "--blocks",
        default="",
        metavar="DEP_YEAR",
        help="of --coding cosia: also cut into IGN's blocks of 10 km, as D049_2022",
    )


def _add_other(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("instead of maps")
    group.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="the change between two maps of classes of one ground, A the earlier",
    )
    group.add_argument(
        "--submission",
        default="",
        metavar="CHALLENGE",
        help="the file of flair1 or flair2; IMAGE is the folder of the data",
    )
    group.add_argument("--partial", action="store_true", help="of --submission: the data lack some of the test")


def _add_how(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it is computed")
    group.add_argument(
        "--workers",
        type=shared.positive,
        metavar="N",
        help="processes that share the blocks (default: one a GPU, or 1)",
    )
    group.add_argument("--accelerator", default="auto", metavar="KIND", help="cpu, cuda, mps or auto (default)")
    group.add_argument(
        "--window", type=shared.positive, metavar="PIXELS", help="side of what is predicted at once (default: chosen)"
    )
    group.add_argument(
        "--margin",
        type=shared.positive,
        metavar="PIXELS",
        help="what of it is not kept on each side (default: as far as the network is measured to look)",
    )


def map(options: argparse.Namespace) -> int:
    """Find the run, make the maps, and say where they are; or compare two maps."""
    from benchmark.common.errors import SettingsError

    if fault := _fault(options):
        raise SettingsError(fault)
    from benchmark.cli import map_files

    if options.compare:
        map_files.compare(options)
        return 0
    from benchmark.common.console import print_line
    from benchmark.common.errors import TrackingError
    from benchmark.experiments.results import ResultsFolder, has_results
    from benchmark.maps.ign_blocks import check_prefix
    from benchmark.maps.map_file import name_of
    from benchmark.maps.predict import make_maps
    from benchmark.maps.reading import images_of
    from benchmark.maps.trained import find_run
    from benchmark.maps.workers import MapOptions

    if not has_results(options.results):
        raise TrackingError(f"there are no runs in {options.results} (see --results)")
    polygons = zones.read(options)
    results = ResultsFolder(options.results)
    record = find_run(results, options.run, options.protocol, options.comparison)
    print_line(f"run {record.id}: {record.name}")
    if options.submission:
        map_files.submit(record, options)
        return 0
    settings = MapOptions(
        coding=options.coding,
        probabilities=options.probabilities,
        window=options.window,
        margin=options.margin,
        workers=options.workers,
        accelerator=options.accelerator,
        no_crs=options.no_crs,
        date=options.date,
    )
    images = images_of(options.images, options.mosaic)
    if options.blocks:
        check_prefix(options.blocks)
    if options.blocks and len(images) > 1:
        raise SettingsError(f"{len(images)} maps cannot be cut into the same blocks; make one (--mosaic NAME)")
    made = make_maps(results, record, images, options.output, settings, print_line)
    for path in made:
        map_files.write_further(path, images[name_of(path)], options)
    if polygons is not None:
        zones.write_figures(made, polygons, options.output, options.results)
    return 0


def _day(text: str) -> str:
    """Parse a day, as ``2021-07-09``; "" is an unknown one."""
    try:
        return text and date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"a day such as 2021-07-09 is allowed, not {text!r}") from None


def _measure(text: str) -> float:
    """Parse a number of at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of at least 0 is allowed, not {text!r}")
    return number


def _fault(options: argparse.Namespace) -> str:
    """Return which options do not fit each other, "" for none."""
    if options.compare:
        others = options.run or (options.zones and "--zones") or (options.submission and "--submission")
        return f"--compare takes two maps and nothing else, not {others}" if others else ""
    if not options.images:
        return "give a run and its images, as 'landshift map RUN IMAGE --output DIR', or --compare A B"
    if (options.min_area or options.simplify) and not options.vectors:
        return "--min-area and --simplify are of polygons; add --vectors"
    if options.blocks and options.coding != COSIA:
        return "IGN's blocks are in the coding of CosIA; add --coding cosia"
    if options.partial and not options.submission:
        return "--partial is of --submission"
    if options.submission and (len(options.images) > 1 or options.vectors or options.blocks or options.mosaic):
        return "--submission makes no map; give the folder of the data, without --vectors, --blocks and --mosaic"
    return ""
