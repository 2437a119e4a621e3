"""Appearance of a ground: the materials of a place, and the season, sun and camera of a time, as five uint8 bands."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmark.data.synthetic.draws import deviations, one_of
from benchmark.data.synthetic.ground import Ground
from benchmark.data.synthetic.landscape import Material

Floats = NDArray[np.float64]
HEIGHT_UNIT = 0.2  # metres per count of the fifth band, as in FLAIR

# Red, green, blue, near infrared on the 0..255 scale of an ordinary orthophoto.
COLOURS = {
    Material.ROOF_MAIN: (154, 112, 96, 124),
    Material.ROOF_OTHER: (124, 116, 114, 108),
    Material.ROOF_FLAT: (180, 178, 172, 148),
    Material.GRAVEL: (174, 164, 146, 148),
    Material.ASPHALT: (130, 130, 131, 110),
    Material.SOIL: (168, 142, 114, 146),
    Material.FURROW: (134, 112, 92, 116),
    Material.WATER: (60, 78, 78, 32),
}
# Vegetation, at the days of the year in SEASONS: leafing, high green, late summer, autumn.
SEASONS = (105, 160, 225, 290)
PHENOLOGY = {
    Material.CONIFER: ((64, 82, 60, 106), (60, 80, 60, 106), (58, 76, 59, 100), (57, 72, 58, 94)),
    Material.BROADLEAF: ((110, 114, 84, 124), (70, 98, 62, 160), (76, 94, 62, 142), (144, 106, 64, 112)),
    Material.SHRUB: ((104, 108, 80, 116), (94, 114, 76, 138), (112, 110, 80, 122), (124, 102, 78, 106)),
    Material.VINE: ((122, 112, 92, 120), (84, 114, 72, 150), (80, 106, 66, 148), (164, 118, 70, 124)),
    Material.GRASS: ((98, 132, 80, 164), (116, 136, 88, 160), (164, 150, 106, 136), (122, 130, 90, 140)),
    Material.CEREAL: ((86, 128, 76, 170), (146, 156, 92, 154), (198, 180, 128, 156), (134, 136, 94, 138)),
    Material.MAIZE: ((146, 126, 102, 132), (106, 130, 84, 148), (70, 108, 62, 174), (170, 150, 110, 138)),
    Material.RAPESEED: ((176, 176, 74, 160), (108, 136, 84, 158), (148, 140, 98, 138), (94, 124, 78, 154)),
    Material.FOREST_FLOOR: ((108, 100, 82, 108), (62, 74, 52, 98), (64, 74, 52, 94), (118, 90, 66, 96)),
}
BASE_DAY = 178
DELAY = 13  # days by which plants of one kind run ahead of or behind each other

# The regional menus: each place takes one item of each, at its own offset.
ROOFS = (
    {Material.ROOF_MAIN: (190, 112, 84, 142), Material.ROOF_OTHER: (172, 130, 104, 136)},  # terracotta
    {Material.ROOF_MAIN: (84, 90, 102, 78), Material.ROOF_OTHER: (112, 110, 112, 98)},  # slate
    {Material.ROOF_MAIN: (182, 174, 162, 150), Material.ROOF_OTHER: (146, 142, 138, 124)},  # concrete tile
    {Material.ROOF_MAIN: (120, 86, 74, 98), Material.ROOF_OTHER: (92, 80, 76, 86)},  # brown tile
)
SOILS = (
    {Material.SOIL: (184, 120, 84, 148), Material.FURROW: (152, 92, 66, 122)},  # red
    {Material.SOIL: (208, 198, 174, 180), Material.FURROW: (182, 170, 148, 158)},  # chalk
    {Material.SOIL: (122, 106, 92, 106), Material.FURROW: (92, 80, 72, 82)},  # humus
    {Material.SOIL: (186, 160, 112, 162), Material.FURROW: (150, 128, 88, 132)},  # loess
)
ROADS = (
    {Material.ASPHALT: (94, 95, 100, 82), Material.GRAVEL: (150, 146, 140, 130)},
    {Material.ASPHALT: (172, 168, 160, 144), Material.GRAVEL: (200, 190, 166, 170)},
    {Material.ASPHALT: (150, 128, 120, 122), Material.GRAVEL: (184, 152, 124, 154)},
)
WATERS = (
    {Material.WATER: (112, 110, 82, 62)},  # turbid
    {Material.WATER: (34, 46, 52, 20)},  # dark
    {Material.WATER: (70, 116, 116, 42)},  # turquoise
)
FLORAS = (  # factors on red, green, blue, near infrared of all vegetation
    (1.22, 1.06, 1.10, 0.84),  # dry
    (0.82, 0.98, 0.86, 1.16),  # lush
    (1.04, 1.10, 1.16, 1.02),  # pale
    (0.90, 0.86, 0.88, 0.84),  # dark
)


@dataclass(frozen=True)
class Materials:
    """Materials of a place.

    Attributes:
        colours: colours at the base season in counts, float64 [material, band].
        roughness: factor on the fine texture.
    """

    colours: Floats
    roughness: float


@dataclass(frozen=True)
class Flight:
    """Circumstances of one time.

    Attributes:
        season: factors on the colours, of plants that are early and late, float64 [2, material, band].
        elevation: elevation of the sun in degrees.
        azimuth: azimuth of the sun in degrees clockwise from north.
        haze: share of the light that comes from the air, float64 [band].
        gain: factor on the counts, float64 [band].
        offset: offset in counts, float64 [band].
        gamma: exponent of the processing.
        saturation: factor on the visible bands' distance from grey.
        blur: standard deviation of the blur in pixels.
        noise: standard deviation of the sensor's noise in counts.
    """

    season: Floats
    elevation: float
    azimuth: float
    haze: Floats
    gain: Floats
    offset: Floats
    gamma: float
    saturation: float
    blur: float
    noise: float


def materials(seed: int, place: int, strength: float) -> Materials:
    """Return a place's materials: the common base, moved by `strength` towards the place's own."""
    base = _seasonal(BASE_DAY)
    own = base.copy()
    for menu, purpose in ((ROOFS, "roofs"), (SOILS, "soils"), (ROADS, "roads"), (WATERS, "waters")):
        for material, colour in one_of(menu, seed, purpose, place).items():
            own[material] = colour
    own[list(PHENOLOGY)] *= one_of(FLORAS, seed, "flora", place)
    roughness = float(np.exp(0.5 * strength * deviations(seed, "roughness", place, 1)[0]))
    return Materials(np.clip(base * (own / base) ** strength, 8, 245), roughness)


def flight(seed: int, time: int, day: int, hour: float, phenology: float, sun: float, atmosphere: float) -> Flight:
    """Return a time's flight: the common base, moved by the three strengths towards the time's own.

    Args:
        seed, time: address of the draws.
        day: day of the year.
        hour: solar time in hours.
        phenology, sun, atmosphere: strengths of the shift between times.
    """
    base = _seasonal(BASE_DAY)
    season = np.stack(
        [
            (_seasonal(BASE_DAY + delay) / base) ** (1 - phenology) * (_seasonal(day + delay) / base) ** phenology
            for delay in (-DELAY, DELAY)
        ]
    )
    elevation, azimuth = _sun(day, hour)
    drawn = atmosphere * deviations(seed, "atmosphere", time, 14)
    return Flight(
        season=season,
        elevation=float(np.clip(50 + sun * (elevation - 50), 18, 75)),
        azimuth=165 + sun * (azimuth - 165),
        haze=np.minimum(0.6, np.array([0.09, 0.11, 0.14, 0.05]) * np.exp(0.7 * drawn[0])),
        gain=np.exp(0.10 * drawn[1] + np.array([0.05, 0.04, 0.06, 0.12]) * drawn[2:6]),
        offset=4.0 * drawn[6:10],
        gamma=float(np.exp(0.18 * drawn[10])),
        saturation=float(np.exp(0.25 * drawn[11])),
        blur=float(np.clip(0.4 * np.exp(0.6 * drawn[12]), 0, 1.2)),
        noise=float(2.0 * np.exp(0.6 * drawn[13])),
    )


def render(ground: Ground, look: Materials, taken: Flight, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the image [5, rows, columns] of a ground without its margin: R, G, B, NIR, height.

    Args:
        ground: ground with its margin.
        look: materials of the place.
        taken: flight of the time.
        rng: generator of what differs between two images of one flight, and of sensor noise.
    """
    early, late = look.colours * taken.season
    lateness = np.clip(0.5 + 0.25 * ground.tint, 0, 1)[..., None]
    colour = early[ground.material] * (1 - lateness) + late[ground.material] * lateness
    colour *= np.exp(look.roughness * ground.texture + 0.05 * ground.tint)[..., None]
    # One flight takes hours: the sun moves on and the exposure is set again.
    azimuth = taken.azimuth + rng.normal(0, 5)
    elevation = taken.elevation + rng.normal(0, 1.5)
    light = colour * _illumination(ground, elevation, azimuth)
    crop = slice(ground.margin, -ground.margin)
    bands = _photograph(light[crop, crop], taken, rng)
    height = np.clip(np.rint(ground.height[crop, crop] / HEIGHT_UNIT), 0, 255)
    return np.concatenate([bands, height[..., None]], axis=-1).astype(np.uint8).transpose(2, 0, 1)


