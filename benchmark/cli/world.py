"""``landshift world``: generate a synthetic world."""

import argparse
from pathlib import Path

from benchmark.common.errors import SettingsError

SIZES = {
    "places": ("number of places", 4),
    "times": ("number of times, one a year", 3),
    "zones": ("zones in each place", 24),
    "zone_side": ("patches along the side of a zone; a large zone is a scene to map", 2),
}  # with the defaults of `benchmark.data.synthetic.World`, which a help need not import
SHIFTS = ("class_mix", "materials", "settlement", "phenology", "sun", "atmosphere")
OF_SERIES = {
    "season_shift": "with --series: the second year 30 days late, the third early",
    "cloudiness": "with --series: clouds, snow and gaps",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("folder", type=Path, help="where to write it")
    parser.add_argument("--seed", type=int, default=0)
    for size, (text, default) in SIZES.items():
        parser.add_argument(
            f"--{size.replace('_', '-')}", type=int, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    parser.add_argument("--series", action="store_true", help="add a year of Sentinel-2 images, as in FLAIR #2")
    for shift in (*SHIFTS, *OF_SERIES):
        text = f"{OF_SERIES[shift]}; " if shift in OF_SERIES else ""
        parser.add_argument(
            f"--{shift.replace('_', '-')}",
            type=float,
            default=1.0,
            metavar="STRENGTH",
            help=f"{text}0 for none, 1 the default, 5 at most",
        )


def world(options: argparse.Namespace) -> int:
    """Run ``landshift world``: generate a world."""
    from benchmark.data.default_world import generate_with_bar
    from benchmark.data.flair import read_flair
    from benchmark.data.patch_images import domain_sheet
    from benchmark.data.synthetic import World

    settings = {name: getattr(options, name) for name in ("seed", "series", *SIZES, *SHIFTS, *OF_SERIES)}
    try:
        generate_with_bar(World(**settings), options.folder)
    except (ValueError, FileExistsError) as error:
        raise SettingsError(str(error)) from error
    domain_sheet(read_flair(options.folder, name="world")).save(options.folder / "world.png")
    print(f"the world is in {options.folder}, a picture of its domains in {options.folder}/world.png")
    print(f"use it with --data {options.folder}")
    return 0


def prepare(options: argparse.Namespace) -> None:
    """Generate the default world with a progress bar, where it is wanted and not there yet."""
    from benchmark.data.default_world import prepare_world
    from protocols.files import load

    if load(options.protocol).dataset == "world" and options.data is None:
        prepare_world()
