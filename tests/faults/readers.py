"""The worker: reads a kind and a folder a line, gives the folder to landshift's readers, and answers what became of it.

What the readers give is used as a command would: images are decoded, folds are cut, means are made.
"""

import logging
import sys
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import DataError, LandshiftError
from methods.base import MethodError
from protocols.base import ProtocolError


def _pixels(array: np.ndarray) -> str:
    """Tells of an array what would give the secret image away."""
    return f"pixels {array.flat[0]}" if array.size and (array == array.flat[0]).all() else "pixels differ"


def _patches(catalog: Any) -> str:
    """Decodes every image of a catalog."""
    from benchmark.data.raster import read_patches

    told = [str(sorted(set(catalog.patches["camera"])))]
    for _, rows in catalog.patches.groupby("image", sort=False):
        found = read_patches(catalog, rows)
        told += [_pixels(found.images), _pixels(found.masks)]
    return " ".join(told)


def _geotiff(folder: Path) -> str:
    from benchmark.data.raster import image_size, read_image

    image_size(folder / "image.tif")
    return _pixels(read_image(folder / "image.tif", 3))


def _mask(folder: Path) -> str:
    from benchmark.data.raster import image_size, read_mask

    image_size(folder / "mask.png")
    return _pixels(read_mask(folder / "mask.png"))


def _posing(folder: Path) -> str:
    from benchmark.data.raster import read_image

    return _pixels(read_image(Path((folder / "paths.txt").read_text()), 3))


def _protocol(folder: Path) -> str:
    import pandas as pd

    from protocols.columns import missing_patches
    from protocols.cutting import cut
    from protocols.files import load

    protocol = load(str(folder / "protocol.toml"))
    table: dict[str, Any] = {
        "id": [f"p{number}" for number in range(16)],
        "place": ["D004", "D012"] * 8,
        "time": "2020",
        "zone": [f"z{number}" for number in range(16)],
        "image": "/i.tif",
        "mask": "/m.tif",
        "date": "2020-01-02",
        "camera": "",
        "x": np.arange(16.0) * 10,
        "y": 0.0,
    }
    patches = pd.DataFrame(table)
    return f"{missing_patches(protocol, patches)} {[fold.name for fold in cut(protocol, patches)]}"


def _description(folder: Path) -> str:
    from benchmark.data.folder import read_folder

    return _patches(read_folder(folder / "data.toml"))


def _flair(folder: Path) -> str:
    from benchmark.data.flair import TRAINING, read_flair
    from benchmark.data.flair_check import check_flair

    told = ""
    try:
        told = _patches(read_flair(folder))
    finally:
        check_flair(folder, (TRAINING,))
    return told


def _weights(folder: Path) -> str:
    from torch import nn

    from benchmark.network import _load_encoder

    (path,) = folder.glob("weights.*")
    _load_encoder(nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3, bias=False))), path)
    return ""


def _store(folder: Path) -> str:
    from benchmark.data.shards import open_shard
    from benchmark.data.store import _assemble

    shard = open_shard(folder)
    if shard is None:
        raise DataError("damaged: decoded again")
    opened = _assemble(folder.parent, {folder.name: shard})
    rows = opened.rows(list(opened.ids))
    return f"{_pixels(opened.read(rows))} {opened.band_statistics(rows)[0]} {opened.histogram(shard.domain).sum()}"


def _run_files(folder: Path) -> str:
    from benchmark.files import read_json, read_tensors
    from benchmark.grid.records import class_names, matrices_at, read_records
    from benchmark.recipe import recipe_of
    from benchmark.replay.checks import check_engine, check_files, check_identities, check_protocol
    from benchmark.replay.differences import read_confusions
    from benchmark.replay.table import read_table

    sys.path.insert(0, str(folder))  # where it lies, the module that the table names could be imported
    refused: list[LandshiftError] = []

    def tried(read: Callable[[], object]) -> Any:
        try:
            return read()
        except LandshiftError as error:
            refused.append(error)
            return None

    tried(lambda: matrices_at(folder, 4))
    tried(lambda: read_confusions(folder))
    tried(lambda: read_records(folder))
    tried(lambda: class_names(folder))
    tried(lambda: recipe_of(read_json(folder / "settings.json").get("recipe")))
    tried(lambda: read_tensors(folder / "weights.safetensors"))
    if table := tried(lambda: read_table(folder)):
        for check in (check_identities, check_engine, check_files, lambda table: check_protocol(table, None)):
            tried(lambda check=check: check(table))
    sys.path.remove(str(folder))
    if refused:
        raise refused[0]
    return ""


def _kept(folder: Path) -> str:
    from benchmark.data.catalog_cache import _read

    if _read(folder / "table.feather", folder / "table.json") is None:
        raise DataError("damaged: made again")
    return ""


READERS: dict[str, Callable[[Path], str]] = {
    "GeoTIFF": _geotiff,
    "mask": _mask,
    "XML, address or link as an image": _posing,
    "protocol and its table": _protocol,
    "description of a data set": _description,
    "metadata": _flair,
    "links and pipes in a folder": _flair,
    "zip archive": _flair,
    "weights": _weights,
    "decoded patches": _store,
    "files of runs and tables": _run_files,
    "kept catalog": _kept,
}


SLOW = ("benchmark.data.flair_check", "benchmark.data.store", "benchmark.replay.differences", "protocols.cutting")


def outcome_of(kind: str, folder: Path) -> tuple[str, str]:
    """What became of an input, and what was told of it."""
    try:
        return "accepted", READERS[kind](folder)
    except (LandshiftError, ProtocolError, MethodError) as error:
        return "refused", str(error)
    except BaseException as error:  # whatever it is, it is what this is looking for
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "/benchmark/" in frame.filename]
        return "traceback", f"{type(error).__name__}: {error} ({' '.join(ours)})"


def main() -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing that a library prints is an answer
    for module in SLOW:  # or the first input would seem slow
        import_module(module)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        kind, _, folder = line.rstrip("\n").partition("\t")
        outcome, told = outcome_of(kind, Path(folder))
        text = f"{outcome}\t{told}".encode("ascii", "backslashreplace").decode().replace("\n", " ")
        print(text, file=answers, flush=True)


if __name__ == "__main__":
    main()
