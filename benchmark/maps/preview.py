"""Looks of a map: a picture for a quick look, and a page in which it is zoomed, above its image."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.maps.files import whole_file
from benchmark.maps.map_file import PAGE, PICTURE, MapFile, name_of
from benchmark.maps.map_page import MOST_PIXELS, Layer, Matrix, classes_layer, confidence_layer, html_page
from benchmark.maps.pieces import OnProgress
from benchmark.maps.quick_look import draw_quick_look, facts_of
from benchmark.maps.small import ground_pixel, north, read_small
from benchmark.maps.zone_counts import count_zones

"""Endings of the two files, beside those of the map."""


def write_preview(
    made: MapFile,
    image: Path | None = None,
    on_progress: OnProgress | None = None,
    *,
    warnings: Sequence[str] = (),
    tables: Sequence[Matrix] = (),
    below: Sequence[tuple[str, MapFile]] = (),
    titles: tuple[str, str] = ("classes", "confidence"),
    clear: str = "",
) -> tuple[Path, Path]:
    """Write the picture and the page of a map beside it; each appears when it is whole.

    Args:
        made: the map.
        image: the image that it was made from; None leaves it out.
        on_progress: called with the number of pieces of the map that are read, and of all.
        warnings: what must be known before the map is used; first in the picture and in the page.
        tables: tables below the map in the page.
        below: further maps on the same grid that the page shows below this one, with their titles.
        titles: what the map of classes and that of confidence are called.
        clear: class that the page leaves clear, so that what is below is seen.

    Returns:
        the paths of the picture and of the page.

    Raises:
        DataError: a file is damaged, or the image is not that of the map.
    """
    (counts,) = count_zones([made], on_progress=on_progress)
    small = read_small(made, image, MOST_PIXELS)
    layers = [classes_layer(titles[0], made.legend, small.classes, counts, clear=clear)]
    if small.confidence is not None:
        layers.append(confidence_layer(titles[1], small.confidence))
    if small.image is not None:
        layers.append(Layer("image", small.image, below=True))
    for title, other in below:
        pixels = read_small(other, None, MOST_PIXELS).classes
        layers.append(classes_layer(title, other.legend, pixels, count_zones([other])[0], below=True))
    metres = ground_pixel(made)
    page = html_page(
        name_of(made.path),
        layers,
        facts_of(made),
        pixel=small.pixel,
        metres=metres and metres * small.pixel,
        north=north(made.transform),
        warnings=warnings,
        tables=tables,
        no_data=counts.no_data / (made.height * made.width),
    )
    picture_path, page_path = (made.path.with_name(name_of(made.path) + ending) for ending in (PICTURE, PAGE))
    with whole_file(picture_path) as half:
        draw_quick_look(made, small, counts, warnings, titles).savefig(half)
    with whole_file(page_path) as half:
        half.write_text(page, encoding="utf-8")
    return picture_path, page_path
