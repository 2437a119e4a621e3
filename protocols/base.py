"""Protocols: fixed, versioned, hashed lists of folds over a catalog. They say what is held out, and nothing else.

How a checkpoint or a setting is chosen without looking at the answer is a *selection rule*, not a protocol.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

PARTS = ("source_train", "source_val", "target_adapt", "target_test")
AXES = ("place", "time")  # the columns of a catalog that can be held out


class ProtocolError(ValueError):
    """A protocol file, or a catalog that does not fit it; the message names what is wrong."""


@dataclass(frozen=True)
class Fold:
    """One way of holding domains out.

    Attributes:
        name: unique within its protocol, for example ``D901@2019``.
        held_out: the held-out value of each axis, ``{"place": "D901", "time": "2019"}``; "" for an axis not held out.
        parts: sorted patch ids of ``source_train``, ``source_val``, ``target_adapt`` (no labels) and ``target_test``.
    """

    name: str
    held_out: Mapping[str, str]
    parts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Split:
    """How the zones of a fold are dealt to its four parts.

    Attributes:
        target_share: share of the zones seen at source *and* target times that go to the target side (the others to the
            source side), so that no ground is in both.
        validation_share: share of the source zones that go to ``source_val``.
        adapt_share: share of the target zones that go to ``target_adapt``; 0 leaves that part empty.
        gap: source zones with a patch closer than this to a target patch are dropped, in the catalog's unit of x and y.
    """

    target_share: float = 0.5
    validation_share: float = 0.2
    adapt_share: float = 0.5
    gap: float = 0.0


@dataclass(frozen=True)
class NamedFold:
    """A fold whose domains are listed by hand: column -> values. Source is whatever is neither target nor left out."""

    name: str
    target: Mapping[str, tuple[str, ...]]
    source_val: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """What a protocol file says.

    Attributes:
        name, version: together its identity for people; a change of folds is a new version.
        dataset: the data set it is written for.
        title: one line.
        description: what is held out, and how the parts are made.
        confounds: what else changes with the held-out domains, so that nobody reads too much into a number.
        citation: where the split comes from, if it was published.
        hold_out: the catalog columns whose values are held out, one fold a combination; empty if folds are named.
        named_folds: folds listed by hand.
        split: how zones are dealt.
        fingerprint: of the folds on the whole data set; "" where nobody has had the whole data set yet.
    """

    name: str
    version: int
    dataset: str
    title: str
    description: str
    confounds: str
    citation: str = ""
    hold_out: tuple[str, ...] = ()
    named_folds: tuple[NamedFold, ...] = ()
    split: Split = Split()
    fingerprint: str = ""

    @property
    def label(self) -> str:
        """Name and version as one word, for example ``world-leave-times-out-v1``."""
        return f"{self.name}-v{self.version}"


def fingerprint(folds: list[Fold]) -> str:
    """SHA-256 over the patch ids of every part of every fold, the same on any machine and in any file order."""
    content = {fold.name: {part: sorted(fold.parts[part]) for part in PARTS} for fold in folds}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_folds(protocol: Protocol, folds: list[Fold], patches: pd.DataFrame) -> None:
    """Refuse folds that a result could not stand on.

    Raises:
        ProtocolError: a patch or a zone lies in two parts, a part is empty, a labelled part holds a patch without a
            mask, or the folds are not those the protocol's fingerprint was made of.
    """
    if not folds:
        raise ProtocolError(f"{protocol.label}: the catalog holds none of the domains it holds out")
    zones = dict(zip(patches["id"], patches["zone"], strict=True))
    masks = dict(zip(patches["id"], patches["mask"], strict=True))
    images = dict(zip(patches["id"], patches["image"], strict=True))
    for fold in folds:
        where: dict[str, str] = {}
        for part in PARTS:
            ids = fold.parts[part]
            if not ids and not (part == "target_adapt" and protocol.split.adapt_share == 0):
                raise ProtocolError(
                    f"{protocol.label}, fold {fold.name}: {part} is empty: too few zones in a "
                    "place (2 are needed, 4 where the held-out times share them with the others)"
                )
            for zone in {zones[patch] for patch in ids}:
                if where.setdefault(zone, part) != part:
                    raise ProtocolError(f"{protocol.label}, fold {fold.name}: {zone} is in {where[zone]} and {part}")
            bare = [images[patch] for patch in ids if not masks[patch]]
            if bare and part != "target_adapt":
                raise ProtocolError(
                    f"{protocol.label}, fold {fold.name}: {part} needs labels, and {len(bare)} images have no "
                    f"mask, for example {bare[0]}"
                )
    found = fingerprint(folds)
    if protocol.fingerprint and found != protocol.fingerprint:
        raise ProtocolError(
            f"{protocol.label}: this catalog gives other folds than the protocol was made of (fingerprint {found[:12]} "
            f"where {protocol.fingerprint[:12]} is pinned): patches are missing, added or renamed"
        )
