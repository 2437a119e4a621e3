"""Classes of unknown masks, guessed from the values or colours in a few of them."""

import colorsys
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmark.common.errors import DataError
from benchmark.data.classes import color_value, slug
from benchmark.data.look import Header, category_names, sample_mask

MOST_MASKS = 50  # whose pixels are looked at
MANY = 64  # more values than that are not all classes
_RARE = 0.002  # share of the pixels of a value that is then none
_NEAR = 48  # levels between colours of one class in a lossy file
_MOST_CLASSES = 253


@dataclass(frozen=True)
class ClassGuess:
    """A class: its name, colour, share of the pixels looked at (None if made up), and value (None where colours)."""

    name: str
    color: str
    share: float | None
    value: int | None


@dataclass
class ClassGuesses:
    """Classes of the masks of a folder, as guessed.

    Attributes:
        classes: at least two.
        ignore: values, or colours, that are no class.
        unknown: share of one mask that is neither, rounded up; 0 where there is none.
        remarks: what a person should look at.
    """

    classes: list[ClassGuess]
    ignore: list[int | str] = field(default_factory=list)
    unknown: float = 0.0
    remarks: list[str] = field(default_factory=list)


def guess_classes(root: Path, masks: Mapping[str, Header]) -> ClassGuesses:
    """Guess the classes of masks below a folder, by the pixels of at most `MOST_MASKS`."""
    if not masks:
        return ClassGuesses(_two([], colored=False))
    remarks = []
    kinds = Counter((each.count, each.dtype) for each in masks.values())
    if len(kinds) > 1:
        shown = ", ".join(f"{bands} of {dtype} ({count})" for (bands, dtype), count in kinds.most_common())
        remarks.append(f"the masks have {len(kinds)} numbers or types of bands: {shown}")
    bands, dtype = max(kinds)
    colored = bands in (3, 4)
    if bands not in (1, 3, 4) or dtype.startswith(("float", "complex")):
        remarks.append(f"masks of {bands} bands of {dtype} hold no classes; integers in one band do, or colours")
        return ClassGuesses(_two([], colored=False), remarks=remarks)
    counts, unread = _counts(root, masks, colored)
    counted = sum(map(Counter, counts), Counter[int]())
    total = max(counted.total(), 1)
    if unread:
        remarks.append(f"{len(unread)} masks cannot be read: {unread[0]}")
    if counted and min(counted) < 0:
        remarks.append(f"masks hold {min(counted)}, which no class can have: make it the file's nodata value")
    kept = sorted(value for value in counted if 0 <= value < 1 << 24)
    lossy = any(each.lossy for each in masks.values())
    if len(kept) > MANY or lossy:
        kept = _frequent(counted, total, colored)
        why = "masks are stored with loss (JPEG)" if lossy else "masks hold many values"
        remarks.append(f"{why}: of {len(counted)} values {len(kept)} are taken for classes; PNG or GeoTIFF keep them")
    ignore: list[int | str] = []
    nodata = {each.nodata for each in masks.values() if each.nodata is not None and not colored}
    ignore += sorted(int(value) for value in nodata if value not in kept and value in range(1 << 16))
    if not colored and len(kept) > 2 and kept[-1] in (255, 65535) and kept[-2] < 200:
        ignore.append(unlabelled := kept.pop())
        remarks.append(f"{unlabelled} ({counted[unlabelled] / total:.1%} of the pixels) is taken for 'no label'")
    if both := sorted(value for value in nodata if value in kept):
        remarks.append(f"the nodata tag of some masks is {both[0]:g}, which others hold: remove the tag, or the class")
    if len(kept) < 2:
        remarks.append(f"the {len(counts)} masks looked at hold {len(kept)} value; what is missing to two is made up")
    known = {*kept, *ignore}
    others = [sum(n for value, n in each.items() if value not in known) / max(sum(each.values()), 1) for each in counts]
    unknown = min(math.ceil(max(others, default=0) * 150) / 100, 1.0)  # half as much again as in those looked at
    first = next((each for each in masks.values() if each.colors), next(iter(masks.values())))
    names = category_names(root / next(iter(masks)))
    classes = [
        ClassGuess(f"class_{number}", f"#{value:06x}", counted[value] / total, None)
        if colored
        else ClassGuess(names.get(value, f"class_{value}"), first.colors.get(value, ""), counted[value] / total, value)
        for number, value in enumerate(kept)
    ]
    return ClassGuesses(two_unlike(classes, colored=colored), ignore, unknown, remarks)


def spread(items: Sequence[str], most: int) -> list[str]:
    """Return at most so many items, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[int(number)] for number in np.linspace(0, len(items) - 1, most)]


def _counts(root: Path, masks: Mapping[str, Header], colored: bool) -> tuple[list[dict[int, int]], list[str]]:
    counts, unread = [], []
    for below in spread(list(masks), MOST_MASKS):
        try:
            counts.append(sample_mask(root / below, masks[below], colored=colored))
        except DataError as error:
            unread.append(str(error))
    return counts, unread


def two_unlike(classes: list[ClassGuess], *, colored: bool) -> list[ClassGuess]:
    """Return at least two classes, with names and colours that are all unlike."""
    return _unlike(_two(classes, colored=colored))


def _two(classes: list[ClassGuess], *, colored: bool) -> list[ClassGuess]:
    """Return the classes, with made-up ones where there are fewer than two: a data set has at least two."""
    made: list[ClassGuess] = []
    for color in ("#d8cfae", "#1b6e3c")[: max(2 - len(classes), 0)]:
        free = next(v for v in range(256) if v not in {each.value for each in [*classes, *made]})
        made.append(ClassGuess(f"made_up_{len(made)}", color, None, None if colored else free))
    return [*classes, *made]


def _frequent(counted: Counter[int], total: int, colored: bool) -> list[int]:
    """Return the frequent values, of those near each other the most frequent one."""
    kept: list[int] = []
    for value, count in counted.most_common():
        if count / total < _RARE or len(kept) == _MOST_CLASSES:
            break
        if all(_distance(value, other, colored) > (_NEAR if colored else _NEAR // 3) for other in kept):
            kept.append(value)
    return sorted(value for value in kept if value >= 0)


def _distance(one: int, other: int, colored: bool) -> int:
    if not colored:
        return abs(one - other)
    return max(abs((one >> shift & 255) - (other >> shift & 255)) for shift in (16, 8, 0))


def _unlike(classes: Sequence[ClassGuess]) -> list[ClassGuess]:
    """Return the classes with names and colours that are all unlike; what is missing is made."""
    used = {each.color for each in classes if each.color}
    wheel = (color for color in _wheel() if color not in used)
    names: set[str] = set()
    colors: set[str] = set()
    result = []
    for number, each in enumerate(classes):
        key = slug(each.name)
        name = each.name if key and key not in names else f"class_{number if each.value is None else each.value}"
        color = each.color if each.color and color_value(each.color) not in map(color_value, colors) else next(wheel)
        names.add(slug(name))
        colors.add(color)
        result.append(replace(each, name=name, color=color))
    return result


def _wheel() -> Iterator[str]:
    """Yield colours, each far from those before it: hues by the golden section, two strengths, three brightnesses."""
    for number in range(4096):
        rgb = colorsys.hsv_to_rgb(number * 0.618034 % 1, (0.85, 0.55)[number % 2], (0.85, 0.95, 0.6)[number % 3])
        yield "#" + "".join(f"{round(level * 255):02x}" for level in rgb)
