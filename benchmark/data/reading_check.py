"""A check of all files of a data set: each is read as a run would read it, and what is wrong is kept."""

from collections.abc import Callable

from benchmark.common.errors import DataError
from benchmark.data.catalog import Catalog
from benchmark.data.patches import read_patches


def faults_of(catalog: Catalog, progress: Callable[[int, int], None]) -> dict[str, list[str]]:
    """Read every image and mask of a catalog.

    Args:
        progress: function called with (files done, files in all).

    Returns:
        what is wrong, a message a file, by domain; every domain is there.
    """
    faults: dict[str, list[str]] = {domain: [] for domain in sorted(catalog.domain.unique())}
    groups = catalog.patches.groupby("image", sort=False)
    domains = catalog.domain
    for number, (_, rows) in enumerate(groups, 1):
        try:
            read_patches(catalog, rows)
        except DataError as error:
            faults[domains[rows.index[0]]].append(str(error))
        progress(number, len(groups))
    return faults
