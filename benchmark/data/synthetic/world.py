"""Settings and grid of the synthetic world, and its files in the layout of FLAIR #1."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from benchmark.common.files import read_json
from benchmark.data.synthetic.appearance import Flight, Materials, flight, materials, render
from benchmark.data.synthetic.draws import generator
from benchmark.data.synthetic.ground import compose
from benchmark.data.synthetic.landscape import landscape
from benchmark.data.synthetic.satellite import SHIFT, Cells, forecast, observe, survey

FORMAT = 1
IMAGES, MASKS, METADATA = "flair_aerial_train", "flair_labels_train", "flair-1_metadata_aerial.json"
SERIES, CENTROIDS = "flair_sen_train", "flair-2_centroids_sp_to_patch.json"
STRENGTHS = ("class_mix", "materials", "settlement", "phenology", "sun", "atmosphere")
OF_SERIES = ("season_shift", "cloudiness")
# Seasons in the order of the times, (month, solar hour); the year goes on by one each time.
SEASONS = ((5, 9.5), (7, 13.0), (10, 11.0), (4, 14.5), (9, 10.0), (6, 15.0))
FIRST_YEAR, FIRST_DEPARTMENT = 2019, 901
# Lambert-93, metres: a grid of 10 x 10 places over France, in each a grid of 20 x 20 zones.
WEST, SOUTH, PLACE_STEP, ZONE_STEP = 150_000, 6_130_000, 90_000, 4_000


@dataclass(frozen=True)
class World:
    """Settings of a synthetic world; equal settings give byte-identical files.

    Strengths say how far apart domains are: 0 gives every domain the common base, 1 its own look, and more
    goes beyond that. With all at 0 the domains are draws of one distribution.

    Attributes:
        places: number of places, 1..99.
        times: number of times, 1..80, one a year, each in another season than the one before.
        zones: number of zones in every place, 1..400, each with its own ground.
        zone_side: side of a zone in patches, 1..16; the patches are adjacent, of one continuous scene.
        patch_size: side of a patch in pixels, a multiple of 8.
        pixel_size: side of a pixel in metres.
        seed: seed of all draws, 0 or more.
        class_mix, materials, settlement: strengths of the shift between places.
        phenology, sun, atmosphere: strengths of the shift between times; the last is haze and processing.
        series: whether each zone has a year of Sentinel-2 images at each time, in the layout of FLAIR #2.
        season_shift: strength of the shift of the series' seasons, see `satellite.SHIFT`; the image keeps its own.
        cloudiness: clouds, snow and gaps of the series, and how they differ between places and times.
    """

    places: int = 4
    times: int = 3
    zones: int = 24
    zone_side: int = 2
    patch_size: int = 64
    pixel_size: float = 0.8
    seed: int = 0
    class_mix: float = 1.0
    materials: float = 1.0
    settlement: float = 1.0
    phenology: float = 1.0
    sun: float = 1.0
    atmosphere: float = 1.0
    series: bool = False
    season_shift: float = 1.0
    cloudiness: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that no world can have."""
        for name, low, high in (
            ("places", 1, 99),
            ("times", 1, 80),
            ("zones", 1, 400),
            ("zone_side", 1, 16),
            ("patch_size", 8, 1024),
            ("seed", 0, 2**63 - 1),
        ):
            self._require(name, int, low, high)
        self._require("pixel_size", (int, float), 0.1, 2.0)
        for name in (*STRENGTHS, *OF_SERIES):
            self._require(name, (int, float), 0, 5)
        if not isinstance(self.series, bool):
            raise ValueError(f"series must be True or False, got {self.series!r}")
        if not self.series and any(getattr(self, name) != 1 for name in OF_SERIES):
            raise ValueError(f"{' and '.join(OF_SERIES)} are strengths of series, and this world has none")
        if self.patch_size % 8:
            raise ValueError(f"patch_size must be a multiple of 8, got {self.patch_size}")
        for field in fields(self):  # 1 and 1.0 are the same setting, and are written the same
            if field.type is float:
                object.__setattr__(self, field.name, float(getattr(self, field.name)))
        if self.side * self.pixel_size > ZONE_STEP:
            raise ValueError(
                f"zone_side x patch_size x pixel_size must be at most {ZONE_STEP} m, "
                f"got {self.side * self.pixel_size:g} m"
            )

    def _require(self, name: str, kind: type[int] | tuple[type[int], type[float]], low: float, high: float) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            number = "an integer" if kind is int else "a number"
            raise ValueError(f"{name} must be {number} from {low} to {high}, got {value!r}")

    @property
    def side(self) -> int:
        """Side of a zone in pixels."""
        return self.zone_side * self.patch_size

    @property
    def settings(self) -> dict[str, Any]:
        """Settings as they are written; without series those of worlds from before there were series."""
        left_out = () if self.series else ("series", *OF_SERIES)
        return {name: value for name, value in asdict(self).items() if name not in left_out}