def _seasonal(day: float) -> Floats:
    """Return the colours [material, band] of everything at a day of the year."""
    table = np.zeros((len(Material), 4))
    for material, colour in COLOURS.items():
        table[material] = colour
    for material, states in PHENOLOGY.items():
        table[material] = [np.interp(day, SEASONS, band) for band in zip(*states, strict=True)]
    return table


def _sun(day: int, hour: float) -> tuple[float, float]:
    """Return the sun's (elevation, azimuth) in degrees over central France."""
    latitude = np.radians(46.5)
    declination = np.radians(23.44) * np.sin(2 * np.pi * (day - 81) / 365)
    turn = np.radians(15 * (hour - 12))
    east, north = (
        -np.cos(declination) * np.sin(turn),
        np.sin(declination) * np.cos(latitude) - np.cos(declination) * np.cos(turn) * np.sin(latitude),
    )
    up = np.sin(declination) * np.sin(latitude) + np.cos(declination) * np.cos(turn) * np.cos(latitude)
    return float(np.degrees(np.arcsin(up))), float(np.degrees(np.arctan2(east, north)) % 360)


def _illumination(ground: Ground, elevation: float, azimuth: float) -> Floats:
    """Return the light [rows, columns, band] that falls on the ground; 1 on open flat ground at the base sun."""
    up, east, north = (
        np.tan(np.radians(elevation)),
        np.sin(np.radians(azimuth)),
        np.cos(np.radians(azimuth)),
    )
    height, pixel = ground.height, ground.pixel_size
    lit = np.ones(height.shape)
    rows, columns = height.shape
    steps = int(min(height.max() / up / pixel, 2 * ground.margin))
    padded = np.pad(height, steps + 1)
    for step in range(1, steps + 1):
        row = steps + 1 - round(step * north)
        column = steps + 1 + round(step * east)
        blocking = padded[row : row + rows, column : column + columns] - step * pixel * up - height
        lit = np.minimum(lit, 1 - np.clip(blocking / 0.6, 0, 1))
    south, slope_east = np.gradient(gaussian_filter(height, 0.6), pixel)
    # Lambert's cosine, on slopes no steeper than a surface model of this resolution can hold.
    facing = up + np.clip(-slope_east, -1.5, 1.5) * east + np.clip(south, -1.5, 1.5) * north
    facing = facing / np.sqrt(1 + np.minimum(slope_east**2 + south**2, 4)) / up
    direct = np.sqrt(np.sin(np.radians(elevation)) / np.sin(np.radians(50)))
    # A low sun is reddened by the air; what shade receives comes from the blue sky.
    redness = (50 - elevation) / 50
    sunlight = direct * np.array([0.66, 0.64, 0.58, 0.76]) * np.exp(redness * np.array([0.08, 0.0, -0.10, 0.06]))
    skylight = np.array([0.34, 0.36, 0.42, 0.24])
    return np.clip(facing, 0, 1.7)[..., None] * lit[..., None] * sunlight + skylight


def _photograph(light: Floats, taken: Flight, rng: np.random.Generator) -> Floats:
    """Return the counts [rows, columns, band] that air, camera and processing make of light of the same shape."""
    veil = np.array([168.0, 176.0, 190.0, 130.0])
    hazy = light * (1 - taken.haze) + veil * taken.haze
    grey = hazy[..., :3].mean(axis=-1, keepdims=True)
    hazy[..., :3] = grey + taken.saturation * (hazy[..., :3] - grey)
    exposure = np.exp(rng.normal(0, 0.03))
    counts = 255 * (np.clip(hazy * exposure * taken.gain, 0, 255) / 255) ** taken.gamma + taken.offset
    blurred = gaussian_filter(counts, (taken.blur, taken.blur, 0))
    return np.clip(np.rint(blurred + rng.normal(0, taken.noise, counts.shape)), 0, 255)
