"""A map as one HTML page that needs no other file and no network: zoomed, above its image, under a slider."""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from benchmark.maps.legend import NO_DATA, Legend
from benchmark.maps.quick_look import confidence_palette, palette
from benchmark.maps.zone_counts import ZoneCounts

MOST_PIXELS = 16_000_000  # of a layer in the page
MOST_BYTES = 12_000_000  # of all tiles in the page, as text
_TILE = 256
_HERE = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of the page.

    Attributes:
        title: its name.
        pixels: (h, w, 3) uint8 colours, or (h, w) uint8 numbers that are drawn in the colours of ``palette``.
        palette: (256, 3) uint8; None where pixels are colours.
        labels: label of each number that is shown under the pointer.
        rows: rows of its legend: colour, and cells, in which a line may end.
        header: what the cells are.
        below: whether it is drawn below the others, as an image is.
        clear: label of a number that is drawn clear, as no data is.
    """

    title: str
    pixels: NDArray[np.uint8]
    palette: NDArray[np.uint8] | None = None
    labels: dict[int, str] | None = None
    rows: Sequence[tuple[str, Sequence[str]]] = ()
    header: Sequence[str] = ()
    below: bool = False
    clear: str = ""


@dataclass(frozen=True)
class Matrix:
    """A table below the map: title, header, rows, and what it means."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def classes_layer(
    title: str,
    legend: Legend,
    pixels: NDArray[np.uint8],
    counts: ZoneCounts,
    *,
    below: bool = False,
    clear: str = "",
) -> Layer:
    """Return the layer of a map of classes, whose legend has the share and the confidence of each that occurs."""
    sure = bool(np.isfinite(counts.confidence).any())
    rows = []
    for number in counts.by_frequency:
        each = legend.classes[number]
        cells = [str(each.value), f"{each.name}\n{each.french}".strip(), _percent(100 * counts.shares[number], 1)]
        rows.append((each.color, [*cells, *([_percent(counts.confidence[number])] if sure else [])]))
    header = ["value", "class", "share", *(["mean confidence"] if sure else [])]
    labels = {each.value: each.name for each in legend.classes}
    return Layer(title, pixels, palette(legend), labels, rows, header, below, clear)


def _percent(number: float, digits: int = 0) -> str:
    return f"{number:.{digits}f} %"


def confidence_layer(title: str, pixels: NDArray[np.uint8]) -> Layer:
    """Return the layer of a map of confidence."""
    colors = confidence_palette()
    rows = [(f"#{bytes(colors[percent]).hex()}", [f"{percent} %"]) for percent in range(0, 101, 20)]
    return Layer(title, pixels, colors, {percent: f"{percent} %" for percent in range(101)}, rows, ["confidence"])


def html_page(
    title: str,
    layers: Sequence[Layer],
    facts: Sequence[tuple[str, str]],
    *,
    pixel: int,
    metres: float | None,
    north: float,
    warnings: Sequence[str] = (),
    tables: Sequence[Matrix] = (),
    no_data: float = 0.0,
) -> str:
    """Return the page. All texts are escaped: names come from data.

    Args:
        title: its heading.
        layers: layers of one size.
        facts: words and values of the table of facts.
        pixel: side of a layer's pixel in pixels of the map.
        metres: side of a layer's pixel in metres; None where it is not known.
        north: direction of north in degrees clockwise from up.
        warnings: what must be known before the map is used.
        tables: tables below the map.
        no_data: share of the map without data.
    """
    levels = list(_levels(layers))
    dropped = 0
    while len(levels) - dropped > 1 and sum(_size(level) for level in levels[dropped:]) > MOST_BYTES:
        dropped += 1  # the finest first
    pixel, metres = pixel << dropped, metres and metres * 2**dropped
    kept = levels[dropped:]
    height, width = layers[0].pixels.shape[:2]
    data = {
        "width": math.ceil(width / 2**dropped),
        "height": math.ceil(height / 2**dropped),
        "zoom": len(kept) - 1,
        "metres": metres,
        "tile": _TILE,
        "layers": [
            _described(layer, [level[number] for level in reversed(kept)]) for number, layer in enumerate(layers)
        ],
    }
    environment = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    return environment.get_template("map.html").render(
        title=title,
        data=data,
        layers=layers,
        facts=facts,
        pixel=pixel,
        north=north,
        known_place=metres is not None,
        warnings=warnings,
        tables=tables,
        no_data=_percent(100 * no_data, 1) if no_data else "",
        script=(_HERE / "static" / "leaflet.js").read_text(encoding="utf-8"),
        style=(_HERE / "static" / "leaflet.css").read_text(encoding="utf-8"),
    )


def _described(layer: Layer, levels: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Return what the script of the page needs of a layer; its levels from the coarsest on."""
    found = {}
    if layer.palette is not None and layer.labels is not None:
        found = {bytes(layer.palette[number]).hex(): label for number, label in layer.labels.items()}
    tiles = {f"{zoom}/{place}": text for zoom, level in enumerate(levels) for place, text in level.items()}
    return {"title": layer.title, "below": layer.below, "labels": found, "clear": layer.clear, "tiles": tiles}


def _levels(layers: Sequence[Layer]) -> Iterator[list[dict[str, str]]]:
    """Yield the tiles of each layer, from the finest level to that of a single tile; each is half the one before."""
    pictures = [layer.pixels for layer in layers]
    while True:
        yield [_tiles(pixels, layer) for pixels, layer in zip(pictures, layers, strict=True)]
        if max(pictures[0].shape[:2]) <= _TILE:
            return
        pictures = [_halved(pixels) for pixels in pictures]


def _halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 2:
        return pixels[::2, ::2]
    size = -(-pixels.shape[1] // 2), -(-pixels.shape[0] // 2)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _tiles(pixels: NDArray[np.uint8], layer: Layer) -> dict[str, str]:
    """Return the tiles of a picture as data addresses, by ``y/x``; those without data are left out."""
    clear = {NO_DATA, *(number for number, label in (layer.labels or {}).items() if label == layer.clear)}
    tiles = {}
    for top in range(0, pixels.shape[0], _TILE):
        for left in range(0, pixels.shape[1], _TILE):
            part = pixels[top : top + _TILE, left : left + _TILE]
            if layer.palette is None or not np.isin(part, list(clear)).all():
                tiles[f"{top // _TILE}/{left // _TILE}"] = _encoded(part, layer.palette, clear)
    return tiles


def _encoded(part: NDArray[np.uint8], colors: NDArray[np.uint8] | None, clear: set[int]) -> str:
    file = io.BytesIO()
    margin = (0, _TILE - part.shape[0]), (0, _TILE - part.shape[1])  # clear beyond the edge
    if colors is None:
        opaque = np.dstack([part, np.full(part.shape[:2], 255, np.uint8)])
        Image.fromarray(np.pad(opaque, (*margin, (0, 0)))).save(file, format="WEBP", quality=80)
    else:
        picture = Image.fromarray(np.pad(part, margin, constant_values=NO_DATA))
        picture.putpalette(colors.tobytes())
        opacity = bytes(0 if number in clear else 255 for number in range(256))
        picture.save(file, format="PNG", optimize=True, transparency=opacity)
    kind = "webp" if colors is None else "png"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _size(level: Sequence[dict[str, str]]) -> int:
    return sum(len(text) for tiles in level for text in tiles.values())
