"""A picture of a data set: patches of each domain with their classes, and where places, times and zones are."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmark.data.catalog import Catalog
from benchmark.data.classes import IGNORE
from benchmark.data.patch_images import (
    GAP,
    SIDE,
    choose_patches,
    colorize,
    draw_legend,
    fitting,
    legend_height,
    letters,
    to_rgb,
)
from benchmark.data.patches import read_patches

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 4  # patches of a domain
MOST_DOMAINS = 12
CANDIDATES = 24  # patches of a domain that are read
_TEXT, _TITLE = 11, 16


@dataclass(frozen=True)
class DomainSample:
    """Some patches of one domain: their rows in the catalog, (n, C, S, S) images and (n, S, S) class indices."""

    domain: str
    rows: pd.DataFrame
    images: NDArray
    masks: NDArray[np.uint8]


def sample_domains(catalog: Catalog) -> list[DomainSample]:
    """Read a few patches of each domain, of at most `MOST_DOMAINS`, and choose those that show its classes.

    Raises:
        DataError: a file is missing or wrong; the message names it.
    """
    domains = catalog.domain
    samples = []
    for domain in _spread(sorted(domains.unique()), MOST_DOMAINS):
        rows = catalog.patches[domains == domain]
        rows = rows.iloc[_spread(range(len(rows)), CANDIDATES)]
        files = [(part, read_patches(catalog, part)) for _, part in rows.groupby("image", sort=False)]
        rows = pd.concat([part for part, _ in files])
        images = np.concatenate([patches.images for _, patches in files])
        masks = np.concatenate([patches.masks for _, patches in files])
        counts = np.array([np.bincount(mask[mask != IGNORE], minlength=catalog.classes.num_classes) for mask in masks])
        chosen = choose_patches(counts, SHOWN)
        samples.append(DomainSample(domain, rows.iloc[chosen], images[chosen], masks[chosen]))
    return samples


def draw_preview(catalog: Catalog, samples: Sequence[DomainSample]) -> Image.Image:
    """Draw a row a domain, image and truth of each patch above its id; then the classes, and a map of the patches."""
    step, below = SIDE + GAP, SIDE + _TEXT + 2 * GAP
    width = 2 * SHOWN * step + GAP
    rows_height = sum(_TITLE + 2 * GAP + below for _ in samples)
    legend = legend_height(catalog.classes, _TITLE)
    chart = _draw_map(catalog, width)
    canvas = Image.new("RGB", (width, _TITLE + 2 * GAP + rows_height + legend + 3 * GAP + chart.height), "white")
    draw, title, small = ImageDraw.Draw(canvas), letters(_TITLE), letters(_TEXT)
    domains = catalog.domain.value_counts()
    some = "" if len(samples) == len(domains) else f", of which {len(samples)} are shown"
    head = f"{catalog.name}: {len(catalog)} patches of {catalog.patch_size} pixels in {len(domains)} domains{some}"
    draw.text((GAP, GAP), head, fill="black", font=title)
    pictures = to_rgb(np.concatenate([sample.images for sample in samples]), catalog.bands)
    top, number = _TITLE + 2 * GAP, 0
    for sample in samples:
        draw.text((GAP, top + GAP), f"{sample.domain}: {domains[sample.domain]} patches", fill="black", font=title)
        top += _TITLE + 2 * GAP
        truths = colorize(sample.masks, catalog.classes)
        for place, (_, row) in enumerate(sample.rows.iterrows()):
            for side, picture in enumerate((pictures[number], truths[place])):
                corner = GAP + (2 * place + side) * step, top
                canvas.paste(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.NEAREST), corner)
            if not row["mask"]:
                draw.text((corner[0] + GAP, top + GAP), "no mask", fill="white", font=small)
            text = fitting(draw, str(row["id"]), 2 * SIDE, small)
            draw.text((GAP + 2 * place * step, top + SIDE + 2), text, fill="black", font=small)
            number += 1
        top += below
    draw_legend(canvas, catalog.classes, top + GAP, _TITLE)
    canvas.paste(chart, (0, top + legend + 2 * GAP))
    return canvas


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many items, evenly spread."""
    return [
        items[int(number)] for number in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).astype(int))
    ]


