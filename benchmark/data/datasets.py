"""From the name a user gives to a catalog."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmark.data.catalog import Catalog
from benchmark.data.flair import read_flair
from benchmark.data.folder import read_folder
from benchmark.errors import DataError

_LOG = logging.getLogger(__name__)
_DESCRIPTIONS = Path(__file__).parent / "descriptions"

Opener = Callable[[Path], Catalog]
"""Makes a catalog of the folder that holds a dataset."""


def _open_world(root: Path) -> Catalog:
    """The synthetic world, generated first where there is none yet."""
    if not (root / "world.json").is_file():
        from benchmark.data.synthetic import World, generate

        _LOG.info("generating the synthetic world in %s", root)
        try:
            generate(World(), root)
        except FileExistsError as error:  # something else lies there
            raise DataError(f"dataset world: {error}") from error
    return read_flair(root, name="world")


DATASETS: dict[str, Opener] = {
    "world": _open_world,
    "flair1": read_flair,
    "flair1-19": partial(read_flair, class_set="flair-19", name="flair1-19"),
    **{file.stem: partial(read_folder, file) for file in sorted(_DESCRIPTIONS.glob("*.toml"))},
}
"""How each dataset known by name is opened: two codes for three formats, and a description for each further dataset."""


def open_catalog(dataset: str, root: Path | None = None) -> Catalog:
    """Make the catalog of a dataset.

    Args:
        dataset: a name of `DATASETS`, the path of a description (``.toml``, see `benchmark.data.folder`), or a folder
            in FLAIR's layout.
        root: the folder with the data. Default: ``data/<name>`` for a name; for a description, what it says.

    Raises:
        DataError: the dataset is none of these, or its files are missing or wrong.
    """
    path = Path(dataset)
    if dataset in DATASETS:
        return DATASETS[dataset](root or Path("data", dataset))
    if path.suffix == ".toml":
        return read_folder(path, root)
    if path.is_dir():
        return read_flair(path, name=path.resolve().name)
    raise DataError(
        f"dataset {dataset!r} is unknown; allowed are {', '.join(DATASETS)}, "
        "the path of a .toml description and a folder in FLAIR's layout"
    )
