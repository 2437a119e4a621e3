"""``landshift protocols``: what can be held out; show, pin and verify one, and write the page about all."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.cli import options as shared
from benchmark.common.errors import SettingsError

VERBS = {
    "list": "all in one line each",
    "show": "one: what it holds out, what that confounds, and its folds",
    "verify": "cut one, those of a data set, or all whose data is here, and compare with what is pinned",
    "pin": "write fingerprint and sizes into a protocol's file",
    "document": "the page about all, as Markdown",
}
SAME_GROUND = "the same in source and target on purpose: only time differs, and what is learned of a place is not new"
NOT_PINNED = (
    "not pinned, since what it is cut by (zones, or which patches a department has) is public only with the data; "
    "a run names the fingerprint of the folds it was given, and `landshift protocols pin` writes it down"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    verbs = "; ".join(f"{verb}: {text}" for verb, text in VERBS.items())
    parser.add_argument("verb", nargs="?", choices=list(VERBS), default="list", help=verbs)
    parser.add_argument("name", nargs="?", help="a protocol's name, or the path of a .toml file")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where document writes (default: the terminal)")
    shared.add_data(parser)


def protocols(options: argparse.Namespace) -> int:
    """Run one of the verbs."""
    from protocols.files import names

    if options.verb in ("show", "pin") and not options.name:
        raise SettingsError(f"landshift protocols {options.verb} needs a name; there are {', '.join(names())}")
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": _list,
        "show": _show,
        "verify": _verify,
        "pin": _pin,
        "document": _document,
    }
    return actions[options.verb](options)


def _list(options: argparse.Namespace) -> int:
    from protocols.files import load, names

    for name in _asked(options) if options.name else names():
        protocol = load(name)
        print(f"{name}  v{protocol.version}  {protocol.fingerprint[:12] or 'not pinned'}\n    {protocol.title}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from benchmark.common.console import print_rows
    from benchmark.data.datasets import is_here
    from protocols.base import PARTS, fingerprint
    from protocols.files import load

    protocol = load(options.name, partial=options.partial)
    if protocol.partial:  # what was pinned is the whole's
        protocol = replace(protocol, fingerprint="", sizes={}, smallest_distance=math.nan)
    print(f"{protocol.label}: {protocol.title}\n\n{protocol.description.strip()}\n")
    print(f"confounds: {protocol.confounds.strip()}")
    if protocol.citation:
        print(f"source: {protocol.citation}")
    print(f"unlabelled images: {_unlabelled(protocol)}")
    if protocol.same_ground:
        print(f"ground: {SAME_GROUND}")
    print(f"fingerprint: {protocol.fingerprint or NOT_PINNED}")
    overlap, sizes, distance, source = "", protocol.sizes, protocol.smallest_distance, "when it was pinned"
    if is_here(protocol.dataset, options.data):
        folds, distance, overlap = _folds(protocol, options.data)
        sizes, source = {fold.name: fold.sizes for fold in folds}, "in the data found"
        print(f"of the folds in the data found: {fingerprint(folds, partial=protocol.partial)}")
    elif not sizes:
        print(f"with --data, or the data set in data/{protocol.dataset}, the sizes of the folds are shown here")
        return 0
    print(f"patches in each part, {source}:")
    print_rows(("fold", *PARTS), [(name, *map(str, row)) for name, row in sizes.items()])
    if not math.isnan(distance):
        print(f"smallest distance between a source and a target patch: {distance:.1f}, in the unit of x and y")
    if overlap:
        print(f"landshift run will refuse it: {overlap}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from benchmark.common.errors import DataError
    from benchmark.data.datasets import is_here
    from protocols.base import ProtocolError, fingerprint
    from protocols.files import load

    wrong = pinned = free = 0
    for name in _asked(options):
        protocol = load(name, partial=options.partial)
        if not is_here(protocol.dataset, options.data):
            print(f"{name}: not checked, the data set {protocol.dataset} was not found (--data)")
            continue
        try:
            folds, _, overlap = _folds(protocol, options.data)
            current = fingerprint(folds, partial=protocol.partial)
        except (ProtocolError, DataError) as error:
            wrong += 1
            print(f"{name}: DOES NOT FIT: {error}")
        else:
            free, pinned = free + (protocol.fingerprint != current), pinned + (protocol.fingerprint == current)
            print(f"{name}: {'as pinned' if protocol.fingerprint == current else 'not pinned, is'} {current}")
            if overlap:
                print(f"{name}: landshift run will refuse it: {overlap}")
    if not wrong + pinned + free:
        print("nothing was checked: no data found")
        return 1 if options.name else 0
    print(f"{pinned} as pinned, {free} cut but with nothing pinned to compare, {wrong} do not fit their data")
    return 1 if wrong else 0


def _asked(options: argparse.Namespace) -> list[str]:
    """Return the protocols of a name: one, those of a data set, or all."""
    from protocols.files import load, names

    if not options.name:
        if options.data:
            raise SettingsError("with --data, say which protocol or data set it is: landshift protocols verify flair1")
        return names()
    return [name for name in names() if load(name).dataset == options.name] or [options.name]


def _pin(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from protocols.files import load, path_of, pin

    if options.partial:
        raise SettingsError("a protocol is pinned on the whole of its data set, never on a part (--partial)")
    folds, distance, _ = _folds(replace(load(options.name), fingerprint=""), options.data)
    print(f"{options.name}: fingerprint {pin(path_of(options.name), folds, distance)}")
    return 0


def _document(options: argparse.Namespace) -> int:
    """Write a page with what is pinned, which needs no data."""
    if options.name or options.data:
        raise SettingsError("landshift protocols document writes what is pinned of all; it takes no name and no --data")
    from protocols.base import PARTS
    from protocols.files import load, names

    page = [
        "# Protocols",
        "",
        "Made by `landshift protocols document`. A fingerprint is the SHA-256 of the patch ids of every part of every "
        "fold; `landshift protocols verify` cuts the folds again and compares. Distances are in metres where data has "
        "FLAIR's layout (FLAIR, the synthetic world), and in cells for the forest series of Brunei.",
    ]
    for protocol in map(load, names()):
        page += ["", f"## {protocol.name}, version {protocol.version}", "", f"**{protocol.title}.** ", ""]
        page[-2] += " ".join(protocol.description.split())
        page += [f"- *Confounds:* {' '.join(protocol.confounds.split())}"]
        page += [f"- *Source:* {protocol.citation}"] if protocol.citation else []
        page += [f"- *Unlabelled images:* {_unlabelled(protocol)}"]
        page += [f"- *Ground:* {SAME_GROUND}"] if protocol.same_ground else []
        page += [f"- *Fingerprint:* {f'`{protocol.fingerprint}`' if protocol.fingerprint else NOT_PINNED}"]
        if not math.isnan(protocol.smallest_distance):
            page += [
                f"- *Smallest distance, source to target:* {protocol.smallest_distance:.1f}, in the unit of x and y"
            ]
        if protocol.sizes:
            page += ["", f"| fold | {' | '.join(PARTS)} |", f"|---|{'---:|' * len(PARTS)}"]
            page += [f"| {name} | {' | '.join(map(str, row))} |" for name, row in protocol.sizes.items()]
    text = "\n".join(page) + "\n"
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


def _folds(protocol: Any, data: Path | None) -> tuple[list[Any], float, str]:
    """Return the folds, the smallest distance between source and target, and which parts show the same ground.

    Equal images and masks are found by `landshift run` alone, which decodes them.
    """
    from benchmark.data.datasets import open_catalog
    from protocols.base import ProtocolError
    from protocols.checks import smallest_distance
    from protocols.cutting import cut
    from protocols.ground import check_ground

    catalog = open_catalog(protocol.dataset, data)
    folds = cut(protocol, catalog.patches)
    overlap = ""
    if catalog.footprints is not None:
        patches = catalog.patches.set_index("id")
        try:
            check_ground(protocol, folds, patches[["zone", "place"]].assign(image="", mask="").join(catalog.footprints))
        except ProtocolError as error:
            overlap = str(error)
    return folds, smallest_distance(folds, catalog.patches), overlap


def _unlabelled(protocol: Any) -> str:
    if not protocol.split.adapt_share and not protocol.transductive:
        return "none"
    kind = "the test images themselves (transductive)" if protocol.transductive else "other zones than the test's"
    after = "may be" if protocol.adapt_may_follow_test else "are never"
    few = f"; the labels of {protocol.split.few} are for the k-label control" if protocol.split.few else ""
    return f"{kind}; they {after} younger than the first test image{few}"
