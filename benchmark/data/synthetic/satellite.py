"""A Sentinel-2-like year over a ground of the synthetic world: ten bands at 10 m, with clouds, snow and orbit dates."""

import datetime
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from benchmark.data.series.series import CLOUD, METRES, SNOW
from benchmark.data.synthetic.appearance import DELAY, Floats, Materials
from benchmark.data.synthetic.draws import deviations, generator
from benchmark.data.synthetic.ground import Ground
from benchmark.data.synthetic.landscape import Material
from benchmark.data.synthetic.spectra import reflectances

SHIFT = 30  # days by which the second year is late at strength 1, and the third early
# Relative orbits over France from west to east, a tile of each, and the hour of the overpass (UTC).
ORBITS = ((137, "T30TWT", "1106"), (94, "T30TYQ", "1056"), (51, "T31TCJ", "1050"), (8, "T31TFJ", "1040"),
          (108, "T31TGJ", "1030"))  # fmt: skip
ORBITS_A_DAY = 14.3
KNOWN_ORBIT, KNOWN_PASS = 51, datetime.date(2021, 1, 14)  # of Sentinel-2B; 2A follows after five days
GAPS = 0.08  # share of the overpasses without a product
# Reflectances in the order of the bands.
CLOUDS = np.array([0.62, 0.60, 0.61, 0.62, 0.63, 0.64, 0.64, 0.64, 0.42, 0.30])
SNOWS = np.array([0.84, 0.85, 0.84, 0.83, 0.81, 0.79, 0.77, 0.74, 0.10, 0.08])
# Standard deviations of what decides whether there is a cloud: the day, the zone, the place in the zone. Squares: 1.
OF_DAY, OF_ZONE, OF_PIXEL = 0.85, 0.42, 0.318
WAVES = 8  # plane waves whose sum is the pattern of the clouds
SHADOW = 0.55  # share of the light that a thick cloud takes away
CORRECTION, NOISE = 0.025, 0.0015  # errors of the atmosphere's correction, a factor, and of the sensor, a reflectance


