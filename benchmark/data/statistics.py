"""Statistics of the bands and the classes of each domain, from the one decoding that the store has done."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalog import Catalog
from benchmark.data.store import Store


@dataclass(frozen=True)
class DomainStatistics:
    """Statistics of one domain, or of all domains together.

    Attributes:
        domain: name of the domain, or "all".
        patches: number of patches.
        mean, std: (C,) mean and standard deviation of the stored pixel values.
        quantiles: stored pixel values at the given quantiles, for each band; of other images than uint8 they are those
            of a sample of the pixels.
        class_shares: (classes,) shares of the labelled pixels; NaN where there is none.
        no_data: share of the pixels that hold no data, which the other statistics leave out.
    """

    domain: str
    patches: int
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    quantiles: list[tuple[float, ...]]
    class_shares: NDArray[np.float64]
    no_data: float = 0.0


def domain_statistics(catalog: Catalog, store: Store, quantiles: Sequence[float]) -> list[DomainStatistics]:
    """Return the statistics of every domain, and last of all together.

    The classes of all masks are read: for reports, never for training.
    """
    domains = catalog.domain.to_numpy()
    rows = store.rows(catalog.patches["id"].tolist())
    parts = [(name, rows[domains == name], store.histogram(name)) for name in sorted(set(domains))]
    parts.append(("all", rows, np.sum([histogram for _, _, histogram in parts], axis=0)))
    return [_of(*part, store, quantiles) for part in parts]


def _of(
    name: str, rows: NDArray[np.int64], histogram: NDArray[np.int64], store: Store, quantiles: Sequence[float]
) -> DomainStatistics:
    mean, std = store.band_statistics(rows)
    counts = store.class_counts(rows).sum(0)[:-1]
    shares = counts / counts.sum() if counts.any() else np.full(len(counts), np.nan)
    values = _quantiles(histogram, store.sample(rows), quantiles)
    no_data = 1 - float(store.valid[rows].mean()) / store.size**2
    return DomainStatistics(name, len(rows), mean, std, values, shares, no_data)


def _quantiles(histogram: NDArray[np.int64], sample: NDArray, quantiles: Sequence[float]) -> list[tuple[float, ...]]:
    if histogram.shape[1]:
        reached = histogram.cumsum(1) / np.maximum(histogram.sum(1, keepdims=True), 1)
        return [tuple(min(int(np.searchsorted(band, quantile)), 255) for quantile in quantiles) for band in reached]
    return [
        tuple(np.quantile(band, quantiles).tolist()) if band.size else (np.nan,) * len(quantiles) for band in sample
    ]
