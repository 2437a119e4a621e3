"""``landshift map``: georeferenced predictions of a finished run."""

import argparse
from pathlib import Path

from benchmark.cli import options as shared
from benchmark.cli import zones

CODINGS = MASKS, _ = "masks", "cosia"  # those of `benchmark.maps.coding`, which a help need not import
EPILOG = """\
examples:
  landshift map 3f2a ortho.tif --output maps             the run whose id begins so, on one image of any size
  landshift map best:dann@D075_2021 tiles --output maps  the best of a method's runs on a fold, on a folder of images
  landshift map 3f2a tiles/*.tif --mosaic town --output maps   tiles of one mosaic, in one map
  landshift map best:dann ortho.tif --output maps --preview    and a picture and a page to look at
  landshift map --compare 2019/town.classes.tif 2021/town.classes.tif --output change    what became what

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
    from benchmark.common.console import FileBar, print_line
    from benchmark.common.errors import SettingsError, TrackingError
    from benchmark.experiments.results import ResultsFolder, has_results

    if options.compare:
        if options.run:
            raise SettingsError(f"--compare A B takes two maps and neither a run nor images, such as '{options.run}'")
        if options.zones:
            raise SettingsError("--compare A B counts no zones; give 'landshift zones' the maps")
        return _compare(options)
    if not options.images:
        raise SettingsError("give a run and its images, as 'landshift map RUN IMAGE --output DIR', or --compare A B")
    from benchmark.maps.map_file import name_of, read_map
    from benchmark.maps.predict import MapOptions, make_maps
    from benchmark.maps.preview import write_preview
    from benchmark.maps.reading import images_of
    from benchmark.maps.trained import find_run

    if not has_results(options.results):
        raise TrackingError(f"there are no runs in {options.results} (see --results)")
    polygons = zones.read(options)
    results = ResultsFolder(options.results)
    record = find_run(results, options.run, options.protocol, options.comparison)
    print_line(f"run {record.id}: {record.name}")
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
    made = make_maps(results, record, images, options.output, settings, print_line)
    for path in made:
        print_line(f"written: {path}")
        if options.preview:
            with FileBar(f"preview of {name_of(path)}") as bar:
                written = write_preview(read_map(path), images[name_of(path)], bar)
            print_line(f"written: {written[0]}, {written[1]}")
    if polygons is not None:
        zones.write_figures(made, polygons, options.output, options.results)
    return 0


def _compare(options: argparse.Namespace) -> int:
    """Compare two maps, and say what changed and what makes that doubtful."""
    from benchmark.common.console import FileBar, print_line
    from benchmark.maps.change import NAME, TABLE, change_map, compare_maps
    from benchmark.maps.change_page import write_change_preview
    from benchmark.maps.map_file import read_map

    a, b = (read_map(path) for path in options.compare)
    with FileBar("pieces of both maps") as bar:
        change = compare_maps(a, b, options.output, bar)
    written = write_change_preview(a, b, change, options.output)
    for doubt in change.doubts:
        print_line(f"WARNING: {doubt}")
    print_line(f"{change.changed:.2%} of the pixels with data in both maps changed their class")
    for path in (change_map(options.output).path, options.output / f"{NAME}{TABLE}", *written):
        print_line(f"written: {path}")
    return 0
