"""Descriptions of unknown folders, guessed from their names, headers and a few pixels, for a person to correct."""

import filecmp
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

import numpy as np

from benchmark.common.errors import DataError
from benchmark.data.class_guess import MANY, guess_classes, spread
from benchmark.data.classes import POLYGONS
from benchmark.data.layout import Layout, read_layout
from benchmark.data.look import Header, read_header, sample_image, sample_mask
from benchmark.data.polygon_guess import guess_attribute
from benchmark.data.tables import read_table
from benchmark.data.templates import nfc
from benchmark.data.zone_guess import guess_blocks, patch_size

MOST_IMAGES = 12  # whose pixels are looked at
_TAIL, _COMPARED = 1 << 16, 50  # bytes by which files that may be equal are found, and pairs that are read whole
_MOST_EXCLUDED = 20  # damaged images that are named
_PLACES = ("place", "site", "city", "town", "region", "area", "location", "country", "domain")


@dataclass
class Described:
    """Description of a folder.

    Attributes:
        lines: lines of the TOML file, but ``root``.
        remarks: what a person should look at.
    """

    lines: list[str]
    remarks: list[str]


@dataclass
class _Bands:
    names: list[str]
    why: str
    remarks: list[str] = field(default_factory=list)


def describe(root: Path, name: str) -> Described:
    """Describe a folder of images and masks.

    All headers are read, the pixels of at most `MOST_MASKS` masks and `MOST_IMAGES` images.

    Raises:
        DataError: there is no image, or not one name pattern for most of them.
    """
    layout = read_layout(root, lambda below: _holds_classes(root / below))
    polygons = layout.mask.lower().endswith(POLYGONS)
    headers, damaged = _headers(root, [*layout.images, *({} if polygons else filter(None, layout.images.values()))])
    remarks = [f"{len(damaged)} files cannot be read: {damaged[0]}"] if damaged else []
    images = {below: headers[below] for below in layout.images if below in headers}
    masks = {mask: headers[mask] for mask in layout.images.values() if mask in headers}
    if not images:
        raise DataError(f"{root}: no image can be read: {damaged[0]}")
    if polygons and not all(each.place for each in images.values()):
        remarks.append(f"{layout.mask} is not used: polygons need georeferenced images, and some are not")
        layout.mask, layout.images, polygons = "", dict.fromkeys(layout.images, ""), False
    remarks += _file_remarks(root, layout, images, headers)
    bands = _bands(root, images)
    mask_field, classes = "", guess_classes(root, masks)
    if polygons:
        mask_field, classes = guess_attribute(root, sorted({mask for mask in layout.images.values() if mask}))
    remarks += [*bands.remarks, *classes.remarks, *layout.names.remarks]
    table, place, of_table = _table(root, layout)
    remarks += of_table
    if not place:
        place = name
        remarks.append("no place can be guessed from the names: all is one place here, of which none can be held out")
    height, width = Counter((each.height, each.width) for each in images.values()).most_common(1)[0][0]
    unreadable = [escape(nfc(image)) for image in layout.images if image not in images][:_MOST_EXCLUDED]
    exclude = [*layout.names.exclude, *unreadable]
    side = min(height, width)
    patch, zone = guess_blocks(layout, images, side) or (patch_size(side), layout.names.zone)
    why = "one ground at all times" if zone == layout.names.zone else "few images a place, so each is cut into squares"
    lines = [
        f"name = {_quoted(name)}",
        f"bands = {json.dumps(bands.names, ensure_ascii=False)}  # {bands.why}",
        f"patch_size = {patch}  # images are {width} x {height} pixels, cut into squares",
        f"image = {_quoted(layout.names.template)}  # {len(layout.images)} images",
        *([f"exclude = {json.dumps(exclude, ensure_ascii=False)}  # no images, or damaged"] if exclude else []),
        *([f"mask = {_quoted(layout.mask)}"] if layout.mask else []),
        *([f"mask_field = {_quoted(mask_field)}  # the attribute that holds the class"] if mask_field else []),
        *(["# background = a class's name: what is in no polygon; without it, that is ignored"] if mask_field else []),
        f"place = {_quoted(place)}{_seen(layout, 'place')}",
        *([f"time = {_quoted(layout.names.time)}{_seen(layout, 'year', 'date')}"] if layout.names.time else []),
        *([f"zone = {_quoted(zone)}  # {why}"] if zone else []),
        *table,
        f"ignore = {json.dumps(classes.ignore)}  # values (or colours) that are no class, such as unlabelled pixels",
        *([f"unknown_share = {classes.unknown}  # of a mask may be other values"] if classes.unknown else []),
    ]
    if ground := _ground(images):
        lines.append(f"# {ground}")
    for each in classes.classes:
        value = [] if each.value is None else [f"value = {each.value}"]
        share = "" if each.share is None else f"  # {each.share:.1%} of the pixels looked at"
        lines += ["", "[[classes]]", f"name = {_quoted(each.name)}{share}", f'color = "{each.color}"', *value]
    return Described(lines, remarks)


