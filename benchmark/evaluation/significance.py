"""Each method against the control, on the same folds and seeds; pure functions on numbers.

Three kinds of noise are kept apart. Between *seeds*: of training. Between *patches*: which zones of a held-out domain
happened to be in its test. Between *domains*: how much the gain hangs on what is held out; only this one speaks of
domains that were not tested. A test is quoted over held-out domains alone, and where it can speak.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.statistics import (
    NAN,
    Groups,
    ScoreTable,
    Spread,
    average_ranks,
    fold_means,
    seed_error,
    spread,
)
from methods.parts.randomness import numpy_generator

LEVEL = 0.05
MIN_RANKED = 8  # held-out domains; with fewer the critical difference is wider than any difference of ranks
DRAWS = 200  # of the zones; their spread is known to 5 %


@dataclass(frozen=True)
class Paired:
    """A method's gain over the control; shares of mean IoU, not percent.

    Attributes:
        method: its label.
        gain: over folds and seeds.
        above: what of its gain is left above that of the control that sees target images without a loss on them; NaN
            where there is none, or where it sees no target images.
        won, lost: folds with a gain above and below 0 (mean over seeds).
        effect: matched-pairs rank-biserial correlation over folds, from -1 (all lost) to 1 (Kerby 2014).
        p: p value of Wilcoxon's signed-rank test over held-out domains, corrected by Holm for the number of methods but
            bounds; NaN where `silent`, and for a bound.
        silent: why no test is quoted; "" where one is, and for a bound.
        between_seeds: standard error over seeds of the mean gain on these folds; NaN with one seed.
        seed_reach: half width of the 95 % interval that it gives.
        between_domains: standard deviation over folds of the mean gain over seeds; NaN with one fold.
        between_patches: standard deviation of the mean gain when the zones of each test are drawn again; NaN where the
            confusion matrices are not known.
    """

    method: str
    gain: Spread
    above: Spread
    won: int
    lost: int
    effect: float
    p: float
    silent: str
    between_seeds: float
    seed_reach: float
    between_domains: float
    between_patches: float

    @property
    def within_seed_noise(self) -> bool:
        """Other seeds could turn the sign of the gain on these folds; with one seed that is not known."""
        return abs(self.gain.mean) < self.seed_reach


def paired_metrics(line: Paired) -> dict[str, float]:
    """Return a line as metrics of its summary run in MLflow."""
    return {
        "summary/gain_low": line.gain.low,
        "summary/gain_high": line.gain.high,
        "summary/gain_above_target_statistics": line.above.mean,
        "summary/gain_effect": line.effect,
        "summary/gain_p": line.p,
        "summary/gain_noise_seeds": line.between_seeds,
        "summary/gain_noise_patches": line.between_patches,
        "summary/gain_noise_domains": line.between_domains,
    }


def compare_with_control(
    gains: Mapping[str, ScoreTable],
    between_patches: Mapping[str, float],
    groups: Groups = (),
    bounds: Collection[str] = (),
    above: Mapping[str, ScoreTable] | None = None,
) -> list[Paired]:
    """Return one line a method.

    Args:
        gains: (folds, seeds) of each method's difference to the control, NaN where one of the two is missing.
        between_patches: see `Paired`; a method may be missing.
        groups: what folds share (`benchmark.evaluation.statistics.shared_levels`).
        bounds: methods that are no results, which are not tested and do not count as comparisons.
        above: (folds, seeds) of a method's difference to the control that sees target images; a method may be missing.
    """
    by_fold = {method: fold_means(table) for method, table in gains.items() if np.isfinite(table).any()}
    tested = {method: independent(values, groups) for method, values in by_fold.items() if method not in bounds}
    speaking = [method for method in tested if _smallest_p(len(tested[method])) * len(tested) <= LEVEL]
    p = dict(zip(speaking, holm([signed_rank_p(tested[method]) for method in speaking], len(tested)), strict=True))
    lines = []
    for method, of_folds in by_fold.items():
        values, (error, reach) = of_folds[np.isfinite(of_folds)], seed_error(gains[method])
        lines.append(
            Paired(
                method,
                spread(gains[method], groups),
                spread((above or {}).get(method, np.full((1, 1), NAN)), groups),
                won=int((values > 0).sum()),
                lost=int((values < 0).sum()),
                effect=rank_biserial(values),
                p=p.get(method, NAN),
                silent="" if method in p or method in bounds else _silence(len(tested[method]), len(tested), groups),
                between_seeds=error,
                seed_reach=reach,
                between_domains=float(values.std(ddof=1)) if len(values) > 1 else NAN,
                between_patches=between_patches.get(method, NAN),
            )
        )
    return lines


def independent(by_fold: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    """Return the values (folds,) that a test over held-out domains may take for independent, without those not known.

    Of folds that share the levels of one factor, the means over each level. None of crossed folds: a test of the means
    over either factor would take the other one's levels for all there are.
    """
    finite = np.isfinite(by_fold)
    if not groups:
        return by_fold[finite]
    if len(groups) > 1:
        return np.empty(0)
    levels = groups[0][finite]
    return np.array([by_fold[finite][levels == level].mean() for level in np.unique(levels)])


def _silence(domains: int, comparisons: int, groups: Groups) -> str:
    if len(groups) > 1:
        return "crossed folds share places and times, and are no sample of domains"
    count = f"{domains} held-out {'domain' if domains == 1 else 'domains'}"
    return f"{count} cannot reach 5 % in {comparisons} {'comparison' if comparisons == 1 else 'comparisons'}"


def signed_rank_p(differences: NDArray[np.float64]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test (1945); 1 where all differences are 0."""
    from scipy.stats import wilcoxon  # takes a second to import, which a table of few folds can do without

    return float(wilcoxon(differences).pvalue) if differences.any() else 1.0


