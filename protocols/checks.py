"""Checks of a protocol's folds: refuse those that no result could be drawn from."""

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pandas as pd

from protocols.base import PARTS, Fold, Protocol, ProtocolError, fingerprint
from protocols.columns import missing_patches
from protocols.distances import nearest, placed

SHOWN = 8  # names in a message, at most


def check_folds(protocol: Protocol, folds: list[Fold], patches: pd.DataFrame) -> None:
    """Refuse folds that no result could be drawn from.

    Args:
        patches: the catalog's table (id, image, mask, place, time, zone, x, y, date).

    Raises:
        ProtocolError: the catalog lacks patches that the protocol expects (unless it is partial); a patch or a zone
            is in two parts; a part is empty; a labelled part holds a patch without a mask; a source patch is closer
            to the target than the protocol's gap; a target date is in the time of the source where time is held out;
            or the folds are not those the protocol's fingerprint was made of.
    """
    missing = [] if protocol.partial else missing_patches(protocol, patches)
    if missing:
        raise ProtocolError(
            f"{protocol.label} needs what this catalog does not hold: {_first(missing)}. With --partial the rest is "
            "run as a protocol of another name and fingerprint, and never compared with the whole"
        )
    if not folds:
        raise ProtocolError(
            f"{protocol.label}: no fold is left: each needs at least 2 zones with masks in "
            "some place on the source side and on the target side, 4 where both share zones, and this catalog has fewer"
        )
    table = patches.set_index("id")
    table = table[["image", "mask", "zone", "time", "date"]].join(placed(table))
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()]
        raise ProtocolError(f"{protocol.label}: the catalog holds {_first(sorted(set(twice)))} more than once")
    for fold in folds:
        where = f"{protocol.label}, fold {fold.name}"
        parts = {part: table.loc[list(fold.parts[part])] for part in PARTS}
        _check_apart(where, protocol, fold, parts)
        _check_filled(where, protocol, parts)
        _check_distance(where, protocol, parts)
        _check_time(where, protocol, fold, parts)
    cut_as = fingerprint(folds, partial=protocol.partial)
    if protocol.fingerprint and not protocol.partial and cut_as != protocol.fingerprint:
        raise ProtocolError(
            f"{protocol.label}: this catalog gives other folds than the protocol was made of (fingerprint "
            f"{cut_as[:12]} where {protocol.fingerprint[:12]} is pinned): patches are missing, added, renamed or in "
            "another zone" + _changed_sizes(protocol, folds)
        )


def smallest_distance(folds: Iterable[Fold], patches: pd.DataFrame) -> float:
    """Return the smallest distance between centres of a source and a target patch of one fold; NaN if unknown."""
    table = placed(patches.set_index("id"))
    if table.isna().any(axis=None):
        return float("nan")
    return min(
        _distance(*(table.loc[[*fold.parts[side], *fold.parts[other]]] for side, other in _SIDES)) for fold in folds
    )


_SIDES = (("source_train", "source_val"), ("target_adapt", "target_test"))


def _distance(source: pd.DataFrame, target: pd.DataFrame) -> float:
    return float(np.min(nearest(source, target)))


def _check_apart(where: str, protocol: Protocol, fold: Fold, parts: dict[str, pd.DataFrame]) -> None:
    one_pool = {"target_adapt", "target_test"} if protocol.transductive else set()
    for part, rows in parts.items():
        if rows.index.has_duplicates:
            twice = _first(sorted(set(rows.index[rows.index.duplicated()])))
            raise ProtocolError(f"{where}: {twice} is more than once in {part}")
    zones = {part: set(rows["zone"]) for part, rows in parts.items()}
    for one, other in combinations(parts, 2):
        if {one, other} <= one_pool:
            continue
        for kind, both in (
            ("patch", parts[one].index.intersection(parts[other].index)),
            ("zone", zones[one] & zones[other]),
        ):
            if len(both):
                raise ProtocolError(f"{where}: the {kind} {_first(sorted(both))} is in {one} and {other}")
    if stray := set(fold.few) - set(fold.parts["target_adapt"]):
        raise ProtocolError(f"{where}: the few labelled target patches must be in target_adapt, {_first(stray)} is not")