def _headers(root: Path, files: Sequence[str]) -> tuple[dict[str, Header], list[str]]:
    headers, damaged = {}, []
    for below in files:
        try:
            headers[below] = read_header(root / below)
        except DataError as error:
            damaged.append(str(error))
    return headers, damaged


def _holds_classes(path: Path) -> bool:
    try:
        header = read_header(path)
        return header.count == 1 and len(sample_mask(path, header, colored=False)) <= MANY
    except DataError:
        return False


def _file_remarks(root: Path, layout: Layout, images: Mapping[str, Header], headers: Mapping[str, Header]) -> list[str]:
    """Return what is odd about which files there are, and their headers."""
    remarks = []
    without = [image for image, mask in layout.images.items() if not mask]
    if not layout.mask:
        remarks.append("no masks were found: add 'mask' and the classes, if there are any")
    elif without:
        remarks.append(f"{len(without)} of {len(layout.images)} images have no mask, such as {without[0]}")
    if layout.lonely_masks:
        remarks.append(f"{len(layout.lonely_masks)} masks have no image, such as {layout.lonely_masks[0]}")
    if layout.unread:
        remarks.append(f"{len(layout.unread)} images do not fit the template, such as {layout.unread[0]}")
    pairs = equal_files([root / image for image in layout.images])
    if pairs:
        names = " and ".join(path.relative_to(root).as_posix() for path in pairs[0])
        remarks.append(f"{len(pairs)} pairs of images are the same file, such as {names}")
    remarks += [
        f"{len(files)} further images are not used: {shape}, such as {files[0]}"
        for shape, files in layout.others.items()
    ]
    for what, value in (
        ("sizes", lambda each: f"{each.width} x {each.height}"),
        ("types", lambda each: each.dtype),
        ("numbers of bands", lambda each: str(each.count)),
        ("coordinate systems", lambda each: _crs(each) or "none"),
    ):
        counts = Counter(value(each) for each in images.values())
        if len(counts) > 1:
            shown = ", ".join(f"{text} ({count})" for text, count in counts.most_common(4))
            remarks.append(f"the images have {len(counts)} {what}: {shown}")
    unlike = [
        (image, mask) for image, mask in layout.images.items() if mask in headers and image in headers
        and (headers[image].height, headers[image].width) != (headers[mask].height, headers[mask].width)
    ]  # fmt: skip
    if unlike:
        remarks.append(f"{len(unlike)} masks have another size than their image, such as {unlike[0][1]}")
    if scaled := [image for image, each in images.items() if each.scaled]:
        remarks.append(f"{len(scaled)} images say that their numbers are to be scaled, such as {scaled[0]}")
    return remarks