def generate(world: World, root: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write a world in the layout of FLAIR #1.

    `root/world.json` appears last, so a folder that has it is complete: with the same settings nothing is done.
    An interrupted world is made again.

    Args:
        world: settings of the world.
        root: folder of the world; made if missing.
        progress: function called as progress(done, total) after each zone's image.

    Raises:
        DataError: ``world.json`` cannot be read.
        FileExistsError: the folder holds another world, or data that is no synthetic world.
    """
    root = Path(root)
    complete, unfinished = root / "world.json", root / "world.json.unfinished"
    settings = {"format": FORMAT, "world": world.settings}
    if complete.exists():
        there = read_json(complete)
        if there != settings:
            raise FileExistsError(f"{root} holds another world.\n there: {there}\n asked: {settings}")
        return
    if unfinished.exists():
        for folder in (IMAGES, MASKS, SERIES):
            shutil.rmtree(root / folder, ignore_errors=True)
        (root / CENTROIDS).unlink(missing_ok=True)
    elif any((root / name).exists() for name in (IMAGES, MASKS, METADATA, SERIES, CENTROIDS)):
        raise FileExistsError(f"{root} holds data that is no synthetic world; give an empty folder for {settings}")
    root.mkdir(parents=True, exist_ok=True)
    unfinished.write_text(_json(settings))
    entries, centres = _write_patches(world, root, progress)
    (root / METADATA).write_text(_json(entries))
    if world.series:
        (root / CENTROIDS).write_text(json.dumps(centres) + "\n")
    unfinished.replace(complete)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"


def _write_patches(
    world: World, root: Path, progress: Callable[[int, int], None] | None
) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[int, int]]]:
    """Write all images, masks and series.

    Returns:
        metadata, one entry a patch in the order of their ids, and the patches' centres in their series.
    """
    entries: dict[str, dict[str, Any]] = {}
    centres: dict[str, tuple[int, int]] = {}
    done = 0
    for place in range(world.places):
        scenery = landscape(world.seed, place, world.class_mix, world.settlement)
        look = materials(world.seed, place, world.materials)
        for zone in range(world.zones):
            ground = compose(world.seed, place, zone, scenery, world.side, world.pixel_size)
            crop = slice(ground.margin, -ground.margin)
            mask = ground.cover[None, crop, crop]
            cells = survey(ground, world.patch_size) if world.series else None
            for time in range(world.times):
                rng = generator(world.seed, "image", place, zone, time)
                image = render(ground, look, _flight(world, time), rng)
                if cells:
                    centres |= _write_series(world, root, place, time, zone, look, cells)
                for number, window, transform in _patches(world, place, time, zone):
                    entry = _entry(world, place, time, zone, transform)
                    entries[f"IMG_{number:06d}"] = entry
                    home = Path(entry["domain"]) / entry["zone"]
                    _write(root / IMAGES / home / "img" / f"IMG_{number:06d}.tif", image[:, *window], transform)
                    _write(root / MASKS / home / "msk" / f"MSK_{number:06d}.tif", mask[:, *window], transform)
                done += 1
                if progress is not None:
                    progress(done, world.places * world.zones * world.times)
    return dict(sorted(entries.items())), dict(sorted(centres.items()))


def _write_series(
    world: World, root: Path, place: int, time: int, zone: int, look: Materials, cells: Cells
) -> dict[str, tuple[int, int]]:
    """Write the series of a zone; return the centres of its patches, by the names of their images."""
    patches = list(_patches(world, place, time, zone))
    east = patches[0][2].c
    weather = forecast(
        world.seed, place, time, FIRST_YEAR + time, (east - WEST) / (10 * PLACE_STEP), _altitude(world, place),
        world.cloudiness,
    )  # fmt: skip
    late = world.season_shift * SHIFT * (0, 1, -1)[time % 3]
    values, covers = observe(cells, look, weather, late, generator(world.seed, "series", place, zone, time))
    entry = _entry(world, place, time, zone, patches[0][2])
    folder = root / SERIES / entry["domain"] / entry["zone"] / "sen"
    folder.mkdir(parents=True)
    name = f"SEN2_sp_{entry['domain']}-{entry['zone']}"
    np.save(folder / f"{name}_data.npy", values)
    np.save(folder / f"{name}_masks.npy", covers)
    (folder / f"{name}_products.txt").write_text("\n".join(weather.products) + "\n")
    places = np.ndindex(world.zone_side, world.zone_side)
    return {f"IMG_{number:06d}.tif": cells.centres[at] for (number, *_), at in zip(patches, places, strict=True)}


def _flight(world: World, time: int) -> Flight:
    _, hour = SEASONS[time % len(SEASONS)]
    day = _flown(0, time).timetuple().tm_yday
    return flight(world.seed, time, day, hour, world.phenology, world.sun, world.atmosphere)


def _flown(place: int, time: int) -> date:
    """Return the day a place was flown; places of one time follow each other within days."""
    return date(FIRST_YEAR + time, SEASONS[time % len(SEASONS)][0], 10) + timedelta(days=place % 10)


def _patches(world: World, place: int, time: int, zone: int) -> Iterator[tuple[int, tuple[slice, slice], Affine]]:
    """Yield (id number, window in the zone, transform) for the patches of one zone, row by row.

    Ids run through places, then times, zones and patches, as FLAIR's run through its domains.
    """
    size, count = world.patch_size, world.zone_side
    number = ((place * world.times + time) * world.zones + zone) * count**2 + 1
    # Steps of 3 and 7 put consecutive places far apart, and no two of a hundred on one spot.
    west = WEST + PLACE_STEP * (place * 3 % 10) + ZONE_STEP * (zone % 20)
    north = SOUTH + PLACE_STEP * ((place * 7 + place // 10) % 10) + ZONE_STEP * (zone // 20 + 1)
    step = size * world.pixel_size
    for row, column in np.ndindex(count, count):
        window = (slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size))
        pixel = world.pixel_size
        transform = Affine(pixel, 0, west + column * step, 0, -pixel, north - row * step)
        yield number + row * count + column, window, transform


def _entry(world: World, place: int, time: int, zone: int, transform: Affine) -> dict[str, Any]:
    """Return the metadata of one patch, with FLAIR's keys."""
    x, y = transform @ (world.patch_size / 2, world.patch_size / 2)
    hour = SEASONS[time % len(SEASONS)][1]
    return {
        "domain": f"D{FIRST_DEPARTMENT + place}_{FIRST_YEAR + time}",
        "zone": f"Z{zone + 1}_UA",
        "patch_centroid_x": round(x, 3),
        "patch_centroid_y": round(y, 3),
        "patch_centroid_z": round(
            _altitude(world, place) + generator(world.seed, "relief", place, zone).normal(0, 15), 2
        ),
        "date": _flown(place, time).isoformat(),
        "time": f"{int(hour)}h{round(hour % 1 * 60):02d}",
        "camera": f"SYNTHETIC#{time + 1:03d}",
    }


def _altitude(world: World, place: int) -> float:
    return float(generator(world.seed, "altitude", place).uniform(20, 600))


def _write(path: Path, bands: NDArray[np.uint8], transform: Affine) -> None:
    """Write bands [band, rows, columns] as a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, rows, columns = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=count, height=rows, width=columns,
        crs="EPSG:2154", transform=transform, compress="deflate", interleave="pixel",
    ) as file:  # fmt: skip
        file.write(bands)