def _draw_map(catalog: Catalog, width: int) -> Image.Image:
    """Draw all places with their times, and beside them the zones of the place with the most patches."""
    import matplotlib

    matplotlib.rcParams["text.parse_math"] = False  # a name with $ is no formula
    from matplotlib.figure import Figure

    patches = catalog.patches
    known = bool(np.isfinite(patches[["x", "y"]]).all(axis=None))
    figure = Figure(figsize=(width / 100, 5), dpi=100)
    left, right = figure.subplots(1, 2)
    if known:
        _draw_places(left, patches)
        _draw_zones(right, catalog)
    else:
        _draw_grid(left, patches)
        right.axis("off")
        right.text(0, 0.5, "no coordinates are known (x, y, or georeferenced images)", wrap=True)
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    with Image.open(picture, formats=["PNG"]) as drawn:
        return drawn.convert("RGB")


def _draw_places(axes: "Axes", patches: pd.DataFrame) -> None:
    times = sorted(patches["time"].unique())
    for number, time in enumerate(times):  # the first are the largest: those of one ground are rings around each other
        group, size = patches[patches["time"] == time], 4 + 10 * (len(times) - 1 - number) / len(times)
        axes.plot(group["x"], group["y"], "o", markersize=size, label=str(time) or "no time")
    for place, group in patches.groupby("place"):
        middle = group["x"].mean(), group["y"].mean()
        axes.annotate(str(place), middle, xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8)
    if len(times) <= 20:
        axes.legend(title="time", fontsize=7)
    axes.set_title("places (x, y)")
    _as_a_map(axes)


def _draw_zones(axes: "Axes", catalog: Catalog) -> None:
    patches = catalog.patches
    place = patches["place"].value_counts().index[0]
    here = patches[patches["place"] == place]
    colors = {zone: f"C{number % 10}" for number, zone in enumerate(sorted(here["zone"].unique()))}
    if catalog.footprints is None:
        axes.scatter(here["x"], here["y"], c=[colors[zone] for zone in here["zone"]], s=12)
    else:
        from matplotlib.patches import Rectangle

        boxes = catalog.footprints.loc[here["id"]]
        for zone, (west, south, east, north) in zip(here["zone"], boxes.to_numpy(), strict=True):
            axes.add_patch(
                Rectangle(
                    (west, south), east - west, north - south, facecolor=colors[zone], alpha=0.4, edgecolor="black"
                )
            )
        middles = boxes[["west", "east"]].mean(axis=1), boxes[["south", "north"]].mean(axis=1)
        axes.plot(*middles, ".", markersize=1, color="black")
    axes.set_title(f"{place}: {len(here)} patches in {len(colors)} zones (colours may repeat)")
    _as_a_map(axes)


def _as_a_map(axes: "Axes") -> None:
    axes.margins(0.15)
    axes.set_aspect("equal", adjustable="datalim")
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.tick_params(labelsize=7)


def _draw_grid(axes: "Axes", patches: pd.DataFrame) -> None:
    """Draw the numbers of patches and zones of each place and time."""
    places, times = sorted(patches["place"].unique()), sorted(patches["time"].unique())
    groups = patches.groupby(["place", "time"])
    for (place, time), group in groups:
        text = f"{len(group)} patches\n{group['zone'].nunique()} zones"
        axes.text(times.index(time), places.index(place), text, ha="center", va="center", fontsize=7)
    axes.set_xlim(-0.5, len(times) - 0.5)
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xticks(range(len(times)), [time or "no time" for time in times], fontsize=7)
    axes.set_yticks(range(len(places)), places, fontsize=7)
    axes.set_title("places and times")
