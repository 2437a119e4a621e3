"""The figures of zones as files: CSV, GeoPackage, and an HTML page with a map and bars that needs no other file."""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from benchmark.common.errors import TrackingError
from benchmark.experiments.checkpoint_records import matrices_at
from benchmark.experiments.results import ResultsFolder
from benchmark.maps.files import whole_file, write_csv
from benchmark.maps.indicators import CAUTION, UNKNOWN, kinds_of, lacks
from benchmark.maps.legend import Legend
from benchmark.maps.map_file import MapFile
from benchmark.maps.pieces import OnProgress
from benchmark.maps.zone_counts import count_zones
from benchmark.maps.zone_table import (
    INDICATORS,
    ZoneFigures,
    class_rows,
    figures_of,
    write_geopackage,
    zone_rows,
)
from benchmark.maps.zones import Zones, outline
from benchmark.reporting.html import Figure, Section, html_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILES = ("zones.csv", "zone-classes.csv", "zones.gpkg", "zones.html")
MOST_BARS, MOST_ROWS, MOST_NAMES = 40, 500, 60  # zones that the page draws as bars, lists, and names on its map
_LOWER, _UPPER = INDICATORS[1:]
_MISTAKEN = "mapped as another class, so neither bound is certain"
_FACTS = ("run", "method", "protocol", "fold", "seed", "image_date", "software")
ABOUT = """\
A pixel is of every zone that holds its centre. Shares are of the ground in the zone whose class is known. Coverage:
what of the zone is on the maps, with data or without. Unknown: pixels without data, or of the class "other". Sealed:
buildings and impervious surfaces. Lower bound of the artificialised share: and pervious surfaces and swimming pools;
upper bound: and herbaceous vegetation, greenhouses and bare soil, of which the use decides."""
ABOUT_CORRECTED = """\
Corrected: less the mean error on the {number} labelled zones of the test of the run that made the maps, with the 95 %
interval of a further zone like these, not given for a zone smaller than half of them. It says nothing of other domains
than {domain}."""


def report_zones(
    maps: Sequence[MapFile],
    zones: Zones | None,
    output: Path,
    labelled: Sequence[NDArray[np.int64]] = (),
    on_progress: OnProgress | None = None,
) -> list[Path]:
    """Count the classes of maps in zones, and write `FILES` into a folder; each appears when it is whole.

    Args:
        maps: maps of one legend, on grounds of their own.
        zones: the zones; None for one zone that is the whole of all maps.
        labelled: confusion matrices of the labelled zones of the run that made the maps (`figures_of`).
        on_progress: called with the number of pieces of the maps that are read, and of all.

    Raises:
        DataError: see `count_zones` and `figures_of`.
    """
    figures = figures_of(count_zones(maps, zones, on_progress), maps[0].legend, labelled)
    zones = zones or outline(maps)
    output.mkdir(parents=True, exist_ok=True)
    paths = [output / name for name in FILES]
    rows = zone_rows(figures)
    write_csv(rows, paths[0])
    write_csv(class_rows(figures), paths[1])
    write_geopackage(rows, zones, paths[2])
    with whole_file(paths[3]) as half:
        half.write_text(page_of(figures, zones, maps, len(labelled)), encoding="utf-8")
    return paths


def labelled_zones(maps: Sequence[MapFile], results: ResultsFolder) -> list[NDArray[np.int64]]:
    """Return the confusion matrices of the test of the run that made all of some maps; none where it is not known."""
    runs = {each.facts.get("run", "") for each in maps}
    if len(runs) > 1 or "" in runs:
        return []
    try:
        record = results.find(*runs)
    except TrackingError:
        return []
    return list(matrices_at(record.artifacts, int(record.metrics.get("selected/step", 0))).values())


