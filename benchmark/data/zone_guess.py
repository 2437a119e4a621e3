"""Patches and zones of unknown images: blocks of the ground where a place has too few images to be parted."""

from collections import Counter
from collections.abc import Mapping

from benchmark.data.layout import Layout
from benchmark.data.look import Header

_PATCHES = (512, 256, 128, 64)  # sides, in pixels
_ACROSS = 8  # patches along an image that is cut into blocks, at least
_MANY = 16  # patches along an image from which a block is four of them wide, else two
_ZONES = 4  # grounds of a place, so that each part gets one where the held-out times share them
_OF_TIME = {"date", "year", "period"}


def patch_size(side: int) -> int:
    """Return the side of the patches of images that are parts of a fold as they are: all of a small one."""
    return side if side <= _PATCHES[0] else next((size for size in _PATCHES[:2] if side % size == 0), 256)


def guess_blocks(layout: Layout, images: Mapping[str, Header], side: int) -> tuple[int, str] | None:
    """Return the side of the patches and the key ``zone`` where some place has too few images for the parts of a fold.

    Args:
        layout: layout of the folder.
        images: header of each image.
        side: shorter side of the images, in pixels.

    Returns:
        None where the images themselves can be dealt to the parts, or are too small to be cut.
    """
    grounds = Counter(fields.get("place", "") for fields in _grounds(layout))
    patch = next((size for size in _PATCHES if side // size >= _ACROSS), 0)
    if not patch or min(grounds.values()) >= _ZONES:
        return None
    block = patch * (4 if side // patch >= _MANY else 2)
    if metres := _metres(images):
        return patch, f"block:{block * metres:.10g} m"
    name = layout.names.zone or "{stem}"
    return patch, f"{name}/block:{block} px"


def _grounds(layout: Layout) -> list[dict[str, str]]:
    """Return what is captured of each image but its time, once for each."""
    kept = [{k: v for k, v in fields.items() if k not in _OF_TIME} for fields in layout.captures.values()]
    return [dict(each) for each in {tuple(sorted(fields.items())) for fields in kept}]


def _metres(images: Mapping[str, Header]) -> float:
    """Return the metres a pixel of images that are all in metres and of one size a pixel; 0.0 for others."""
    places = [each.place for each in images.values()]
    found = {
        round(abs(place.transform.a), 9)
        if place and place.crs and place.crs.is_projected and place.crs.linear_units_factor[1] == 1
        else 0.0
        for place in places
    }
    return found.pop() if len(found) == 1 else 0.0
