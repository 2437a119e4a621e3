"""Folds inside a fold: its source alone, with one of the source's own domains held out."""

from dataclasses import replace

import pandas as pd

from protocols.base import Fold, Protocol, ProtocolError
from protocols.cutting import cut

BY_HAND = ("place",)  # what is held out inside folds that are listed by hand


def nested_folds(protocol: Protocol, fold: Fold, patches: pd.DataFrame) -> list[Fold]:
    """Cut the source of a fold by the protocol's own rule, so that every source domain is held out once.

    What a method gives on these folds can choose a setting for the fold without any look at its target (leave one
    domain out, Gulrajani and Lopez-Paz, ICLR 2021).

    Args:
        patches: patches of the catalog, from which the protocol was cut.

    Returns:
        folds named ``<fold> without <domain>``; none where the source has too few domains or zones for it.
    """
    source = patches[patches["id"].isin({*fold.parts["source_train"], *fold.parts["source_val"]})]
    inner = replace(
        protocol,
        name=f"{protocol.name}/{fold.name}",
        hold_out=protocol.hold_out or BY_HAND,
        named_folds=(),
        fingerprint="",
        split=replace(protocol.split, few=0),
    )
    try:
        folds = cut(inner, source)
    except ProtocolError:
        return []
    return [replace(each, name=f"{fold.name} without {each.name}") for each in folds]