def page_of(figures: Sequence[ZoneFigures], zones: Zones, maps: Sequence[MapFile], labelled: int) -> str:
    """Return the page. Tables and bars show the largest zones where there are many."""
    legend, facts = maps[0].legend, maps[0].facts
    order = np.argsort([-each.counts.pixels.sum() for each in figures], kind="stable")
    largest = [figures[index] for index in sorted(order[:MOST_ROWS].tolist())]
    bars = [figures[index] for index in order[:MOST_BARS]]
    has_bounds, names = _LOWER in figures[0].names, [each.name for each in legend.classes]
    quantities = list(INDICATORS) if has_bounds else names
    about = ABOUT if has_bounds else ABOUT.partition(" Sealed:")[0]
    if labelled:
        about += " " + ABOUT_CORRECTED.format(number=labelled, domain=facts.get("fold", "that"))
    if len(figures) > len(largest):
        about += f" The {len(largest)} largest of {len(figures)} zones; zones.csv has all."
    rows = [
        [
            *(each.counts.name, _number(each.counts.area.sum() / 1e6), _percent(each.counts.coverage)),
            *([_percent(each.unknown)] if has_bounds else []),
            *(_shown(each, name) for name in quantities),
        ]
        for each in largest
    ]
    classes = [[each.counts.name, *map(_percent, each.shares[: len(names)])] for each in largest]
    map_of = _figure(lambda axes: _draw_map(axes, figures, zones, legend), "The zones.", 7)
    height = 1.6 + 0.3 * len(bars)
    bars_of = _figure(lambda axes: _draw_classes(axes, bars, legend), "Share of each class.", height)
    percents = ["coverage", *(["unknown"] if has_bounds else []), *map(_words, quantities)]
    header = ["zone", "km²", *(f"{name}, %" for name in percents)]
    sections = [
        Section("Zones", header, rows, [map_of], about.replace("\n", " ")),
        Section("Classes", ["zone", *names], classes, [bars_of], "Percent of the ground with data, as counted."),
    ]
    if has_bounds:
        caption = "Sealed share, and bounds of the artificialised share."
        bounds_of = _figure(lambda axes: _draw_bounds(axes, bars), caption, height)
        sections.insert(1, Section("Bounds of the artificialised share", figures=[bounds_of], note=CAUTION))
    made = ", ".join(f"{name.replace('_', ' ')} {facts[name]}" for name in _FACTS if name in facts)
    title = f"{_counted(len(figures), 'zone')} on {_counted(len(maps), 'map')}, classes of {legend.coding}."
    cautions = list(_cautions(legend, figures, has_bounds, bool(labelled)))
    return html_page("Figures of zones", title, "", [], "", cautions, sections, made)


def _cautions(legend: Legend, figures: Sequence[ZoneFigures], has_bounds: bool, is_corrected: bool) -> Iterator[str]:
    outside = [each.counts.name for each in figures if each.counts.coverage == 0]
    named = f"{', '.join(outside[:5])}{', …' * (len(outside) > 5)}"
    partly = sum(0 < each.counts.coverage < 0.999 for each in figures)
    if not has_bounds:
        yield "These classes have no bounds of the artificialised share; shares of classes only."
    else:
        yield CAUTION
        if missing := lacks(legend):
            hidden = "within 'other', which the upper bound counts" if UNKNOWN in kinds_of(legend) else _MISTAKEN
            yield f"No class of their own have {' and '.join(missing)}: they are {hidden}."
    if not is_corrected:
        yield "Not corrected for the errors of the map: its run was not found, or keeps no labelled zones."
    if outside:
        yield f"Outside of the maps: {_counted(len(outside), 'zone')} ({named})."
    if partly:
        yield f"Partly outside of the maps: {_counted(partly, 'zone')}; see the coverage."


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number > 1)}"


def _shown(each: ZoneFigures, name: str) -> str:
    """Return a quantity in percent, and its corrected value with the interval where these are known."""
    share, corrected, low, high = each.quantity(name)
    if not np.isfinite(corrected):
        return _percent(share)
    around = f" [{_percent(low)}, {_percent(high)}]" if np.isfinite(low) else ""
    return f"{_percent(share)}; corrected {_percent(corrected)}{around}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if np.isfinite(value) else "–"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if np.isfinite(share) else "–"


def _words(name: str) -> str:
    return {_LOWER: "artificialised, lower bound", _UPPER: "artificialised, upper bound"}.get(name, name)


