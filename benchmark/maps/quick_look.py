"""A quick look at a map as one picture: image, classes and confidence beside each other, with legend and facts."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.maps.legend import Legend
from benchmark.maps.map_file import FACTS, MapFile, name_of
from benchmark.maps.small import SmallMap, ground_pixel, north
from benchmark.maps.zone_counts import ZoneCounts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL, _DPI, _LINE = 6.4, 100, 0.2  # longer side of a panel, and height of a line, in inches
_MOST = 14  # classes
WORDS = {name: name.replace("_", " ") for name in FACTS if name not in ("doubts", "no_data_share")} | {
    "fold": "held-out fold",
    "training_domains": "trained on",
    "image_date": "date of the image",
}
"""Facts of a map in words."""


def palette(legend: Legend) -> NDArray[np.uint8]:
    """Return the colour (256, 3) of each value of a map; no data, and what is no class, is white."""
    colors = np.full((256, 3), 255, np.uint8)
    for each in legend.classes:
        colors[each.value] = each.rgb
    return colors


def confidence_palette() -> NDArray[np.uint8]:
    """Return the colour (256, 3) of each percent of confidence, dark for little; no data is white."""
    import matplotlib

    shades = matplotlib.colormaps["viridis"](np.linspace(0, 1, 101))[:, :3]
    return np.concatenate([np.rint(255 * shades), np.full((155, 3), 255)]).astype(np.uint8)


def facts_of(made: MapFile) -> list[tuple[str, str]]:
    """Return what a map says of itself as pairs of words and values, size and coordinates included."""
    size = f"{made.width:,} x {made.height:,} pixels"
    metres = ground_pixel(made)
    if metres is not None:
        size += f" of {metres:.3g} m"
    place = "none" if made.crs is None else made.crs.to_string() if made.crs.to_epsg() else made.crs.to_wkt()[:60]
    known = [(WORDS[name], text) for name, text in made.facts.items() if text and name in WORDS]
    return [("size", size), ("coordinate system", place), ("coding", made.legend.coding), *known]


def scale_bar(pixel: float, longest: float) -> tuple[float, str]:
    """Return a round length for a scale bar, at most so many pixels long, in pixels, and its label.

    Args:
        pixel: side of a pixel in metres.
        longest: longest bar, in pixels.
    """
    most = pixel * longest
    power = 10.0 ** math.floor(math.log10(most))
    length = max(step * power for step in (1, 2, 5) if step * power <= most)
    return length / pixel, f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"


def draw_quick_look(
    made: MapFile,
    small: SmallMap,
    counts: ZoneCounts,
    warnings: Sequence[str] = (),
    titles: tuple[str, str] = ("classes", "confidence"),
) -> "Figure":
    """Draw the picture.

    Args:
        made: the map.
        small: its pixels.
        counts: its classes.
        warnings: texts above the panels, in red.
        titles: titles of the classes and of their confidence.
    """
    from matplotlib import rc_context
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    panels = [] if small.image is None else [("image", small.image)]
    panels.append((titles[0], palette(made.legend)[small.classes]))
    if small.confidence is not None:
        panels.append((titles[1], confidence_palette()[small.confidence]))
    wide = max(len(panels), 2)
    lines = [line for warning in warnings for line in textwrap.wrap(f"! {warning}", 85 * wide)]
    entries = list(_entries(made.legend, counts))
    facts = [textwrap.shorten(f"{word}: {value}", 50 * wide, placeholder="…") for word, value in facts_of(made)]
    height, width = small.classes.shape
    tall = PANEL * height / max(height, width)
    heights = [0.5 + len(lines) * _LINE, tall + 1.1, max(-(-len(entries) // 2), len(facts)) * _LINE + 0.3]
    with rc_context({"text.parse_math": False, "font.size": 9}):  # a name may have a $
        canvas = Figure(((PANEL + 0.2) * wide, sum(heights)), dpi=_DPI, layout="constrained")
        parts: Any = canvas.subfigures(3, 1, height_ratios=heights)
        top, middle, below = parts
        top.text(0.01, 0.95, name_of(made.path), va="top", size=14)
        top.text(0.01, 1 - 0.38 / heights[0], "\n".join(lines), va="top", color="#b3261e")
        all_axes = middle.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, pixels) in zip(all_axes, panels, strict=True):
            axes.set(title=title, xticks=[], yticks=[])
            axes.imshow(_resized(pixels, title == "image"), extent=(0, width, height, 0), interpolation="nearest")
        _draw_scale(all_axes[0], made, small.pixel, width)
        if small.confidence is not None:
            shades = ScalarMappable(Normalize(0, 100), "viridis")
            middle.colorbar(
                shades, ax=list(all_axes), location="bottom", shrink=0.3, aspect=40, label=f"{titles[1]}, %"
            )
        handles = [Patch(facecolor=color, edgecolor="black", label=label) for color, label in entries]
        below.legend(handles=handles, ncols=2, loc="upper left", frameon=False)
        below.text(1 / wide + 0.003, 0.97, "\n".join(facts), va="top", linespacing=1.5)
    return canvas


def _resized(pixels: NDArray[np.uint8], is_image: bool) -> Image.Image:
    """Return pixels at the size of a panel."""
    height, width = pixels.shape[:2]
    zoom = PANEL * _DPI / max(height, width)
    how = Image.Resampling.BOX if is_image and zoom < 1 else Image.Resampling.NEAREST
    return Image.fromarray(pixels).resize((max(1, round(width * zoom)), max(1, round(height * zoom))), how)


def _draw_scale(axes: Any, made: MapFile, pixel: int, width: int) -> None:
    """Draw a bar of a round length, and where north is."""
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]

    metres = ground_pixel(made)
    length, label = scale_bar((metres or 1) * pixel, width / 3)
    label = label if metres else f"{length * pixel:.0f} pixels"
    axes.add_artist(AnchoredSizeBar(axes.transData, length, label, "lower left"))
    if metres:
        angle = math.radians(north(made.transform))
        tail, box = (-24 * math.sin(angle), -24 * math.cos(angle)), {"facecolor": "white", "alpha": 0.7, "pad": 1}
        places = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center", "va": "center"}
        axes.annotate("N", (0.94, 0.94), tail, arrowprops={"arrowstyle": "-|>", "color": "black"}, bbox=box, **places)


def _entries(legend: Legend, counts: ZoneCounts) -> Iterator[tuple[str, str]]:
    """Yield colour, and share and name, of the classes that the map has, by their share; few are left out."""
    order, shares = counts.by_frequency, counts.shares
    for number in order[:_MOST]:
        yield legend.classes[number].color, f"{shares[number]:.1%}  {legend.classes[number].name[:40]}"
    if rest := order[_MOST:]:
        yield "#ffffff", f"{shares[rest].sum():.1%}  {len(rest)} further classes"
    if counts.no_data:
        share = counts.no_data / (counts.pixels.sum() + counts.no_data)
        yield "#ffffff", f"{share:.1%}  of all pixels: no data"