@dataclass(frozen=True)
class Cells:
    """A ground in pixels of 10 m, [row, column].

    Attributes:
        behind, ahead: shares of the materials, of plants that are late and early in the year, float64 [.., material].
        open: share on which snow can be seen: no water, and little of trees.
        centres: row and column of each patch's centre, by its row and column in the zone.
    """

    behind: Floats
    ahead: Floats
    open: Floats
    centres: dict[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Weather:
    """Overpasses of one place in one year that have a product.

    Attributes:
        days: days of the year, int64 [date].
        products: names of the products.
        threshold: what the sum of day, zone and pixel must be above for a cloud, float64 [date].
        sky: the day's part of that sum, float64 [date].
        snow: share of open ground under snow, float64 [date].
    """

    days: NDArray[np.int64]
    products: list[str]
    threshold: Floats
    sky: Floats
    snow: Floats


def survey(ground: Ground, patch_size: int) -> Cells:
    """Return a ground, with its margin, in pixels of 10 m.

    The centre of the first patch is a corner of four pixels. As a crop of an even side has its middle in the upper
    left corner of the pixel it is taken around, the centres are the nearest corners. Pixels at the edge are at least
    half on the ground, and show what of it is in them.

    Args:
        ground: ground with its margin.
        patch_size: side of a patch in pixels of the ground.
    """
    side = len(ground.material)
    patches = (side - 2 * ground.margin) // patch_size
    middles = (ground.margin + (np.arange(patches) + 0.5) * patch_size) * ground.pixel_size / METRES
    start = middles[0] - round(middles[0])
    cells, kinds = round(side * ground.pixel_size / METRES - start), len(Material)
    of_pixel = np.floor((np.arange(side) + 0.5) * ground.pixel_size / METRES - start).astype(int)
    used = slice(*np.searchsorted(of_pixel, (0, cells)))
    of_pixel, material, tint = of_pixel[used], ground.material[used, used], ground.tint[used, used]
    index = ((of_pixel[:, None] * cells + of_pixel) * kinds + material).ravel()
    brightness, earliness = np.exp(0.1 * tint), np.clip(0.5 + 0.25 * tint, 0, 1)
    pixels, behind, ahead = (
        np.bincount(index, weights, cells**2 * kinds).reshape(cells, cells, kinds)
        for weights in (None, (brightness * (1 - earliness)).ravel(), (brightness * earliness).ravel())
    )
    total = pixels.sum(-1, keepdims=True)
    shares = pixels / total
    trees = shares[..., [Material.CONIFER, Material.BROADLEAF]].sum(-1)
    corners = np.rint(middles - start).astype(int).tolist()
    centres = {(row, column): (corners[row], corners[column]) for row, column in np.ndindex(patches, patches)}
    return Cells(behind / total, ahead / total, 1 - shares[..., Material.WATER] - 0.7 * trees, centres)


def forecast(seed: int, place: int, time: int, year: int, east: float, altitude: float, cloudiness: float) -> Weather:
    """Return the overpasses of a place in a year, and their weather.

    Args:
        seed, place, time: address of the draws.
        year: calendar year.
        east: where the place is between the west (0) and the east (below 1) of France.
        altitude: metres above the sea.
        cloudiness: strength; 0 is no cloud, no snow and no gap, and the same for all places and years.
    """
    rng = generator(seed, "weather", place, time)
    orbit = ORBITS[int(east * len(ORBITS))]
    dates = [datetime.date(year, 1, 1) + datetime.timedelta(days) for days in range(366)]
    dates = [date for date in dates if date.year == year and _days_after_pass(date, orbit[0]) % 5 == 0]
    draws = rng.random((3, len(dates)))
    sky = rng.standard_normal(len(dates))
    days = np.array([date.timetuple().tm_yday for date in dates])
    # The strength is an exponent of the share without clouds: none at 0, and never more than all of it.
    own = deviations(seed, "cloudy places", place, 1)[0] + deviations(seed, "cloudy years", time, 1)[0]
    strength = cloudiness * np.exp(0.35 * own)
    winter = np.cos(2 * np.pi * (days - 10) / 365)
    cloudy = 1 - (0.40 - 0.16 * winter) ** strength
    frost = np.exp(-(((days - 20 + 182) % 365 - 182) ** 2) / (2 * 25**2)) * (0.04 + 0.7 * altitude / 1000)
    snow = np.where(draws[0] < 1 - (1 - frost) ** strength, 0.4 + 0.6 * draws[1], 0)
    seen = draws[2] >= 1 - (1 - GAPS) ** cloudiness
    products = [_product(date, orbit) for date, there in zip(dates, seen, strict=True) if there]
    return Weather(days[seen], products, ndtri(1 - cloudy)[seen], sky[seen], snow[seen])


def _days_after_pass(date: datetime.date, orbit: int) -> int:
    """Return the days from a pass of Sentinel-2B over an orbit to a date."""
    return (date - KNOWN_PASS).days - round((orbit - KNOWN_ORBIT) / ORBITS_A_DAY)


def _product(date: datetime.date, orbit: tuple[int, str, str]) -> str:
    number, tile, hour = orbit
    satellite, second = ("S2A", 21) if _days_after_pass(date, number) % 10 else ("S2B", 19)
    # Later baselines than N0214 add 1,000 to all numbers.
    return f"{satellite}_MSIL2A_{date:%Y%m%d}T{hour}{second}_N0214_R{number:03d}_{tile}_{date:%Y%m%d}T133{second:03d}"


def observe(
    cells: Cells, look: Materials, weather: Weather, late: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return the series of a ground: reflectance x 10,000 [date, band, row, column], and the probabilities in percent.

    The latter, [date, 2, row, column], are of snow and cloud. A thin cloud has a low one; shadows have none.

    Args:
        cells: ground in pixels of 10 m.
        look: materials of the place.
        weather: overpasses.
        late: days by which plants and soils are late.
        rng: generator of all that is the zone's own.
    """
    dates, bands = len(weather.days), len(CLOUDS)
    values = np.zeros((dates, bands, *cells.open.shape), np.float32)
    for shares, delay in ((cells.behind, -DELAY), (cells.ahead, DELAY)):
        spectra = reflectances(look, weather.days - late + delay)
        values += np.einsum("rcm,tmb->tbrc", shares.astype(np.float32), spectra.astype(np.float32))
    errors = rng.standard_normal((dates, 1, 1, 1)) + 0.5 * rng.standard_normal((dates, bands, 1, 1))
    values *= np.exp(CORRECTION * errors)
    snow = (weather.snow[:, None, None] * cells.open)[:, None]
    values += snow * (SNOWS[:, None, None] - values)
    cloud, shadow = _clouds(weather, cells.open.shape, rng)
    values *= 1 - SHADOW * shadow
    white = CLOUDS[:, None, None] * rng.uniform(0.75, 1.25, (dates, 1, 1, 1))
    values += cloud * (white - values)
    values += np.float32(NOISE) * rng.standard_normal(values.shape, np.float32)
    covers = np.empty((dates, 2, *cells.open.shape))
    doubt = rng.standard_normal((dates, 2, *cells.open.shape))
    covers[:, SNOW] = np.where(snow > 0, 110 * snow * (1 - cloud) + 4 * doubt[:, :1], 0)[:, 0]
    covers[:, CLOUD] = np.where(cloud > 0, 125 * cloud - 10 + 6 * doubt[:, 1:], 0)[:, 0]
    numbers = np.clip(np.rint(values * 10_000), 1, 10_000).astype(np.uint16)
    return numbers, np.clip(np.rint(covers), 0, 100).astype(np.uint8)


def _clouds(weather: Weather, shape: tuple[int, int], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return how opaque the clouds over each pixel are [date, 1, row, column], and those between it and the sun."""
    dates = len(weather.days)
    length = np.exp(rng.uniform(np.log(120), np.log(1000), (dates, WAVES)))  # metres
    angle, phase = rng.uniform(0, 2 * np.pi, (2, dates, WAVES))
    north, east = np.cos(angle) / length, np.sin(angle) / length
    zone = weather.sky * OF_DAY + rng.standard_normal(dates) * OF_ZONE
    # In the late morning the sun is in the south-south-east, and a cloud up to some kilometres from its shade.
    away = rng.uniform(200, 2500, (dates, 1))
    both = []
    for south, right in ((0.0, 0.0), (0.9 * away, 0.4 * away)):
        start = phase + 2 * np.pi * (south * north + right * east)
        down, across = (
            np.exp(2j * np.pi * METRES * np.arange(side) * wave[..., None])
            for side, wave in zip(shape, (north, east), strict=True)
        )
        pattern = np.einsum("tkr,tkc->trc", down * np.exp(1j * start)[..., None], across)
        place = OF_PIXEL * np.sqrt(2 / WAVES) * pattern.real
        above = (zone - weather.threshold)[:, None, None] + place
        both.append(1 - np.exp(-2 * np.maximum(above, 0))[:, None])
    return both[0], both[1]
