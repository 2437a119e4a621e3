"""Protocols: fixed, versioned, hashed lists of folds over a catalog. They say what is held out, and nothing else.

How a checkpoint or a setting is chosen without looking at the answer is a *selection rule*, not a protocol.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PARTS = ("source_train", "source_val", "target_adapt", "target_test")
PARTIAL = "partial"


class ProtocolError(ValueError):
    """A protocol file, or a catalog that does not fit it; the message names what is wrong."""


Selector = Mapping[str, tuple[str, ...]]
"""Column -> values; a patch is selected if it has one of the values in every column."""


@dataclass(frozen=True)
class Fold:
    """One way of holding domains out.

    Attributes:
        name: unique within its protocol, for example ``D901@2019``.
        held_out: the held-out values of each column, ``{"place": "D901", "time": "2019"}``.
        parts: sorted patch ids of ``source_train``, ``source_val``, ``target_adapt`` (no labels) and ``target_test``.
        few: ids of ``target_adapt`` patches whose labels the k-label control may see, the first k of them; or none.
    """

    name: str
    held_out: Mapping[str, str]
    parts: Mapping[str, tuple[str, ...]]
    few: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Patches in each of `PARTS`."""
        return tuple(len(self.parts[part]) for part in PARTS)


@dataclass(frozen=True)
class Split:
    """The way the zones of a fold are dealt to its four parts.

    Attributes:
        target_share: share of the zones seen at source *and* target times that go to the target side (the others to the
            source side), so that no ground is in both.
        validation_share: share of the source zones that go to ``source_val``.
        adapt_share: share of the target zones that go to ``target_adapt``; 0 leaves that part empty.
        gap: source zones with a patch closer than this to a target patch are dropped, in the catalog's unit of x and y.
        few: largest number of patches of ``target_adapt`` that the k-label control may see.
        smallest_target: combinations of held-out values with fewer patches are no fold.
    """

    target_share: float = 0.5
    validation_share: float = 0.2
    adapt_share: float = 0.5
    gap: float = 0.0
    few: int = 0
    smallest_target: int = 1


@dataclass(frozen=True)
class NamedFold:
    """A fold whose domains are listed by hand.

    Attributes:
        target: the held-out patches.
        source: values that labels come from; empty for all that share no value with the target.
        source_val: patches for validation; empty to cut them from the source by zone.
        target_adapt: unlabelled patches; empty to cut them from the target by zone.
    """

    name: str
    target: Selector
    source: Selector = field(default_factory=dict)
    source_val: Selector = field(default_factory=dict)
    target_adapt: Selector = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """The content of a protocol file.

    Attributes:
        name, version: together its identity for people; a change of folds is a new version.
        dataset: the data set it is written for.
        title: one line.
        description: what is held out, and how the parts are made.
        confounds: what else changes with the held-out domains, so that no number is over-interpreted.
        citation: source of the split, if it was published.
        hold_out: the columns whose values are held out, one fold a combination; empty if folds are named.
        named_folds: folds listed by hand.
        tables: CSV files that give patches further columns (see `protocols.columns`).
        columns: further columns that the files of the data set themselves give, such as a published split.
        split: way the zones are dealt.
        forecast: every source date is before every target date.
        transductive: ``target_adapt`` is ``target_test`` itself, without its labels.
        adapt_may_follow_test: unlabelled images may be younger than the first test image.
        same_ground: whether source and target may show the same ground at other times: only time is to differ.
        fingerprint: fingerprint of the folds on the whole data set; "" where the whole data set was not available yet.
        sizes: sizes of the four parts of each fold when it was pinned.
        smallest_distance: between a source and a target patch when it was pinned, in the catalog's unit; NaN unknown.
        partial: the catalog may lack what the protocol names; its folds are then compared with no others.
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
    tables: tuple[Path, ...] = ()
    columns: tuple[str, ...] = ()
    split: Split = Split()
    forecast: bool = False
    transductive: bool = False
    adapt_may_follow_test: bool = True
    same_ground: bool = False
    fingerprint: str = ""
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    smallest_distance: float = float("nan")
    partial: bool = False

    @property
    def salt(self) -> str:
        """The text that zones are dealt by: the same for the whole and for a part of the data."""
        return f"{self.name}-v{self.version}"

    @property
    def label(self) -> str:
        """Name and version as one word, for example ``world-leave-times-out-v1``."""
        return f"{self.salt}-{PARTIAL}" if self.partial else self.salt


def fingerprint(folds: list[Fold], *, partial: bool = False) -> str:
    """Return the SHA-256 of the patch ids of every part of every fold, whatever the machine and the order of files."""
    content = {
        fold.name: {part: sorted(fold.parts[part]) for part in PARTS} | ({"few": list(fold.few)} if fold.few else {})
        for fold in folds
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{PARTIAL}-{digest}" if partial else digest
