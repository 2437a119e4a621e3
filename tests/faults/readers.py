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

from benchmark.common.errors import LandshiftError
from methods.base import MethodError
from protocols.base import ProtocolError


def _pixels(array: np.ndarray) -> str:
    """Tells of an array what would give the secret image away."""
    return f"pixels {array.flat[0]}" if array.size and (array == array.flat[0]).all() else "pixels differ"


def _patches(catalog: Any) -> str:
    """Decodes every image of a catalog."""
    from benchmark.data.patches import read_patches

    told = [str(sorted(set(catalog.patches["camera"])))]
    for _, rows in catalog.patches.groupby("image", sort=False):
        found = read_patches(catalog, rows)
        told += [_pixels(found.images), _pixels(found.masks)]
    return " ".join(told)


def _image(folder: Path) -> str:
    from benchmark.data.raster import image_size, read_image

    path = Path((folder / "path.txt").read_text())
    image_size(path)
    return _pixels(read_image(path, 3))


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

    from benchmark.models.encoder_weights import load_encoder

    (path,) = folder.glob("weights.*")
    load_encoder(nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3, bias=False))), path)
    return ""


def _run_files(folder: Path) -> str:
    from benchmark.common.files import read_json, read_tensors
    from benchmark.conformance.replay.verify import check_engine, check_files, check_identities, check_protocol
    from benchmark.experiments.checkpoint_records import class_names, matrices_at, read_confusions, read_records
    from benchmark.experiments.run_folder import read_run
    from benchmark.reporting.table_file import read_table
    from benchmark.training.config import recipe_of

    sys.path.insert(0, str(folder))  # where it lies, the module that the table names could be imported
    refused: list[LandshiftError] = []

    def tried(read: Callable[[], object]) -> Any:
        try:
            return read()
        except LandshiftError as error:
            refused.append(error)
            return None

    tried(lambda: read_run(folder))
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


def _job_database(folder: Path) -> str:
    """What ``status``, ``report`` and ``forget`` read."""
    from benchmark.experiments.results import ResultsFolder
    from benchmark.experiments.status import status_of
    from benchmark.reporting.collect import collect

    results = ResultsFolder(folder)
    told = [f"{results.experiments()} {results.about('x-v1')} {results.summaries('x-v1')} {results.look('x-v1', 'm')}"]
    told += [run.name for run in results.runs("x-v1")]
    results.close_expired()
    status_of(results, "x-v1")
    collect(results, "x-v1")
    return " ".join(told)


READERS: dict[str, Callable[[Path], str]] = {
    "image": _image,
    "zip archive": _flair,
    "weights": _weights,
    "files of runs and tables": _run_files,
    "job database": _job_database,
}


SLOW = (
    "benchmark.data.flair_check",
    "benchmark.experiments.status",
    "benchmark.conformance.replay.verify",
    "protocols.cutting",
)


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
