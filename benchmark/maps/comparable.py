"""Doubts of a comparison of two maps: what differs between them beside the ground."""

import re
from calendar import month_name
from collections.abc import Iterator, Mapping

from benchmark.maps.map_file import MapFile

_NETWORK = {"method": "methods", "run": "runs", "weights": "weights"}
_DATA = {
    "training_domains": "training data",
    "resolution": "resolutions",
    "resampled_from": "resolutions of their images",
    "bands": "bands",
}


def doubts_of(a: MapFile, b: MapFile) -> Iterator[str]:
    """Yield what makes two maps differ although the ground may not have changed."""
    if unlike := _unlike(_NETWORK, a.facts, b.facts):
        yield (
            f"The maps were made by different {unlike}: differences between two networks look like change. Map both "
            "images with one run."
        )
    if unlike := _unlike(_DATA, a.facts, b.facts):
        yield f"The maps have different {unlike}: what differs may be how they were made, not the ground."
    facts = ("run", "weights", "training_domains")
    unknown = [name.replace("_", " ") for name in facts if not (a.facts.get(name) and b.facts.get(name))]
    if unknown:
        yield f"It is not known of both maps: {', '.join(unknown)}. Whether one network made them cannot be checked."
    if a.facts.get("adapted_on_the_way") or b.facts.get("adapted_on_the_way"):
        yield (
            "A method that learned from the image on the way made a map: it was another network at each place and on "
            "each date, although the run is the same."
        )
    if a.legend.coding != b.legend.coding:
        yield f"The codings differ ({a.legend.coding}, {b.legend.coding}): classes are compared by their names."
    elif set(a.legend.classes) != set(b.legend.classes):
        yield "The values or colours of the classes differ: classes are compared by their names."
    yield from _season(a.facts, b.facts)


def _season(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    dates = [facts.get("image_date", "") for facts in (a, b)]
    if a.get("image") and a.get("image") == b.get("image") and dates[0] == dates[1]:
        yield "Both maps are of an image of one name and date: if it is one image, all that differs is error."
    months = [_month(date) for date in dates]
    if None in months:
        yield (
            "The date of an image is not known: crops, leaves, shadows and water differ between seasons and look like "
            "change. Give it when the map is made (--date)."
        )
    elif months[0] != months[1]:
        first, second = (month_name[month] for month in months if month)
        yield (
            f"The images are of different seasons ({first}, {second}): crops, leaves, shadows and water differ and "
            "look like change."
        )


def _month(date: str) -> int | None:
    found = re.match(r"\d{4}-(\d{2})", date)
    return int(found[1]) if found and 1 <= int(found[1]) <= 12 else None


def _unlike(names: Mapping[str, str], a: Mapping[str, str], b: Mapping[str, str]) -> str:
    """Return, in words, which facts that are known of either map differ."""
    different = [
        f"{words} ({a.get(name) or 'none'}, {b.get(name) or 'none'})"
        for name, words in names.items()
        if a.get(name) != b.get(name) and (name == "resampled_from" or (a.get(name) and b.get(name)))
    ]
    return " and ".join(different)
