"""Ground of one zone: cover classes, materials and heights, the same at every time."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from benchmark.data.synthetic.draws import generator
from benchmark.data.synthetic.landscape import Cover, Landscape, Material, Settlement

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

PARCEL_AREA = 1900.0  # square metres; small, so that a zone of 100 m holds several covers
CROWNS = {  # metres: (smallest, largest) radius and height
    Cover.CONIFEROUS: ((2.0, 3.2), (12.0, 20.0)),
    Cover.DECIDUOUS: ((2.4, 4.2), (7.0, 15.0)),
    Cover.BRUSHWOOD: ((0.8, 1.9), (0.8, 2.6)),
}
MARGIN = 24.0  # metres around a zone that are composed too: trees and shadows reach in from there


@dataclass(frozen=True)
class Ground:
    """Ground of one zone with its margin; every array is [rows, columns], north up.

    Attributes:
        cover: values of `Cover`, uint8.
        material: values of `Material`, uint8.
        height: height above the terrain in metres, float64.
        tint: difference between one roof, field or crown and the next, float64, about standard normal.
        texture: fine brightness pattern, the logarithm of a factor, float64.
        margin: number of pixels to crop on each side.
        pixel_size: side of a pixel in metres.
    """

    cover: NDArray[np.uint8]
    material: NDArray[np.uint8]
    height: Floats
    tint: Floats
    texture: Floats
    margin: int
    pixel_size: float


def compose(seed: int, place: int, zone: int, scenery: Landscape, side: int, pixel_size: float) -> Ground:
    """Compose the ground of one zone.

    Args:
        seed, place, zone: address of all draws.
        scenery: landscape of the place, which its grounds are drawn from.
        side: side of the zone in pixels.
        pixel_size: side of a pixel in metres.
    """
    margin = round(MARGIN / pixel_size)
    canvas = Canvas(generator(seed, "ground", place, zone), side + 2 * margin, pixel_size)
    canvas.lay_parcels(scenery.parcel_shares)
    if canvas.rng.random() < scenery.water:
        canvas.lay_water()
    canvas.build(scenery.settlement)
    canvas.grow()
    # A surface model from stereo images is never quite flat.
    height = np.maximum(0, canvas.height + 0.10 * canvas.noise(1.5) + 0.06 * canvas.noise(0.3))
    return Ground(canvas.cover, canvas.material, height, canvas.tint, canvas.texture, margin, pixel_size)


class Canvas:
    """A ground in the making. Coordinates are metres from the centre, x east and y north."""

    def __init__(self, rng: np.random.Generator, side: int, pixel_size: float) -> None:
        """Start with grass everywhere."""
        self.rng = rng
        self.pixel_size = pixel_size
        axis = (np.arange(side) - (side - 1) / 2) * pixel_size
        self.extent = side * pixel_size
        self.x, self.y = np.meshgrid(axis, -axis)
        shape = (side, side)
        self.cover = np.full(shape, Cover.HERBACEOUS, np.uint8)
        self.material = np.full(shape, Material.GRASS, np.uint8)
        self.height = np.zeros(shape)
        self.fine, self.middle, self.coarse = self.noise(0.5), self.noise(2.0), self.noise(9.0)
        self.tint = 0.5 * self.coarse
        self.texture = 0.05 * self.fine
        self.crowns = np.zeros((0, 5))  # one a row: x, y, radius, height, kind

    def noise(self, scale: float) -> Floats:
        """Return smooth noise [rows, columns] of mean 0 and deviation 1; `scale` in metres."""
        field = gaussian_filter(
            self.rng.standard_normal(self.x.shape), scale / self.pixel_size, mode="wrap", truncate=3
        )
        return np.asarray((field - field.mean()) / field.std())

    def paint(
        self,
        where: Mask,
        cover: Cover,
        material: Material,
        tint: Any = 0.0,
        texture: Any = 0.0,
        height: Any = 0.0,
    ) -> None:
        """Cover the pixels `where`; tint, texture and height are numbers or arrays [rows, columns]."""
        self.cover[where] = cover
        self.material[where] = material
        for array, value in ((self.tint, tint), (self.texture, texture), (self.height, height)):
            array[where] = np.broadcast_to(value, where.shape)[where]

    def along_across(self, x: float, y: float, angle: float) -> tuple[Floats, Floats]:
        """Return each pixel's coordinates [rows, columns], in metres, in a frame at (x, y) turned by `angle`."""
        east, north = self.x - x, self.y - y
        return (
            east * np.cos(angle) + north * np.sin(angle),
            north * np.cos(angle) - east * np.sin(angle),
        )

    def stripes(self, across: Floats, spacing: float) -> Floats:
        """Return rows as a cosine [rows, columns] in [-1, 1]; `spacing` in metres, at least three pixels."""
        spacing = max(spacing, 3 * self.pixel_size)
        return np.asarray(np.cos(2 * np.pi * (across + 0.15 * self.coarse) / spacing))

    # ------------------------------------------------------------------ parcels

    def lay_parcels(self, shares: dict[Cover, float]) -> None:
        """Split the canvas into parcels and give each a cover."""
        covers = list(shares)
        for parcel, angle in self.split():
            cover = covers[int(self.rng.choice(len(covers), p=list(shares.values())))]
            self.lay_parcel(parcel, cover, angle)

    def split(self) -> list[tuple[Mask, float]]:
        """Cut the canvas, always across its longest piece, and return (pixels, direction in radians)."""
        wobble = 0.6 * self.middle
        pieces = [(np.ones(self.x.shape, bool), float(self.rng.uniform(0, np.pi)))]
        done: list[tuple[Mask, float]] = []
        while pieces:
            piece, angle = pieces.pop()
            area = piece.sum() * self.pixel_size**2
            if area < PARCEL_AREA * self.rng.uniform(0.7, 1.9):
                done.append((piece, angle))
                continue
            along, _ = self.along_across(0, 0, angle)
            cut = np.quantile(along[piece], self.rng.uniform(0.35, 0.65))
            for half in (piece & (along + wobble < cut), piece & (along + wobble >= cut)):
                pieces.append((half, self.direction(half) + self.rng.normal(0, 0.12)))
        return done

    def direction(self, piece: Mask) -> float:
        """Return the direction of the long axis of some pixels, radians."""
        spread = np.cov(self.x[piece], self.y[piece])
        return float(0.5 * np.arctan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1]))

    def lay_parcel(self, parcel: Mask, cover: Cover, angle: float) -> None:
        """Cover one parcel; rows run along `angle`."""
        rng, fine, middle, coarse = self.rng, self.fine, self.middle, self.coarse
        _, across = self.along_across(0, 0, angle)
        tint = rng.normal(0, 0.8) + 0.4 * coarse
        if cover == Cover.HERBACEOUS:
            self.paint(parcel, cover, Material.GRASS, tint, 0.05 * fine + 0.05 * middle)
            self.plant(parcel, Cover.DECIDUOUS, 22.0, keep=0.35)
        elif cover == Cover.AGRICULTURAL:
            crop = Material(int(rng.choice([Material.CEREAL, Material.MAIZE, Material.RAPESEED])))
            # Tramlines: the wheel tracks of the sprayer, every dozen metres.
            tracks = -0.16 * (np.abs((across + rng.uniform(0, 12)) % 12 - 6) < 0.55)
            rows = 0.05 * self.stripes(across, 2.4)
            height = rng.uniform(0.2, 0.9) * (tracks == 0)
            self.paint(parcel, cover, crop, tint, tracks + rows + 0.03 * fine, height)
        elif cover == Cover.PLOWED:
            furrows = 0.11 * self.stripes(across, 3.0) + 0.04 * coarse + 0.05 * fine
            self.paint(parcel, cover, Material.FURROW, tint, furrows)
        elif cover == Cover.VINEYARD:
            between = Material.GRASS if rng.random() < 0.4 else Material.SOIL
            self.paint(parcel, cover, between, tint, 0.05 * fine)
            row = parcel & (self.stripes(across, 3.2) > 0.05) & (middle + fine > -1.9)
            self.paint(row, cover, Material.VINE, tint, 0.06 * fine, 1.4)
        elif cover == Cover.BARE_SOIL:
            self.paint(parcel, cover, Material.SOIL, tint, 0.09 * middle + 0.08 * fine + 0.05 * coarse)
            weeds = parcel & (middle + 0.7 * coarse > 2.0)
            self.paint(weeds, cover, Material.GRASS, tint, 0.06 * fine)
        elif cover == Cover.BRUSHWOOD:
            self.paint(parcel, cover, Material.GRASS, tint - 0.6, 0.08 * fine, 0.3)
            self.plant(parcel, cover, 2.7, keep=0.7)
        else:
            self.paint(parcel, cover, Material.FOREST_FLOOR, tint, 0.08 * fine, 0.5)
            self.plant(parcel, cover, 4.2 if cover == Cover.CONIFEROUS else 5.2, keep=0.94)
        if cover in (Cover.AGRICULTURAL, Cover.PLOWED, Cover.HERBACEOUS) and rng.random() < 0.3:
            self.plant_hedge(parcel, across)

    # ------------------------------------------------------------------ trees

    def plant(self, where: Mask, kind: Cover, spacing: float, keep: float) -> None:
        """Plant a jittered grid of trees or bushes; `spacing` in metres, `keep` the share that is planted."""
        ticks = np.arange(-self.extent / 2, self.extent / 2, spacing)
        points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
        points = points + self.rng.uniform(-0.42, 0.42, points.shape) * spacing
        kept = (self.rng.random(len(points)) < keep) & where[self.pixels(points)]
        x, y = points[kept].T
        radius, height = CROWNS[kind]
        sizes = (self.rng.uniform(*radius, x.shape), self.rng.uniform(*height, x.shape))
        planted = np.stack([x, y, *sizes, np.full(x.shape, kind)], axis=1)
        self.crowns = np.concatenate([self.crowns, planted])

    def fell(self, where: Mask) -> None:
        """Remove the trees and bushes on these pixels."""
        self.crowns = self.crowns[~where[self.pixels(self.crowns[:, :2])]]

    def plant_hedge(self, parcel: Mask, across: Floats) -> None:
        """Plant bushes and trees along one long edge of a parcel."""
        edge = parcel & (across > across[parcel].max() - 2.5)
        self.plant(edge, Cover.DECIDUOUS if self.rng.random() < 0.5 else Cover.BRUSHWOOD, 2.6, keep=0.8)

    def pixels(self, points: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the (rows, columns) nearest to points [number, 2], within the canvas."""
        last = len(self.x) - 1
        place = last / 2 + points * (1, -1) / self.pixel_size
        column, row = np.clip(np.rint(place), 0, last).astype(np.intp).T
        return row, column

    def grow(self) -> None:
        """Draw the crowns over everything but roofs; of overlapping crowns the higher one is seen."""
        if not len(self.crowns):
            return
        x, y, radius, top, kind = self.crowns.T
        tint = self.rng.standard_normal(len(x))
        points = np.stack([self.x, self.y], axis=-1)
        tree = cKDTree(np.stack([x, y], axis=1))
        distance, index = tree.query(points, [1, 2, 3, 4], distance_upper_bound=1.5 * radius.max())
        index[np.isinf(distance)] = 0  # where fewer crowns are near; the distance keeps them from being drawn
        # An uneven outline: nothing that grows is a disc.
        ratio = distance * (1 + 0.1 * self.fine[..., None]) / radius[index]
        cone = kind[index] == Cover.CONIFEROUS
        dome = top[index] * np.where(cone, 1 - 0.7 * ratio, 1 - 0.5 * ratio**2)
        dome[ratio > 1] = -1
        best = dome.argmax(axis=-1)[..., None]
        crown = np.take_along_axis(dome, best, axis=-1)[..., 0]
        owner = np.take_along_axis(index, best, axis=-1)[..., 0]
        seen = (crown > self.height) & (self.cover != Cover.BUILDING)
        for cover, material in (
            (Cover.CONIFEROUS, Material.CONIFER),
            (Cover.DECIDUOUS, Material.BROADLEAF),
            (Cover.BRUSHWOOD, Material.SHRUB),
        ):
            shown = seen & (kind[owner] == cover)
            self.paint(shown, cover, material, tint[owner], 0.09 * self.fine, crown)

    # ------------------------------------------------------------------ water, roads, houses

    def lay_water(self) -> None:
        """Place a pond or a stream, with trees on its bank."""
        if self.rng.random() < 0.6:
            x, y = self.rng.uniform(-0.3, 0.3, 2) * self.extent
            along, across = self.along_across(x, y, self.rng.uniform(0, np.pi))
            length, width = self.rng.uniform(22, 42), self.rng.uniform(13, 24)
            depth = width * (1 - np.hypot(along / length, across / width)) + 2.2 * self.coarse
        else:
            width = self.rng.uniform(3, 7)
            depth = width - np.abs(self.course(self.rng.uniform(0, np.pi), 0.3, 9.0)[1])
        bank = (depth <= 0) & (depth > -3.5)
        self.paint((depth <= 0) & (depth > -1.6), Cover.BARE_SOIL, Material.SOIL, 0.0, 0.06 * self.fine)
        self.paint(depth > 0, Cover.WATER, Material.WATER, 0.7 * self.coarse, 0.02 * self.middle)
        self.fell(depth > -2)
        self.plant(bank, Cover.DECIDUOUS, 5.0, keep=0.35)

    def course(self, angle: float, reach: float, swing: float) -> tuple[Floats, Floats]:
        """Return the (along, across) metres [rows, columns] of a gently winding line through the canvas."""
        x, y = self.rng.uniform(-reach, reach, 2) * self.extent
        along, across = self.along_across(x, y, angle)
        winding = swing * np.sin(2 * np.pi * (along / self.rng.uniform(110, 190) + self.rng.random()))
        return along, across - winding

    def build(self, settlement: Settlement) -> None:
        """Place one or two roads and, in a settled zone, the houses and gardens."""
        settled = self.rng.random() < settlement.built
        angle = float(self.rng.uniform(0, np.pi))
        crossing = self.rng.random() < settlement.crossing
        roads = [angle, angle + np.pi / 2 + self.rng.normal(0, 0.08)] if crossing else [angle]
        courses = []
        for turn in roads:
            along, across = self.course(turn, 0.22, self.rng.uniform(0, 5))
            paved = settled or self.rng.random() < 0.6
            width = self.rng.uniform(2.2, 3.0) if paved else 1.7
            self.lay_road(along, across, width, paved)
            courses.append((turn, along, across, width))
        if settled:
            for turn, along, across, width in courses:
                self.lay_houses(settlement, turn, along, across, width)
        elif self.rng.random() < 0.35:
            self.lay_yard()

    def lay_road(self, along: Floats, across: Floats, width: float, paved: bool) -> None:
        """Draw a road of half width `width` metres with its verges."""
        off = np.abs(across)
        self.fell(off < width + 2)
        verge = (off < width + 1.6) & (self.cover != Cover.IMPERVIOUS)
        self.paint(verge, Cover.HERBACEOUS, Material.GRASS, 0.4 * self.coarse, 0.06 * self.fine)
        if paved:
            worn = 0.03 * self.fine + 0.04 * np.cos(2 * np.pi * across / width) + 0.03 * self.middle
            self.paint(off < width, Cover.IMPERVIOUS, Material.ASPHALT, self.rng.normal(), worn)
        else:
            ruts = 0.08 * self.fine - 0.12 * (off < 0.5)
            self.paint(off < width, Cover.PERVIOUS, Material.GRAVEL, self.rng.normal(), ruts)

    def lay_yard(self) -> None:
        """Place a gravel yard or a car park away from houses."""
        x, y = self.rng.uniform(-0.3, 0.3, 2) * self.extent
        along, across = self.along_across(x, y, self.rng.uniform(0, np.pi))
        free = (self.cover != Cover.IMPERVIOUS) & (self.cover != Cover.WATER)
        yard = (np.abs(along) < self.rng.uniform(9, 18)) & (np.abs(across) < self.rng.uniform(7, 13)) & free
        self.fell(yard)
        self.paint(yard, Cover.PERVIOUS, Material.GRAVEL, self.rng.normal(), 0.08 * self.fine + 0.06 * self.middle)

    def lay_houses(self, settlement: Settlement, turn: float, along: Floats, across: Floats, width: float) -> None:
        """Place plots on both sides of a road, each with garden, yard and house."""
        plot = settlement.house_length * 1.75
        reach = self.extent / 2
        for side in (-1, 1):
            for start in np.arange(-reach, reach, plot) + self.rng.uniform(0, plot):
                taken, scattered = self.rng.random(2)
                if taken > settlement.density:
                    continue
                depth = width + settlement.setback * self.rng.uniform(0.8, 1.2) + 0.4 * settlement.house_length
                # The house is placed by the road's own coordinates, so that a row follows the bends.
                row, column = np.unravel_index(
                    np.argmin(np.abs(along - start) + np.abs(across - side * depth)), along.shape
                )
                x, y = float(self.x[row, column]), float(self.y[row, column])
                if scattered < settlement.scattered:
                    x, y = (float(value) for value in self.rng.uniform(-reach, reach, 2))
                self.lay_plot(settlement, x, y, turn + float(self.rng.normal(0, settlement.disorder)))

    def lay_plot(self, settlement: Settlement, x: float, y: float, angle: float) -> None:
        """Place one garden with yard, trees and house, unless something else is in the way of the house."""
        rng = self.rng
        half_length = settlement.house_length / 2 * rng.uniform(0.85, 1.25)
        half_width = max(2.8, half_length * rng.uniform(0.55, 0.8))
        along, across = self.along_across(x, y, angle)
        house = (np.abs(along) < half_length) & (np.abs(across) < half_width)
        blocked = np.isin(self.cover, (Cover.BUILDING, Cover.IMPERVIOUS, Cover.WATER))
        if not house.any() or (blocked & house).any():
            return
        garden = (np.abs(along) < half_length + 4.5) & (np.abs(across) < half_width + 7) & ~blocked
        self.fell(garden)
        self.paint(
            garden,
            Cover.HERBACEOUS,
            Material.GRASS,
            rng.normal(0, 0.7),
            0.06 * self.fine + 0.03 * self.middle,
        )
        yard = garden & (along > half_length * rng.uniform(-0.9, 0.6)) & (across * rng.choice([-1, 1]) > -half_width)
        if rng.random() < 0.75:
            self.paint(yard, Cover.PERVIOUS, Material.GRAVEL, rng.normal(), 0.08 * self.fine)
        else:
            self.paint(yard, Cover.IMPERVIOUS, Material.ASPHALT, rng.normal(), 0.05 * self.fine)
        self.plant(garden & ~house & ~yard, Cover.DECIDUOUS, 5.5, keep=0.3)
        eaves = 2.7 * settlement.storeys * rng.uniform(0.85, 1.2)
        kinds = (Material.ROOF_MAIN, Material.ROOF_OTHER, Material.ROOF_FLAT)
        kind = kinds[int(rng.choice(3, p=(0.66, 0.2, 0.14)))]
        pitch = 0.0 if kind == Material.ROOF_FLAT else rng.uniform(0.45, 0.8)
        roof = eaves + pitch * (half_width - np.abs(across))
        self.paint(house, Cover.BUILDING, kind, rng.normal(), 0.035 * self.fine, roof)
