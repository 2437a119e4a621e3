"""``landshift map``: georeferenced predictions of a finished run."""

import argparse
from pathlib import Path

from benchmark.cli import options as shared
from benchmark.cli import zones

CODINGS = MASKS, COSIA = "masks", "cosia"  # those of `benchmark.maps.coding`, which a help need not import
EPILOG = """\
examples:
  landshift map 3f2a ortho.tif --output maps             the run whose id begins so, on one image of any size
  landshift map best:dann@D075_2021 tiles --output maps  the best of a method's runs on a fold, on a folder of images
  landshift map 3f2a tiles/*.tif --mosaic town --output maps   tiles of one mosaic, in one map
  landshift map best:dann ortho.tif --output maps --preview    and a picture and a page to look at
  landshift map --compare 2019/town.classes.tif 2021/town.classes.tif --output change    what became what
  landshift map 3f2a ortho.tif --output maps --coding cosia --blocks D049_2022 --vectors   as IGN delivers CosIA
  landshift map 3f2a data/flair1 --output maps --submission flair1   the files of a challenge

A map of an image NAME is DIR/NAME.classes.tif, the class of each pixel, and DIR/NAME.confidence.tif, its probability in
percent; 255 is no data in both. An interrupted command goes on where it was, when it is given again.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.set_defaults(resumes=True)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="first characters of its id; or best:METHOD, best:METHOD@FOLD, by source validation",
    )
    parser.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="images, or folders of some; each gets a map of its own"
    )
    parser.add_argument("--output", type=shared.folder, required=True, metavar="DIR", help="where to write the maps")
    parser.add_argument("--mosaic", default="", metavar="NAME", help="all images are tiles of one map of this name")
    parser.add_argument(
        "--preview",
        action="store_true",
        help="also write DIR/NAME.preview.png, a quick look, and DIR/NAME.preview.html, the map above its image, to "
        "zoom, which needs no network",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="compare two maps of classes of one ground, A the earlier, instead of making maps",
    )
    parser.add_argument(
        "--date", default="", metavar="DAY", help="when the images were taken, if their files do not say"
    )
    parser.add_argument("--no-crs", action="store_true", help="take images without a place on the earth, too")
    parser.add_argument("--probabilities", action="store_true", help="also write the percentages of all classes")
    parser.add_argument(
        "--coding", choices=CODINGS, default=MASKS, help="values as in the masks (default), or the numbers of CosIA"
    )
    parser.add_argument(
        "--vectors", action="store_true", help="also write the polygons of the classes, NAME.gpkg (of --blocks: theirs)"
    )
    parser.add_argument(
        "--min-area",
        type=_measure,
        default=0.0,
        metavar="M2",
        help="of --vectors: smaller patches, in m², join others",
    )
    parser.add_argument(
        "--simplify",
        type=_measure,
        default=0.0,
        metavar="M",
        help="of --vectors: about how far outlines may move, in m",
    )
    parser.add_argument(
        "--blocks", default="", metavar="DEP_YEAR", help="also cut the map into IGN's blocks of 10 km, as D049_2022"
    )
    parser.add_argument(
        "--submission",
        default="",
        metavar="CHALLENGE",
        help="no map, but the file of flair1 or flair2; the image is the folder of the data",
    )
    parser.add_argument("--partial", action="store_true", help="of --submission: the data lack some of the test")
    parser.add_argument(
        "--window", type=shared.positive, metavar="PIXELS", help="side of what is predicted at once (default: chosen)"
    )
    parser.add_argument(
        "--margin",
        type=shared.positive,
        metavar="PIXELS",
        help="what of it is not kept on each side (default: as far as the network is measured to look)",
    )
    parser.add_argument(
        "--workers",
        type=shared.positive,
        metavar="N",
        help="processes that share the blocks (default: one a GPU, or 1)",
    )
    parser.add_argument("--accelerator", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument("--protocol", default="", metavar="P", help="of best:METHOD, where several have runs of it")
    parser.add_argument("--comparison", default="", metavar="KEY", help="of best:METHOD, where a protocol has several")
    zones.add_zones(parser)
    shared.add_results(parser)


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
    from benchmark.maps.map_file import name_of
    from benchmark.maps.predict import MapOptions, make_maps
    from benchmark.maps.reading import images_of
    from benchmark.maps.trained import find_run

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
    if options.blocks and len(images) > 1:
        raise SettingsError(f"{len(images)} maps cannot be cut into the same blocks; make one (--mosaic NAME)")
    made = make_maps(results, record, images, options.output, settings, print_line)
    for path in made:
        print_line(f"written: {path}")
        map_files.write_further(path, images[name_of(path)], options)
    if polygons is not None:
        zones.write_figures(made, polygons, options.output, options.results)
    return 0


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
