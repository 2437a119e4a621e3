"""Cutting a catalog into the folds of a protocol. Zones are dealt by a hash of their names, never by a generator."""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from protocols.base import AXES, Fold, NamedFold, Protocol, ProtocolError, check_folds


def cut(protocol: Protocol, patches: pd.DataFrame) -> list[Fold]:
    """The protocol's folds over the patches of a catalog (columns id, image, mask, place, time, zone, x, y).

    Raises:
        ProtocolError: see :func:`protocols.base.check_folds`.
    """
    named = protocol.named_folds or _every_combination(protocol, patches)
    folds = [_cut_one(protocol, fold, patches) for fold in named]
    check_folds(protocol, folds, patches)
    return folds


def _every_combination(protocol: Protocol, patches: pd.DataFrame) -> list[NamedFold]:
    """One fold for each combination of the held-out columns' values that has patches."""
    columns = list(protocol.hold_out)
    if (patches[columns] == "").any(axis=None):
        raise ProtocolError(f"{protocol.label} holds out {' and '.join(columns)}, which some patches do not have")
    combinations = sorted(set(patches[columns].itertuples(index=False, name=None)))
    return [
        NamedFold("@".join(values), {column: (value,) for column, value in zip(columns, values, strict=True)})
        for values in combinations
    ]


def _cut_one(protocol: Protocol, fold: NamedFold, patches: pd.DataFrame) -> Fold:
    hits = {column: patches[column].isin(values) for column, values in fold.target.items()}
    target = patches[np.logical_and.reduce(list(hits.values()))]
    # What shares a place or a time with the target is neither source nor target: it would give the answer away.
    source = patches[~np.logical_or.reduce(list(hits.values()))]
    split, salt = protocol.split, protocol.label

    shared = set(source["zone"]) & set(target["zone"])
    kept_for_target = _deal(target[target["zone"].isin(shared)], split.target_share, salt + "/target")
    target = target[~target["zone"].isin(shared - kept_for_target)]
    source = source[~source["zone"].isin(kept_for_target)]
    if split.gap:
        source = source[~source["zone"].isin(_zones_within(source, target, split.gap))]

    adapt = _deal(target, split.adapt_share, salt + "/adapt") if split.adapt_share else set()
    if fold.source_val:
        validation = source[_matches(source, fold.source_val)]
    else:
        validation = source[source["zone"].isin(_deal(source, split.validation_share, salt + "/validation"))]
    parts = {
        "source_train": source[~source["zone"].isin(set(validation["zone"]))],
        "source_val": validation,
        "target_adapt": target[target["zone"].isin(adapt)],
        "target_test": target[~target["zone"].isin(adapt)],
    }
    held_out = {axis: "+".join(fold.target.get(axis, ())) for axis in AXES}
    return Fold(fold.name, held_out, {part: tuple(sorted(rows["id"])) for part, rows in parts.items()})


def _matches(patches: pd.DataFrame, wanted: Mapping[str, Iterable[str]]) -> pd.Series:
    return pd.Series(np.logical_and.reduce([patches[c].isin(list(v)) for c, v in wanted.items()]), patches.index)


def _deal(patches: pd.DataFrame, share: float, salt: str) -> set[str]:
    """A share of the zones of each place, at least one and never all, chosen by a hash of their names.

    Dealing place by place keeps every place on both sides; a hash instead of a generator makes the choice a property of
    the zone, the same on any machine and in any file order.
    """
    chosen: set[str] = set()
    for _, group in patches.groupby("place"):
        zones = sorted(group["zone"].unique(), key=lambda zone: hashlib.sha256(f"{salt}\0{zone}".encode()).digest())
        if len(zones) > 1:
            chosen.update(zones[: min(max(round(share * len(zones)), 1), len(zones) - 1)])
    return chosen


def _zones_within(source: pd.DataFrame, target: pd.DataFrame, gap: float) -> set[str]:
    """Source zones with a patch whose centre is closer than the gap to a target patch's centre."""
    for part in (source, target):
        if part[["x", "y"]].isna().any(axis=None):
            raise ProtocolError("a protocol with a gap needs the coordinates of every patch, and some have none")
    distance, _ = cKDTree(target[["x", "y"]].to_numpy()).query(source[["x", "y"]].to_numpy())
    return set(source.loc[distance < gap, "zone"])
