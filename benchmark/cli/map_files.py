"""Files that ``landshift map`` writes beside a map: pictures, polygons, blocks, submissions and changes."""

import argparse
from pathlib import Path

from benchmark.common.console import FileBar, print_line
from benchmark.experiments.run_record import RunRecord
from benchmark.maps.change import NAME, TABLE, change_map, compare_maps
from benchmark.maps.change_page import write_change_preview
from benchmark.maps.ign_blocks import write_blocks
from benchmark.maps.map_file import name_of, read_map
from benchmark.maps.preview import write_preview
from benchmark.maps.submit import submit as write_submission
from benchmark.maps.trained import load_run
from benchmark.maps.vectors import write_vectors


def compare(options: argparse.Namespace) -> None:
    """Compare two maps, and say what changed and what makes that doubtful."""
    a, b = (read_map(path) for path in options.compare)
    with FileBar("pieces of both maps") as bar:
        change = compare_maps(a, b, options.output, bar)
    written = write_change_preview(a, b, change, options.output)
    for doubt in change.doubts:
        print_line(f"WARNING: {doubt}")
    print_line(f"{change.changed:.2%} of the pixels with data in both maps changed their class")
    for path in (change_map(options.output).path, options.output / f"{NAME}{TABLE}", *written):
        print_line(f"written: {path}")


def submit(record: RunRecord, options: argparse.Namespace) -> None:
    """Write the files of a challenge."""
    options.output.mkdir(parents=True, exist_ok=True)
    target, name = options.output / f"{options.submission}.zip", options.submission
    with FileBar(f"images of {name}") as bar:
        number = write_submission(
            load_run(record, options.accelerator), options.images[0], name, target, options.partial, bar
        )
    print_line(f"written: {target} ({number:,} predictions)")


def write_further(path: Path, image: Path, options: argparse.Namespace) -> None:
    """Write the picture and the page, the polygons and the blocks of a map."""
    made, sizes = read_map(path), (options.min_area, options.simplify)
    if options.preview:
        with FileBar(f"preview of {name_of(path)}") as bar:
            written = write_preview(made, image, bar)
        print_line(f"written: {written[0]}, {written[1]}")
    if options.blocks:
        for vectors in (False, True) if options.vectors else (False,):
            with FileBar("blocks of 10 km") as bar:
                for block in write_blocks(made, path.parent, options.blocks, vectors, *sizes, bar):
                    print_line(f"written: {block}")
    elif options.vectors:
        target = path.with_name(f"{name_of(path)}.gpkg")
        with FileBar(f"polygons of {name_of(path)}") as bar:
            number = write_vectors(made, target, *sizes, on_progress=bar)
        print_line(f"written: {target} ({number:,} polygons)")
