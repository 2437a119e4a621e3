"""Cutting a catalog into the folds of a protocol. Zones are dealt by a hash of their names, never by a generator."""

import hashlib
import logging
from collections import Counter

import numpy as np
import pandas as pd

from protocols.base import PARTS, Fold, NamedFold, Protocol, ProtocolError, Selector
from protocols.checks import check_folds
from protocols.columns import add_columns
from protocols.distances import nearest

_LOG = logging.getLogger(__name__)


def cut(protocol: Protocol, patches: pd.DataFrame) -> list[Fold]:
    """Cut the protocol's folds from the patches of a catalog (columns id, image, mask, place, time, zone, x, y, date…).

    Patches without a mask are in no part but ``target_adapt``; a warning says how many there are. Of a partial
    protocol, folds of which a part would be empty are left out.

    Raises:
        ProtocolError: see :func:`protocols.checks.check_folds`.
    """
    columns = add_columns(protocol, patches)
    named = protocol.named_folds or _every_combination(protocol, columns)
    folds = [_cut_one(protocol, fold, columns) for fold in named]
    if protocol.partial:
        folds = _filled(protocol, folds, columns)
    check_folds(protocol, folds, columns)
    _warn_of_unlabelled(protocol, folds, columns)
    return folds


def _filled(protocol: Protocol, folds: list[Fold], patches: pd.DataFrame) -> list[Fold]:
    """Return the folds of which no part is empty that must not be; a `ProtocolError` says what is missing for any."""
    empty_allowed = {"target_adapt"} if not protocol.split.adapt_share else set()
    empty = {
        fold.name: [part for part in PARTS if not fold.parts[part] and part not in empty_allowed] for fold in folds
    }
    if folds and all(empty.values()):
        counts = Counter(part for parts in empty.values() for part in parts)
        labelled = _labelled(patches)
        zones = labelled.groupby("place")["zone"].nunique()
        raise ProtocolError(
            f"{protocol.label}: no fold of {len(folds)} has patches in every part: "
            + ", ".join(f"{part} is empty in {count}" for part, count in counts.items())
            + f". A fold needs patches on both sides, and on each a place with at least 2 zones; here are "
            f"{len(labelled)} patches with masks in {len(zones)} places, of which {int((zones > 1).sum())} have 2 zones"
        )
    return [fold for fold in folds if not empty[fold.name]]


def _warn_of_unlabelled(protocol: Protocol, folds: list[Fold], patches: pd.DataFrame) -> None:
    unlabelled = set(patches.loc[patches["mask"] == "", "id"])
    if unlabelled:
        used = unlabelled & {patch for fold in folds for patch in fold.parts["target_adapt"]}
        _LOG.warning(
            "%s: %d of %d patches have no mask: they are left out of every source and test; %d of them are in "
            "target_adapt where they are held out",
            *(protocol.label, len(unlabelled), len(patches), len(used)),
        )


def _every_combination(protocol: Protocol, patches: pd.DataFrame) -> list[NamedFold]:
    """Return one fold for each combination of the held-out columns' values that has labelled patches enough."""
    columns = list(protocol.hold_out)
    unknown = (patches[columns] == "").any(axis=1)
    if unknown.any():
        raise ProtocolError(
            f"{protocol.label} holds out {' and '.join(columns)}, which {int(unknown.sum())} patches do not have, for "
            f"example {patches.loc[unknown, 'id'].iloc[0]}"
        )
    counts = _labelled(patches).groupby(columns).size()
    large = counts[counts >= protocol.split.smallest_target].index
    combinations = [key if isinstance(key, tuple) else (key,) for key in large]
    return [
        NamedFold("@".join(values), {column: (value,) for column, value in zip(columns, values, strict=True)})
        for values in sorted(combinations)
    ]


def _cut_one(protocol: Protocol, fold: NamedFold, patches: pd.DataFrame) -> Fold:
    hits = {column: patches[column].isin(values) for column, values in fold.target.items()}
    target = patches[np.logical_and.reduce(list(hits.values()))]
    # What shares a place or a time with the target is neither source nor target: it would give the answer away.
    source = _labelled(patches[~np.logical_or.reduce(list(hits.values()))])
    if fold.source:
        source = source[_matches(source, fold.source) | _matches(source, fold.source_val)]
    split, salt = protocol.split, protocol.salt

    shared = set(source["zone"]) & set(target["zone"])
    kept_for_target = _deal(target[target["zone"].isin(shared)], split.target_share, salt + "/target")
    target = target[~target["zone"].isin(shared - kept_for_target)]
    source = source[~source["zone"].isin(kept_for_target)]
    if split.gap:
        source = source[~source["zone"].isin(_zones_within(source, target, split.gap))]

    if fold.source_val:
        validation = source[_matches(source, fold.source_val)]
    else:
        validation = source[source["zone"].isin(_deal(source, split.validation_share, salt + "/validation"))]
    if protocol.transductive:
        adapt, test = _labelled(target), _labelled(target)
    elif fold.target_adapt:
        adapt, test = patches[_matches(patches, fold.target_adapt)], _labelled(target)
        source = source[~source["zone"].isin(set(adapt["zone"]))]
    else:
        test = _labelled(target)
        dealt = _deal(test, split.adapt_share, salt + "/adapt") | (set(target["zone"]) - set(test["zone"]))
        dealt = dealt if split.adapt_share else set()
        adapt, test = target[target["zone"].isin(dealt)], test[~test["zone"].isin(dealt)]
    parts = {
        "source_train": source[~source["zone"].isin(set(validation["zone"]))],
        "source_val": validation,
        "target_adapt": adapt,
        "target_test": test,
    }
    held_out = {column: "+".join(values) for column, values in fold.target.items()}
    few = sorted(adapt.loc[adapt["mask"] != "", "id"], key=lambda patch: _rank(salt + "/few", patch))[: split.few]
    return Fold(fold.name, held_out, {part: tuple(sorted(rows["id"])) for part, rows in parts.items()}, tuple(few))


def _labelled(patches: pd.DataFrame) -> pd.DataFrame:
    """Return the patches that have a mask."""
    return patches[patches["mask"] != ""]


def _matches(patches: pd.DataFrame, wanted: Selector) -> "pd.Series[bool]":
    matches = [patches[column].isin(list(values)) for column, values in wanted.items()]
    return pd.Series(np.logical_and.reduce(matches) if matches else False, patches.index)


def _deal(patches: pd.DataFrame, share: float, salt: str) -> set[str]:
    """Choose a share of the zones of each place, at least one and never all, by a hash of their names.

    Dealing place by place keeps every place on both sides; a hash instead of a generator makes the choice a property of
    the zone, the same on any machine and in any file order.
    """
    chosen: set[str] = set()
    for _, group in patches.groupby("place"):
        zones = sorted(group["zone"].unique(), key=lambda zone: _rank(salt, zone))
        if len(zones) > 1:
            chosen.update(zones[: min(max(round(share * len(zones)), 1), len(zones) - 1)])
    return chosen


def _rank(salt: str, name: str) -> bytes:
    return hashlib.sha256(f"{salt}\0{name}".encode()).digest()


def _zones_within(source: pd.DataFrame, target: pd.DataFrame, gap: float) -> set[str]:
    """Return the source zones with a patch whose centre is closer than the gap to a target patch's centre."""
    for part in (source, target):
        if part[["x", "y"]].isna().any(axis=None):
            raise ProtocolError("a protocol with a gap needs the coordinates of every patch, and some have none")
    return set(source.loc[nearest(source, target) < gap, "zone"])