def equal_files(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return pairs of files with the same bytes; only files of one size with one ending are compared whole."""
    alike: dict[tuple[int, bytes], list[Path]] = defaultdict(list)
    sizes = Counter(path.stat().st_size for path in paths)
    for path in paths:
        if sizes[size := path.stat().st_size] > 1:
            with path.open("rb") as file:
                file.seek(max(size - _TAIL, 0))
                alike[size, hashlib.sha256(file.read()).digest()].append(path)
    pairs = [(group[0], other) for group in alike.values() for other in group[1:]]
    return [(one, other) for one, other in pairs[:_COMPARED] if filecmp.cmp(one, other, shallow=False)]


def _bands(root: Path, images: Mapping[str, Header]) -> _Bands:
    """Return names of the bands: those that the files give, else a guess that says so; and what their pixels hold."""
    most = Counter((each.count, each.dtype) for each in images.values()).most_common(1)[0][0]
    chosen = [below for below, each in images.items() if (each.count, each.dtype) == most]
    header = images[chosen[0]]
    pixels = {} if header.kinds[0] == "palette" else _sampled(root, images, chosen)
    count = 3 if header.kinds[0] == "palette" else header.count
    bands = _named_bands(header, count, pixels)
    dtype = str(next(iter(pixels.values())).dtype) if pixels else header.dtype
    bands.why += f"; {dtype}"
    if not pixels:
        return bands
    low = np.min([np.fmin.reduce(pixel, 1) for pixel in pixels.values()], 0)  # these two pass over NaN
    high = np.max([np.fmax.reduce(pixel, 1) for pixel in pixels.values()], 0)
    for number, name in enumerate(bands.names):
        if low[number] == high[number]:
            bands.remarks.append(f"band {name} is {low[number]:g} everywhere in the {len(pixels)} images looked at")
    equal = [
        (one, other)
        for one in range(len(bands.names)) for other in range(one)
        if all((pixel[one] == pixel[other]).all() for pixel in pixels.values())
    ]  # fmt: skip
    if equal:
        names = ", ".join(f"{bands.names[other]} and {bands.names[one]}" for one, other in equal)
        bands.remarks.append(f"these bands hold the same numbers: {names}")
    if dtype.startswith("float"):
        missing = np.mean([np.isnan(pixel).mean() for pixel in pixels.values()])
        bands.why += f", {float(np.fmin.reduce(low)):g} to {float(np.fmax.reduce(high)):g}"
        if missing:
            bands.remarks.append(f"{missing:.2%} of the pixels looked at are NaN")
    else:
        bands.why += f", {low.min()} to {high.max()}"
    return bands


def _sampled(root: Path, images: Mapping[str, Header], chosen: Sequence[str]) -> dict[str, np.ndarray]:
    pixels = {}
    for below in spread(chosen, MOST_IMAGES):
        try:
            pixels[below] = sample_image(root / below, images[below])
        except DataError:  # its header could be read; `data stats` and a run say what is wrong
            continue
    return {below: pixel for below, pixel in pixels.items() if pixel.size}


def _named_bands(header: Header, count: int, pixels: Mapping[str, np.ndarray]) -> _Bands:
    described = [text.strip() for text in header.descriptions]
    if described and all(described) and len(set(described)) == len(described):
        return _Bands(described, "as the files name them")
    if count == 1:
        return _Bands(["grey"], "one band")
    last = (
        {int(value) for pixel in list(pixels.values())[:4] for value in np.unique(pixel[-1])[:3]} if pixels else set()
    )
    if header.kinds[-1] == "alpha" and (count == 2 or last <= {0, 255, 65535}):
        colors = _Bands(["grey"] if count == 2 else [*header.kinds[:-1]], "as the files say, beside alpha")
        return colors if all(name != "undefined" for name in colors.names) else _numbered(count - 1)
    light = list(header.kinds[:3])
    if {*light} == {"red", "green", "blue"}:
        if count == 3:
            return _Bands(light, "as the files say")
        more = ["nir", *(f"band_{number}" for number in range(5, count + 1))]
        return _Bands([*light, *more], "a guess: the files name the first three alone")
    return _numbered(count)


def _numbered(count: int) -> _Bands:
    guess = {3: ["red", "green", "blue"], 4: ["red", "green", "blue", "nir"]}
    names = guess.get(count, [f"band_{number}" for number in range(1, count + 1)])
    bands = _Bands(names, "a guess: the files do not say")
    bands.remarks.append(f"the files do not say what their {count} bands are: correct 'bands'")
    return bands


def _table(root: Path, layout: Layout) -> tuple[list[str], str, list[str]]:
    """Return lines about a table of the images, the place (of it, if names give none), and what is odd."""
    place = layout.names.place
    stems = {nfc(image.rpartition("/")[2].rpartition(".")[0]) for image in layout.images}
    remarks = []
    for below in layout.tables[:20]:
        try:
            table = read_table(root / below)
        except DataError:
            continue
        share = len(stems & {*table.rows}) / len(stems)
        if share < 0.5:
            continue
        columns = list(next(iter(table.rows.values())))[1:]
        shown = re.sub(r"[\x00-\x1f\x7f]", " ", ", ".join(columns[:8])) + (" …" if len(columns) > 8 else "")
        if share < 1:
            remarks.append(f"{below} has rows for {share:.0%} of the images (columns {shown}); 'table' needs all")
            continue
        column = next((name for wanted in _PLACES for name in columns if name.lower() == wanted), "")
        used = not place and bool(column)
        note = (
            f"a row for each image; its columns can be used as {{{column or columns[0] if columns else ''}}}: {shown}"
        )
        return (
            [f"{'' if used else '# '}table = {_quoted(below)}  # {note}"],
            f"{{{column}}}" if used else place,
            remarks,
        )
    return [], place, remarks


def _seen(layout: Layout, *names: str) -> str:
    """Return a comment with the values of a capture."""
    for name in names:
        values = sorted({fields[name] for fields in layout.captures.values() if name in fields})
        if values:
            shown = ", ".join(values[:6]) + (f" … {values[-1]}" if len(values) > 6 else "")
            shown = f"  # {len(values)}{' dates' if name == 'date' else ''}: {shown}"
            return shown if re.fullmatch(r"[^\n\r\x00-\x1f]+", shown) else ""
    return ""


def _crs(header: Header) -> str:
    crs = header.place.crs if header.place else None
    if crs is None:
        return "without a name" if header.place else ""
    return f"EPSG:{code}" if (code := crs.to_epsg()) else str(crs.to_wkt())[:40]


def _ground(images: Mapping[str, Header]) -> str:
    placed = [each for each in images.values() if each.place]
    if not placed:
        return "no georeference: x and y can be given, as columns of a table"
    systems = ", ".join(name for name, _ in Counter(map(_crs, placed)).most_common(4))
    sizes = sorted({abs(round(each.place.transform.a, 9)) for each in placed if each.place})
    unit = "degrees" if placed[0].place and placed[0].place.crs and placed[0].place.crs.is_geographic else "m"
    shown = f"{sizes[0]:g}" if len(sizes) == 1 else f"{sizes[0]:g} to {sizes[-1]:g}"
    some = "" if len(placed) == len(images) else f" ({len(placed)} of {len(images)} images)"
    return f"on the ground: {systems}, {shown} {unit} a pixel{some}; x and y come from the files"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
