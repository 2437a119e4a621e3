"""Layout of an unknown folder: which files are images, which are their masks, and what their names say."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.common.errors import DataError
from benchmark.data.classes import POLYGONS
from benchmark.data.names import Names, image_names
from benchmark.data.templates import fill, is_hidden, nfc

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".webp", ".bmp")
MOST_FILES = 1_000_000
_MASKS = {
    *("mask", "masks", "msk", "msks", "label", "labels", "lbl", "lbls", "gt", "gts", "groundtruth", "truth"),
    *("annotation", "annotations", "anno", "annos", "seg", "segmentation"),
}
_IMAGES = {"image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "rgb", "rgbn", "irrg", "sat"}
_FEW = 5  # pairs from which a template of the masks is guessed


@dataclass
class Layout:
    """Layout of a folder.

    Attributes:
        names: what the images' names say.
        mask: template of the masks, "" if there are none.
        images: path of each image below the root, in the order of the disk's names, with its mask or "".
        captures: what the template captured of each of these images.
        unread: images of the same kind that the template does not read.
        lonely_masks: masks without an image.
        others: files of the other endings and series that are no part of it, by what they look like.
        tables: CSV files.
    """

    names: Names
    mask: str
    images: dict[str, str]
    captures: dict[str, dict[str, str]]
    unread: list[str] = field(default_factory=list)
    lonely_masks: list[str] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)


def read_layout(root: Path, is_mask: Callable[[str], bool]) -> Layout:
    """Guess the layout of a folder from the names in it.

    Args:
        root: folder.
        is_mask: function that says of a file (below the root) whether it holds classes; called for a few where names
            do not say which files are masks.

    Raises:
        DataError: there are no images, or their names cannot be written as one template.
    """
    files = _files(root)
    pictures = [name for name in files if name.lower().endswith(ENDINGS)]
    if not pictures:
        raise DataError(f"{root}: holds no image ({', '.join(ENDINGS)})")
    masks = [name for name in pictures if _says_mask(name)]
    images = [name for name in pictures if not _says_mask(name)]
    if not images:
        masks, images = [], pictures
    shapes = [name for name in files if name.lower().endswith(POLYGONS)]
    if not masks:
        masks, images = _by_content(images, is_mask)
        masks = masks or shapes
    one = len(shapes) == 1 and masks == shapes  # polygons of all images
    pairs = dict.fromkeys(images, shapes[0]) if one else _pairs(images, masks)
    series = _series(images, pairs)
    chosen, rest = series[0], series[1:]
    names, captures = image_names(root, chosen)
    template, of_image = _mask_template({name: pairs.get(name, "") for name in captures}, captures)
    used = {mask for mask in of_image.values() if mask}
    return Layout(
        names,
        template,
        of_image,
        captures,
        unread=[name for name in chosen if name not in captures],
        lonely_masks=[name for name in masks if name not in used and _same_kind(name, used)],
        others={_shape(group[0]): group for group in rest},
        tables=[name for name in files if name.lower().endswith(".csv")],
    )


def _files(root: Path) -> list[str]:
    """Return the files below a folder, with slashes; hidden ones and those of systems are left out."""
    found: list[str] = []
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not is_hidden(nfc(name)))
        prefix = Path(folder).relative_to(root).as_posix()
        found += [name if prefix == "." else f"{prefix}/{name}" for name in sorted(names) if not is_hidden(nfc(name))]
        if len(found) > MOST_FILES:
            raise DataError(f"{root}: holds more than {MOST_FILES:,} files; name a folder that is the data set's own")
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", re.sub(r"ground[\W_]?truth", "groundtruth", nfc(text).lower()))


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _says_mask(name: str) -> bool:
    """Return whether a folder's name, or the first or last word of the file's, says that it is a mask."""
    folders = name.rpartition("/")[0]
    of_file = _words(_stem(name))
    return bool(_MASKS & {*_words(folders), *of_file[:1], *of_file[-1:]})


def _keys(names: Sequence[str], *, whole: bool, shared: bool) -> dict[str, tuple[str, ...]]:
    """Return what an image and its mask have in common: the words and numbers of the path that say not which it is.

    Args:
        names: paths of all images, or of all masks.
        whole: whether the folders count.
        shared: whether words that all of these files' names hold count.
    """
    common = set() if shared else set.intersection(*({*_words(_stem(name))} for name in names))
    keys = {}
    for name in names:
        path = re.sub(r"ground[\W_]?truth", "groundtruth", nfc(name.rpartition(".")[0]).lower())
        parts = re.findall(r"[^\W\d_]+|\d+|/", path if whole else path.rpartition("/")[2])
        kept = [part for part in parts if part not in _MASKS | _IMAGES | common]
        keys[name] = tuple(
            part for place, part in enumerate(kept) if part != "/" or kept[place - 1 : place] not in ([], ["/"])
        )
    return keys


def _pairs(images: Sequence[str], masks: Sequence[str]) -> dict[str, str]:
    """Return the mask of each image that has one: by the whole path, or, where no two are paired so, by the file."""
    if not images or not masks:
        return {}
    for whole, shared in ((True, True), (True, False), (False, True), (False, False)):
        mask_of = {key: mask for mask, key in reversed(_keys(masks, whole=whole, shared=shared).items()) if key}
        of_images = _keys(images, whole=whole, shared=shared)
        found = {image: mask_of[key] for image, key in of_images.items() if key in mask_of}
        if len(found) > 1 or (found and len(images) == 1):
            return found
    return {}


def _by_content(images: list[str], is_mask: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """Part files by folder and ending, or by the last word of their names, if the first of one part holds classes."""
    for one, other in (*_by_folder(images), *_by_last_word(images)):
        if is_mask(one[0]) != is_mask(other[0]):
            return (one, other) if is_mask(one[0]) else (other, one)
    return [], images


def _by_folder(names: list[str]) -> list[tuple[list[str], list[str]]]:
    """Return the two parts of files that are named alike in two folders, or with two endings."""
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        kinds[_shape(name).rpartition("/")[0] and name.split("/")[-2], name.rpartition(".")[2].lower()].append(name)
    stems = Counter(_stem(name) for name in names)
    one, *others = kinds.values()
    return [(one, others[0])] if len(others) == 1 and min(stems.values()) > 1 else []


def _by_last_word(names: list[str]) -> list[tuple[list[str], list[str]]]:
    """Return files whose names end with one word, and the others, for each word of half of them (``ulm_lulc.tif``)."""
    last = {name: words[-1] for name in names if len(words := _words(_stem(name))) > 1}
    return [
        ([name for name in names if last.get(name) == word], [name for name in names if last.get(name) != word])
        for word, count in Counter(last.values()).items()
        if 0.4 * len(names) <= count <= 0.6 * len(names)
    ]


def _shape(name: str) -> str:
    """Return the pattern of a path: folders and ends of names that say image or mask, a star for all else."""
    *folders, file = name.split("/")
    shown = [folder if (_MASKS | _IMAGES) & {*_words(folder)} else "*" for folder in folders]
    words = _words(_stem(file))
    end = next((f"_{word}" for word in words[-1:] if len(words) > 1 and word in _MASKS | _IMAGES), "")
    return "/".join([*shown, f"*{end}.{file.rpartition('.')[2].lower()}"])


def _same_kind(name: str, used: Iterable[str]) -> bool:
    first = next(iter(used), "")
    return bool(first) and _shape(name) == _shape(first)


def _series(images: Sequence[str], pairs: dict[str, str]) -> list[list[str]]:
    """Return the images by the pattern of their paths, those with the most masks first."""
    series: dict[str, list[str]] = defaultdict(list)
    for name in images:
        series[_shape(name)].append(name)
    return sorted(series.values(), key=lambda group: (-sum(name in pairs for name in group), -len(group)))


def _mask_template(pairs: dict[str, str], captures: dict[str, dict[str, str]]) -> tuple[str, dict[str, str]]:
    """Return the template that leads from most images to their masks, and the mask of each that it leads to."""
    paired = [name for name in pairs if pairs[name]]
    candidates = Counter(
        candidate for name in paired[:: max(len(paired) // _FEW, 1)] for candidate in _candidates(name, pairs, captures)
    )
    best, reached = "", dict.fromkeys(pairs, "")
    for template in candidates:
        found = {}
        for name in pairs:
            fields = captures[name] | {"stem": nfc(_stem(name))}
            written = fill("mask", template, fields)
            found[name] = pairs[name] if _alike(written, nfc(pairs[name])) else ""
        if sum(map(bool, found.values())) > sum(map(bool, reached.values())):
            best, reached = template, found
    return best, reached


def _alike(one: str, other: str) -> bool:
    """Return whether two paths differ in nothing but the case of their ending."""
    (stem, _, ending), (other_stem, _, other_ending) = one.rpartition("."), other.rpartition(".")
    return stem == other_stem and ending.lower() == other_ending.lower()


def _candidates(name: str, pairs: dict[str, str], captures: dict[str, dict[str, str]]) -> list[str]:
    """Return templates that give the mask of one image: with its stem, or with each capture at its place."""
    mask, stem = nfc(pairs[name]), nfc(_stem(name))
    *folders, file = mask.split("/")
    fields = captures[name]
    written = [_with_captures(folder, fields) for folder in folders]
    found = ["/".join([*written, _with_captures(file, fields)])]
    if stem in file:
        found.insert(0, "/".join([*written, file.replace(stem, "{stem}", 1)]))
    return found


def _with_captures(text: str, fields: dict[str, str]) -> str:
    """Return a text in which what the image's path captured is written as its placeholder, longest captures first."""
    pieces = [text]
    for name, value in sorted(fields.items(), key=lambda item: -len(item[1])):
        begins, ends = (r"\d" if letter.isdecimal() else r"[^\W\d_]" for letter in (value[0], value[-1]))
        alone = re.compile(f"((?<!{begins}){re.escape(value)}(?!{ends}))")
        split = [[piece] if piece.startswith("{") else alone.split(piece) for piece in pieces]
        pieces = [f"{{{name}}}" if part == value else part for parts in split for part in parts]
    return "".join(pieces)
