"""The same ground in two parts of a fold, found by equal images, equal masks and overlapping footprints."""

import re
from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pandas as pd

from protocols.base import PARTS, Fold, Protocol, ProtocolError

LEAST_OVERLAP = 0.02  # of the smaller of two footprints; neighbours touch, and rounding makes slivers
_TIME = re.compile(r"(19|20)\d\d(-?\d\d){0,2}")


def check_ground(protocol: Protocol, folds: Iterable[Fold], ground: pd.DataFrame) -> None:
    """Refuse folds of which two parts hold the same ground.

    Args:
        ground: a row a patch, indexed by id. ``image`` and ``mask`` are digests of what is stored, "" where it shows
            nothing (one colour, one class); ``zone``, ``place``; optional, NaN where unknown, in one unit: ``west``,
            ``south``, ``east``, ``north``.

    Raises:
        ProtocolError: two parts of a fold share an image; or, unless the protocol says ``same_ground``, a mask of
            several classes or a piece of ground. The message names a pair and what to do.
    """
    images, masks = _repeated(ground["image"]), _repeated(ground["mask"])
    common = [] if protocol.same_ground else overlaps(ground)
    for fold in folds:
        part_of = {patch: part for part in PARTS for patch in fold.parts[part]}
        fold_name = f"{protocol.label}, fold {fold.name}"
        for kind, keys in (("image", images), ("mask", masks)):
            if pairs := _shared(keys, part_of, allowed=kind == "mask" and protocol.same_ground):
                raise ProtocolError(_message(fold_name, f"hold the same {kind}", pairs, part_of, ground, kind))
        apart = [overlap for overlap in common if _apart(part_of, *overlap[:2])]
        if apart:
            what = f"show the same ground (up to {max(share for *_, share in apart):.0%} of a patch overlaps)"
            pairs = [(one, other) for one, other, _ in apart]
            raise ProtocolError(_message(fold_name, what, pairs, part_of, ground, "ground"))


def _repeated(keys: "pd.Series[str]") -> "pd.Series[str]":
    """Return the keys that more than one patch has."""
    known = keys[keys != ""]
    return known[known.duplicated(keep=False)]


def _shared(keys: "pd.Series[str]", part_of: dict[str, str], *, allowed: bool) -> list[tuple[str, str]]:
    """Return one pair for each key that two parts hold."""
    if allowed or not len(keys):
        return []
    here = keys[keys.index.isin(list(part_of))]
    parts = here.index.map(part_of).to_series(index=here.index)
    several = here[parts.groupby(here).transform("nunique") > 1]
    pairs = []
    for _, group in several.groupby(several):
        first: dict[str, str] = {}
        for patch in group.index:
            first.setdefault(part_of[patch], patch)
        pairs += [pair for pair in combinations(first.values(), 2) if _apart(part_of, *pair)][:1]
    return pairs


def _apart(part_of: dict[str, str], one: str, other: str) -> bool:
    """Return whether two patches are in two parts; where adaptation and test share a pool, theirs is one."""
    return one in part_of and other in part_of and part_of[one] != part_of[other]


def overlaps(ground: pd.DataFrame) -> list[tuple[str, str, float]]:
    """Return pairs of patches of two zones that overlap, and the share of the smaller one that is common.

    Args:
        ground: a row a patch, indexed by id, with ``zone``, ``west``, ``south``, ``east`` and ``north``.
    """
    columns = ["west", "south", "east", "north"]
    if not set(columns) <= set(ground) or not len(known := ground.dropna(subset=columns)):
        return []
    from scipy.spatial import cKDTree  # takes a second to import

    boxes = known[columns].to_numpy(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    pairs = cKDTree((boxes[:, :2] + boxes[:, 2:]) / 2).query_pairs(float(sides.max()), p=np.inf, output_type="ndarray")
    one, other = boxes[pairs[:, 0]], boxes[pairs[:, 1]]
    common = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    area = np.where((common > 0).all(1), common.prod(1), 0)
    share = area / np.minimum(sides[pairs[:, 0]].prod(1), sides[pairs[:, 1]].prod(1))
    zones = known["zone"].to_numpy()
    kept = (share > LEAST_OVERLAP) & (zones[pairs[:, 0]] != zones[pairs[:, 1]])
    ids = known.index.to_numpy()
    ones, others = (ids[pairs[kept, side]].tolist() for side in (0, 1))
    return list(zip(ones, others, share[kept].tolist(), strict=True))


def _message(
    fold: str, what: str, pairs: list[tuple[str, str]], part_of: dict[str, str], ground: pd.DataFrame, kind: str
) -> str:
    one, other = pairs[0]
    zones = ground.loc[[one, other], "zone"].tolist()
    more = f" ({len(pairs)} such pairs)" if len(pairs) > 1 else ""
    remedy = f"give both one zone: they have {zones[0]!r} and {zones[1]!r}"
    if without := _without_time(*zones):
        remedy += f", which without the time would be {without!r}"
    if kind == "image":
        return f"{fold}: {one} in {part_of[one]} and {other} in {part_of[other]} {what}{more}; remove one, or {remedy}"
    return (
        f"{fold}: {one} in {part_of[one]} and {other} in {part_of[other]} {what}{more}; {remedy}. For a series of "
        "times, zone is a template without the time. Or say in the protocol that this is meant: same_ground = true"
    )


def _without_time(one: str, other: str) -> str:
    """Return what two zones are without the year or date in which alone they differ; "" if they differ otherwise."""
    pieces, others = (re.split(r"([_/ .])", zone) for zone in (one, other))
    unlike = [number for number, (piece, its) in enumerate(zip(pieces, others, strict=False)) if piece != its]
    if len(pieces) != len(others) or len(unlike) != 1:
        return ""
    place = unlike[0]
    if not (_TIME.fullmatch(pieces[place]) and _TIME.fullmatch(others[place])):
        return ""
    return "".join(pieces[: max(place - 1, 0)] + pieces[place + (place == 0) + 1 :])
