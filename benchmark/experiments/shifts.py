"""Distance of the target of each fold from its source, by every measure of `benchmark.evaluation.domain_shift`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from benchmark.data.scaling import Scaling
from benchmark.evaluation import domain_shift as shift
from benchmark.experiments.jobs import Bench
from benchmark.models.segmentation import NetworkSettings, build_network
from benchmark.training.prediction import most_at_once
from methods.parts.randomness import numpy_generator
from protocols.distances import along_ground, positions

SOURCE, TARGET = ("source_train", "source_val"), ("target_adapt", "target_test")
COLUMNS = 64  # of the reduced features, at most; a quarter of the rows where there are fewer
BATCH = 16  # patches of which features are computed at once, at most

MEASURES = {
    "prior_js": "Jensen-Shannon divergence of the class shares, bits (0 to 1)",
    "mean_gap": "mean over the bands of |target mean - source mean|, on the scale 0 to 255 of the networks",
    "std_gap": "the same of the standard deviations",
    "day_gap": "days of the year between the mean dates",
    "km": "between the centres of all source and all target patches, km (thousands of x and y where not metres)",
    "nearest_m": "smallest distance of a source and a target patch, m (the unit of x and y, where it is not metres)",
    "new_camera": "share of target patches with a camera that the source does not have",
    "proxy_a": "proxy A-distance on the encoder's features, 0 (alike) to 2 (separable), zones kept together",
    "chance": "95th percentile of the same with shuffled zones: below it there is no evidence of a shift",
    "frechet": "Frechet distance of the encoder's features, reduced to at most 64 columns",
}
"""What is measured of a fold, and its unit."""


@dataclass(frozen=True)
class FoldShift:
    """One fold.

    Attributes:
        fold: its name.
        values: a number for each of `MEASURES`; NaN where it cannot be known.
        bands: gaps of the means and of the standard deviations, target minus source, by band.
    """

    fold: str
    values: dict[str, float]
    bands: dict[str, tuple[float, float]]


def measure_shifts(
    bench: Bench, settings: NetworkSettings, patches: int, progress: Callable[[int, int], None] = lambda a, b: None
) -> list[FoldShift]:
    """Measure every fold. Class shares are counted on target labels too: this looks at the answer, training never does.

    Args:
        settings: the encoder whose features are compared; its weights are random unless they are named.
        patches: largest number of patches of each side that features are computed of.
        progress: called with (folds done, folds in all).
    """
    table = bench.catalog.patches.set_index("id")
    features = _Features(bench, settings)
    shifts = []
    for done, fold in enumerate(bench.folds.values()):
        progress(done, len(bench.folds))
        source, target = (
            table.loc[[patch for part in parts for patch in sorted(set(fold.parts[part]))]]
            for parts in (SOURCE, TARGET)
        )
        target = target[~target.index.duplicated()]  # a transductive fold has its test images in both parts
        values, bands = _of_tables(bench, bench.fold_data(fold.name).scaling, source, target)
        samples = [_sample(rows, patches, fold.name) for rows in (source, target)]
        shifts.append(FoldShift(fold.name, values | _of_features(features, samples), bands))
    progress(len(bench.folds), len(bench.folds))
    return shifts


def _of_tables(
    bench: Bench, scaling: Scaling, source: pd.DataFrame, target: pd.DataFrame
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    rows = [bench.store.rows(list(side.index)) for side in (source, target)]
    moments = [scaling.moments(*bench.store.band_statistics(chosen)) for chosen in rows]
    means, stds = shift.moment_gap(*moments[0], *moments[1])
    places = [positions(side) for side in (source, target)]
    values = {
        "prior_js": shift.prior_divergence(*(bench.store.class_counts(chosen).sum(0)[:-1] for chosen in rows)),
        "mean_gap": float(np.abs(means).mean()),
        "std_gap": float(np.abs(stds).mean()),
        "day_gap": shift.day_of_year_gap(source["date"], target["date"]),
        "km": float(along_ground(1000 * shift.centre_distance(*places), places[0])) / 1000,
        "nearest_m": float(along_ground(shift.nearest_distance(*places), places[0])),
        "new_camera": shift.camera_change(source["camera"], target["camera"]),
    }
    gaps = {band: (float(m), float(s)) for band, m, s in zip(bench.catalog.bands, means, stds, strict=True)}
    return values, gaps


def _of_features(features: "_Features", samples: Sequence[pd.DataFrame]) -> dict[str, float]:
    both = [features.of(rows) for rows in samples]
    smallest = min(map(len, both))
    zones = [str(zone) for rows in samples for zone in rows["zone"]]
    reduced = PCA(min(COLUMNS, smallest // 4), random_state=0).fit(np.concatenate(both)) if smallest >= 8 else None
    measures = dict.fromkeys(("proxy_a", "chance", "frechet"), float("nan"))
    if reduced is not None:
        sides = [reduced.transform(side) for side in both]
        measures["frechet"] = shift.frechet_distance(*sides)
        if min(rows["zone"].nunique() for rows in samples) >= shift.FOLDS:
            proxy = shift.proxy_a_distance(sides[0], sides[1], seed=0, groups=zones)
            measures |= {"proxy_a": proxy.value, "chance": proxy.chance_high}
    return measures


def _sample(rows: pd.DataFrame, count: int, fold: str) -> pd.DataFrame:
    """Return some patches, the same on each call: a draw of its own for each fold."""
    if len(rows) <= count:
        return rows
    return rows.iloc[np.sort(numpy_generator(0, "shift", fold, len(rows)).permutation(len(rows))[:count])]


class _Features:
    """Features of patches, computed once each."""

    def __init__(self, bench: Bench, settings: NetworkSettings) -> None:
        everything = np.arange(len(bench.store.ids))
        bands, statistics = len(bench.catalog.bands), bench.store.band_statistics(everything)
        self._network: Any = build_network(settings, bands, 2, *statistics, seed=0).eval()
        self._store = bench.store
        self._known: dict[int, NDArray[np.float32]] = {}

    @torch.inference_mode()
    def of(self, rows: pd.DataFrame) -> NDArray[np.float32]:
        """Return the features (n, D) float32 of the patches in some rows."""
        wanted = self._store.rows(list(rows.index))
        missing = np.array([row for row in wanted.tolist() if row not in self._known], dtype=np.int64)
        size = min(BATCH, most_at_once(self._store.size))
        for start in range(0, len(missing), size):
            batch = missing[start : start + size]
            features = self._network.features(torch.from_numpy(self._store.read(batch)).float()).numpy()
            self._known |= dict(zip(batch.tolist(), features, strict=True))
        return np.stack([self._known[row] for row in wanted.tolist()])
