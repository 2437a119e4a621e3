"""Reflectance of every material in the ten bands of a Sentinel-2 series, through the whole year."""

import numpy as np
from numpy.typing import NDArray

from benchmark.data.synthetic.appearance import BASE_DAY, COLOURS, PHENOLOGY, SEASONS, Floats, Materials
from benchmark.data.synthetic.landscape import Material

YEAR = 365  # days after which the seasons return
# What `PHENOLOGY` leaves out, in its units: the middle and the end of winter, and its beginning.
WINTER_DAYS = (15, 65, 335)
WINTER = {
    Material.CONIFER: ((57, 71, 58, 93), (60, 76, 59, 98), (57, 71, 58, 93)),
    Material.BROADLEAF: ((112, 100, 88, 98), (112, 102, 86, 102), (116, 100, 84, 99)),  # bare
    Material.SHRUB: ((116, 100, 82, 102), (110, 102, 80, 108), (118, 100, 80, 102)),
    Material.VINE: ((128, 112, 96, 110), (128, 113, 95, 112), (134, 112, 90, 112)),  # bare
    Material.GRASS: ((108, 120, 86, 132), (102, 126, 82, 146), (114, 122, 88, 132)),
    Material.CEREAL: ((108, 120, 84, 136), (92, 124, 78, 156), (126, 120, 92, 126)),  # sown in autumn
    Material.MAIZE: ((146, 124, 102, 118), (146, 125, 102, 122), (152, 130, 104, 122)),  # bare before it is sown
    Material.RAPESEED: ((102, 120, 82, 138), (94, 126, 76, 158), (96, 122, 80, 146)),
    Material.FOREST_FLOOR: ((114, 92, 74, 92), (112, 94, 76, 96), (118, 90, 68, 92)),
}
PLANTS = np.isin(np.arange(len(Material)), list(PHENOLOGY))
# An orthophoto's counts follow the eye; a sensor of satellites counts light. Full scale: reflectance of 255 counts.
GAMMA, VISIBLE, INFRARED_OF_PLANTS, INFRARED = 2.2, 0.5, 1.1, 0.85
# How far B5, B6, B7 and B8A are on the way from red to near infrared.
RED_EDGE = (0.22, 0.72, 0.93, 1.03)
# Shortwave infrared (B11, B12) of what does not grow, as a share of the near infrared.
SHORTWAVE = {
    Material.ROOF_MAIN: (1.20, 1.10),
    Material.ROOF_OTHER: (1.15, 1.10),
    Material.ROOF_FLAT: (1.05, 0.95),
    Material.GRAVEL: (1.20, 1.05),
    Material.ASPHALT: (1.20, 1.15),
    Material.SOIL: (1.30, 1.10),
    Material.FURROW: (1.20, 0.98),
    Material.WATER: (0.50, 0.35),
}
WET, DRY = np.array([0.40, 0.18]), np.array([0.95, 0.68])  # the same of plants: full of water, and withered
MOIST = [Material.SOIL, Material.FURROW, Material.GRAVEL]
MOISTURE = 0.18  # by which wet ground is darker in January, and dry ground brighter in July


def colours_through_year(days: NDArray) -> Floats:
    """Return the colours [day, material, band] at days of the year, in counts, as in an orthophoto of the base place.

    They are those of the aerial images from the first to the last day of `SEASONS`, and winter between the two.

    Args:
        days: days of the year, any numbers: the year returns.
    """
    table = np.zeros((len(days), len(Material), 4))
    for material, colour in COLOURS.items():
        table[:, material] = colour
    knots = (*WINTER_DAYS[:2], *SEASONS, WINTER_DAYS[2])
    for material, states in PHENOLOGY.items():
        winter = WINTER[material]
        for band, values in enumerate(zip(*winter[:2], *states, winter[2], strict=True)):
            table[:, material, band] = np.interp(days, knots, values, period=YEAR)
    return table


def reflectances(look: Materials, days: NDArray) -> Floats:
    """Return the reflectance [day, material, band] of a place's materials in `benchmark.data.series.series.BANDS`.

    Args:
        look: materials of the place.
        days: days of the year, any numbers.
    """
    counts = look.colours * colours_through_year(days) / colours_through_year(np.array([BASE_DAY]))
    red, green, blue, infrared = np.moveaxis((counts / 255) ** GAMMA, -1, 0)
    red, green, blue = VISIBLE * red, VISIBLE * green, VISIBLE * blue
    infrared = infrared * np.where(PLANTS, INFRARED_OF_PLANTS, INFRARED)
    withered = np.clip(1 - (infrared - red) / (infrared + red) / 0.8, 0, 1)[..., None]
    shares = np.where(PLANTS[:, None], WET + withered * (DRY - WET), [SHORTWAVE.get(each, (0, 0)) for each in Material])
    edge = [red + share * (infrared - red) for share in RED_EDGE]
    bands = [blue, green, red, *edge[:3], infrared, edge[3], *np.moveaxis(infrared[..., None] * shares, -1, 0)]
    values = np.stack(bands, axis=-1)
    values[:, MOIST] *= (1 - MOISTURE * np.cos(2 * np.pi * (days - 15) / YEAR))[:, None, None]
    return values