def holm(p: Sequence[float], comparisons: int) -> list[float]:
    """Return p values corrected by Holm (1979), of as many comparisons in all; those that are not given count as 1."""
    if not p:
        return []
    from statsmodels.stats.multitest import multipletests  # takes a second to import

    corrected = multipletests([*p, *[1.0] * (comparisons - len(p))], method="holm")[1]
    return [float(value) for value in corrected[: len(p)]]


def rank_biserial(differences: NDArray[np.float64]) -> float:
    """Return (ranks won - ranks lost) / all ranks, by size of the difference; 0 where all are 0."""
    ranks = average_ranks(np.abs(differences[differences != 0]))
    signs = np.sign(differences[differences != 0])
    return float((ranks * signs).sum() / ranks.sum()) if len(ranks) else 0.0


def patch_noise(pairs: Mapping[str, Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]]) -> float:
    """Return the standard deviation of the mean gain in mean IoU when the zones of each fold's test are drawn again.

    Args:
        pairs: confusion matrices (zones, C + 1, C) of method and control, by fold, one pair a seed. The zones are
            the same ones in the same order, and are drawn alike for both and for all seeds, but not for two folds.
    """
    by_fold = []
    for fold in sorted(pairs):
        zones = len(pairs[fold][0][0])
        drawn = numpy_generator("zones", fold).multinomial(zones, np.full(zones, 1 / zones), DRAWS)
        gains = [_mious(drawn, method) - _mious(drawn, control) for method, control in pairs[fold]]
        by_fold.append(np.mean(gains, axis=0))
    return float(np.mean(by_fold, axis=0).std(ddof=1)) if by_fold else NAN


@dataclass(frozen=True)
class Ranking:
    """Methods by their rank on each held-out domain (Demšar, JMLR 2006).

    Attributes:
        ranks: mean rank of each method, 1 the best.
        friedman_p: p value of Friedman's test that all are alike.
        critical_difference: critical difference of two mean ranks, by Nemenyi at 5 %.
        nemenyi_p: (methods, methods), of Nemenyi's test of each two, in the order of `ranks`.
        domains: number of domains.
    """

    ranks: Mapping[str, float]
    friedman_p: float
    critical_difference: float
    nemenyi_p: NDArray[np.float64]
    domains: int


def rank(values: Mapping[str, NDArray[np.float64]], groups: Groups = ()) -> Ranking | None:
    """Rank methods by their value on each held-out domain.

    Args:
        values: (folds,) of each method, higher is better. Methods with a missing fold are left out.
        groups: what folds share (`benchmark.evaluation.statistics.shared_levels`).

    Returns:
        None where there are fewer than three whole methods, or fewer than eight domains that are independent.
    """
    whole = {method: independent(scores, groups) for method, scores in values.items() if np.isfinite(scores).all()}
    table = np.array(list(whole.values())).T
    if len(whole) < 3 or len(table) < MIN_RANKED:
        return None
    from scikit_posthocs import posthoc_nemenyi_friedman  # takes seconds to import
    from scipy.stats import friedmanchisquare, studentized_range

    domains, methods = table.shape
    ranks = np.mean([average_ranks(-row) for row in table], axis=0)
    quantile = studentized_range.ppf(1 - LEVEL, methods, np.inf) / math.sqrt(2)
    return Ranking(
        dict(zip(whole, ranks.tolist(), strict=True)),
        float(friedmanchisquare(*table.T).pvalue),
        float(quantile * math.sqrt(methods * (methods + 1) / (6 * domains))),
        posthoc_nemenyi_friedman(table).to_numpy(),
        domains,
    )


def _smallest_p(domains: int) -> float:
    """Return the p of the signed-rank test where every difference has one sign."""
    return 2.0 ** (1 - domains) if domains else 1.0


def _mious(drawn: NDArray[np.int64], matrices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean IoU under each draw of zones: (draws, zones) and (zones, C + 1, C) -> (draws,)."""
    # As floats, which hold counts of pixels exactly: whole numbers are multiplied many times slower.
    valid = np.tensordot(drawn.astype(np.float64), matrices.astype(np.float64), 1)[:, :-1]
    hits, truth = np.diagonal(valid, axis1=1, axis2=2), valid.sum(2)
    iou = np.divide(hits, valid.sum(1) + truth - hits, out=np.full(hits.shape, NAN), where=truth > 0)
    return np.asarray(np.nanmean(iou, axis=1))