def _figure(draw: Callable[["Axes"], Any], caption: str, height: float) -> Figure:
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    file = io.BytesIO()
    with rc_context({"text.parse_math": False}):  # a name may have a $
        canvas = Canvas(figsize=(9, height), layout="constrained")
        draw(canvas.add_subplot())
        canvas.savefig(file, format="png", dpi=110)
    return Figure.drawn(Image.open(file), caption)


def _draw_map(axes: "Axes", figures: Sequence[ZoneFigures], zones: Zones, legend: Legend) -> None:
    """Draw the zones in their coordinate system, by their sealed share; without one, by their most frequent class."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import PathPatch
    from matplotlib.patheffects import withStroke

    patches = PatchCollection(
        [PathPatch(_path(polygon)) for polygon in zones.polygons], edgecolor="#444", linewidth=0.6
    )
    if INDICATORS[0] in figures[0].names:
        patches.set(array=100 * np.array([each.quantity(INDICATORS[0])[0] for each in figures]), cmap="YlOrRd")
        axes.figure.colorbar(patches, ax=axes, label="sealed, % (as counted)", shrink=0.8)
    else:
        colors = [each.color for each in legend.classes]
        patches.set_facecolor(
            [colors[int(each.counts.pixels.argmax())] if each.counts.pixels.any() else "#fff" for each in figures]
        )
    axes.add_collection(patches)
    axes.autoscale_view()
    south, north = axes.get_ylim()
    is_degrees = zones.crs is not None and zones.crs.is_geographic
    axes.set_aspect(1 / np.cos(np.radians((south + north) / 2)) if is_degrees else 1)
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.tick_params(labelsize=7)
    if len(figures) <= MOST_NAMES:
        halo = [withStroke(linewidth=2, foreground="white")]
        for each, point in zip(figures, shapely.point_on_surface(zones.polygons), strict=True):
            place = point.x, point.y
            axes.annotate(each.counts.name[:30], place, ha="center", va="center", fontsize=7, path_effects=halo)


def _path(polygon: Any) -> Any:
    from matplotlib.path import Path as Outline

    parts = shapely.get_parts(polygon)
    rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
    return Outline.make_compound_path(*(Outline(shapely.get_coordinates(ring), closed=True) for ring in rings))


def _draw_classes(axes: "Axes", figures: Sequence[ZoneFigures], legend: Legend) -> None:
    """Draw a bar a zone, of the shares of its classes in their colours."""
    places = np.arange(len(figures))
    starts = np.zeros(len(figures))
    for index, each in enumerate(legend.classes):
        shares = 100 * np.nan_to_num([zone.shares[index] for zone in figures])
        axes.barh(places, shares, left=starts, color=each.color, label=each.name, edgecolor="#666", linewidth=0.3)
        starts += shares
    _name_bars(axes, figures, "share of the known ground, %")
    axes.legend(fontsize=7, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1))


def _draw_bounds(axes: "Axes", figures: Sequence[ZoneFigures]) -> None:
    """Draw a bar a zone from the lower to the upper bound, with the sealed share, and the corrected lower bound."""
    places = np.arange(len(figures))
    sealed, lower, upper = (100 * np.array([zone.quantity(name)[0] for zone in figures]) for name in INDICATORS)
    axes.barh(places, upper - lower, left=lower, color="#f2c9a0", edgecolor="#a65e1f", label="lower to upper bound")
    axes.plot(sealed, places, "D", color="#333", markersize=4, label="sealed")
    corrected = 100 * np.array([zone.quantity(_LOWER)[1:] for zone in figures])
    if np.isfinite(corrected[:, 0]).any():
        (middle, low, high), label = corrected.T, "lower bound, corrected"
        ends = None if np.isnan(low).all() else np.nan_to_num([middle - low, high - middle]).clip(min=0)
        axes.errorbar(middle, places + 0.25, xerr=ends, fmt="o", color="#0072b2", markersize=3, capsize=2, label=label)
    _name_bars(axes, figures, "share of the known ground, %")
    axes.legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))


def _name_bars(axes: "Axes", figures: Sequence[ZoneFigures], label: str) -> None:
    axes.set_yticks(np.arange(len(figures)), [each.counts.name[:40] for each in figures], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel=label)
