"""Shapes of the patches of data sets, known without their files."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmark.data.catalog import Catalog
from benchmark.data.classes import CLASS_SETS
from benchmark.data.datasets import DATASETS
from benchmark.data.description import read_description, used_bands
from benchmark.data.flair import BANDS
from benchmark.data.flair_check import SIZE
from benchmark.data.flairhub import CONTENTS, read_flairhub
from benchmark.data.synthetic import World
from benchmark.data.unions import sources_of


@dataclass(frozen=True)
class Shape:
    """Shape of a patch: number of bands, side in pixels, and number of classes."""

    bands: int
    size: int
    classes: int


def shape_of(dataset: str) -> Shape | None:
    """Return the shape of a data set by its name, or by the path of its description; None if neither is known."""
    opener = DATASETS.get(dataset)
    if isinstance(opener, partial):
        if "class_set" in opener.keywords:
            return Shape(len(BANDS), SIZE, len(CLASS_SETS[opener.keywords["class_set"]].names))
        if opener.func is read_flairhub:
            content = CONTENTS[opener.keywords["name"]]
            return Shape(len(content.bands), SIZE, content.classes.num_classes)
        return _described(opener.args[0])
    if opener is not None:
        return Shape(len(BANDS), World().patch_size, len(CLASS_SETS["flair-13"].names))
    return _described(Path(dataset)) if dataset.endswith(".toml") else None


def shape_in(catalog: Catalog) -> Shape:
    """Return the shape of a catalog's patches."""
    return Shape(len(catalog.bands), catalog.patch_size, len(catalog.classes.names))


def _described(file: Path) -> Shape | None:
    if not file.is_file():
        return None
    settings = read_description(file)
    if "source" in settings:
        settings = sources_of(settings)[0].settings
    return Shape(len(used_bands(settings)), settings["patch_size"], len(settings["classes"]))