def _check_filled(where: str, protocol: Protocol, parts: dict[str, pd.DataFrame]) -> None:
    for part, rows in parts.items():
        if not len(rows) and not (part == "target_adapt" and protocol.split.adapt_share == 0):
            raise ProtocolError(
                f"{where}: {part} is empty: too few zones in a place (2 with masks are needed, 4 where the held-out "
                "times share them with the others)"
            )
        bare = rows[rows["mask"] == ""]
        if len(bare) and part != "target_adapt":
            raise ProtocolError(
                f"{where}: {part} needs labels, and {len(bare)} images have no mask, "
                f"for example {bare['image'].iloc[0]}"
            )


def _check_distance(where: str, protocol: Protocol, parts: dict[str, pd.DataFrame]) -> None:
    if not protocol.split.gap:
        return
    distance = _distance(*(pd.concat([parts[one], parts[other]]) for one, other in _SIDES))
    if not distance >= protocol.split.gap:
        raise ProtocolError(
            f"{where}: a source patch is {distance:g} from a target patch, and {protocol.split.gap:g} is the least"
        )


def _check_time(where: str, protocol: Protocol, fold: Fold, parts: dict[str, pd.DataFrame]) -> None:
    """Check dates patch by patch; a patch without one has the year that its domain says, if it says one."""
    source, target = (pd.concat([parts[one], parts[other]]) for one, other in _SIDES)
    if "time" in fold.held_out:
        _check_periods(where, "year", _years(source), _years(target))
    if {"season", "month"} & set(fold.held_out):
        _check_periods(where, "month", source["date"].str[5:7], target["date"].str[5:7])
    if protocol.forecast:
        latest, earliest = _instants(source).max(), _instants(target).min()
        if not latest < earliest:
            raise ProtocolError(
                f"{where} forecasts, but a source patch is of {latest} and a target patch of {earliest}"
            )
    adapt, test = parts["target_adapt"], parts["target_test"]
    if not protocol.adapt_may_follow_test and len(adapt) and _instants(adapt).max() > _instants(test).min():
        raise ProtocolError(
            f"{where}: unlabelled images may not be younger than the test, but one is of {_instants(adapt).max()} "
            f"and a test image of {_instants(test).min()}"
        )


def _years(rows: pd.DataFrame) -> "pd.Series[str]":
    dated = rows["date"] if "date" in rows else pd.Series("", rows.index)
    return dated.str[:4].where(dated != "", rows["time"])


def _instants(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return ISO dates, or years where the date is unknown; as texts they are in the order of time."""
    return rows["date"].where(rows["date"] != "", rows["time"])


def _check_periods(where: str, kind: str, source: "pd.Series[str]", target: "pd.Series[str]") -> None:
    inside = target[target.isin(set(source))]
    if len(inside):
        raise ProtocolError(
            f"{where}: the target patch {inside.index[0]} is of the {kind} {inside.iloc[0]}, and so are source patches "
            f"({len(inside)} target patches in all)"
            + ('; to hold out parts of one year: hold_out = ["month"] or ["season"]' if kind == "year" else "")
        )


def _changed_sizes(protocol: Protocol, folds: list[Fold]) -> str:
    changes = []
    for fold in folds:
        if protocol.sizes and fold.sizes != protocol.sizes.get(fold.name):
            pinned = protocol.sizes.get(fold.name)
            changes.append(f"{fold.name} has {_sizes(fold.sizes)} patches where there were {_sizes(pinned or ())}")
    changes += [f"{name} is gone" for name in protocol.sizes if name not in {fold.name for fold in folds}]
    return f". Of what was pinned, {_first(changes, '; ')}" if changes else ""


def _sizes(sizes: Iterable[int]) -> str:
    return "/".join(map(str, sizes)) or "none"


def _first(names: Iterable[str], between: str = ", ") -> str:
    names = list(names)
    return between.join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
