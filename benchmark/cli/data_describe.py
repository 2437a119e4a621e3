"""``landshift data describe``: write the description of an unknown folder, and protocols over it, to be corrected."""

import argparse
import json
import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.common.errors import DataError, SettingsError

if TYPE_CHECKING:
    from benchmark.data.catalog import Catalog

HEAD = """\
# Guessed by `landshift data describe` from names, headers and some pixels. Correct it: first what is said after "look",
# then the names of bands and classes. Every key: docs/data.md. Then:
#   landshift data preview {description}
{run}
"""
PROTOCOL = """\
# Written by `landshift data describe`; keys: docs/data.md, "Protocols". Correct the texts: results are shown with them.
name = {name}
version = 1
dataset = {dataset}
title = "Every {word} held out in turn"
description = "One fold a {word}; zones are dealt to the parts."
confounds = "Not described yet: what else changes from {word} to {word} (season, camera, sun, who drew the masks)."
hold_out = ["{column}"]
"""
WORDS = {"place": "place", "time": "time", "month": "month"}


def describe(options: argparse.Namespace) -> int:
    """Write the description and the protocols; nothing that is there is overwritten.

    Raises:
        SettingsError: there is no such folder, or a file of that name is there already.
        DataError: nothing in the folder can be described.
    """
    from benchmark.common.console import print_line
    from benchmark.data.describe import describe as look_at
    from benchmark.data.folder import read_folder

    root = options.root.resolve()
    if not root.is_dir():
        raise SettingsError(f"there is no folder {options.root}")
    if known := _known(root):
        print_line(f"{options.root} {known}")
        return 0
    name = _name(root.name)
    file = options.output or Path(f"{name}.toml")
    protocols = {column: file.with_name(f"{file.stem}-leave-{word}s-out.toml") for column, word in WORDS.items()}
    if file.suffix != ".toml":
        raise SettingsError(f"a description is a .toml file, not {file}")
    if there := [path for path in (file, *protocols.values()) if path.exists()]:
        raise SettingsError(f"{there[0]} is there already; remove it, or name another file with --output")
    described = look_at(root, name)
    place = json.dumps(_relative(root, file.resolve().parent), ensure_ascii=False)
    body = "\n".join([described.lines[0], f"root = {place}", *described.lines[1:]]) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(body, "utf-8", "backslashreplace")
    remarks, run = described.remarks, "#   and write a protocol: nothing can be held out yet"
    written, whole = [str(file)], []
    try:
        catalog = read_folder(file)
    except DataError as error:
        remarks = [*remarks, f"it cannot be read as it is: {error}"]
    else:
        remarks = [*remarks, *_ground(catalog)]
        for column in _columns(catalog):
            path = protocols[column]
            text = PROTOCOL.format(
                name=json.dumps(_name(path.stem), ensure_ascii=False),
                dataset=json.dumps(file.name, ensure_ascii=False),
                word=WORDS[column],
                column=column,
            )
            path.write_text(text, "utf-8", "backslashreplace")
            written.append(str(path))
            if fault := _fault(path, catalog):
                remarks.append(fault)
            else:
                whole.append(path)
        if written[1:]:
            run = f"#   {_next(protocols.values(), whole, catalog.patch_size)}"
    looks = "".join(f"# look: {text}\n" for text in map(_one_line, remarks))
    file.write_text(
        HEAD.format(description=shlex.quote(str(file)), run=run) + looks + "\n" + body, "utf-8", "backslashreplace"
    )
    print_line(f"written: {', '.join(written)}")
    for text in remarks:
        print_line(f"look: {text}")
    print_line(f"then: landshift data preview {shlex.quote(str(file))}")
    if written[1:]:
        print_line(run.removeprefix("#   "))
    return 0


def _name(text: str) -> str:
    """Return a text as a name of a data set or a protocol."""
    return re.sub(r"[^\w.-]+", "-", text)[-100:].strip("._-") or "mine"


def _next(protocols: Iterable[Path], whole: list[Path], size: int) -> str:
    """Return the command that trains with a protocol that has folds, or that shows why none has.

    Args:
        size: side of a patch; the preset small cuts crops of 96 pixels.
    """
    if whole:
        training = "--preset small --steps 300" if size >= 96 else "--steps 2000"
        return (
            f"landshift run {shlex.quote(str(whole[0]))} {training} --method source-only --method batch-norm-adaptation"
        )
    first = next(path for path in protocols if path.exists())
    return f"landshift protocols show {shlex.quote(str(first))}, once what is said after look is corrected"


def _known(root: Path) -> str:
    """Return what to do with a folder in a layout that needs no description; "" for others."""
    from benchmark.data.flair import TEST_2
    from benchmark.data.flair_files import domain_and_zone, find_files

    if (root / "world.json").is_file():
        return "is a synthetic world: it needs no description; landshift run world-leave-times-out --data takes it"
    files = find_files(root).images
    try:
        domain_and_zone(next(iter(files.values()), ""))
    except DataError:
        return ""
    number = "2" if any(int(number) in TEST_2 for number in files) else "1"
    return (
        f"is in FLAIR's layout ({len(files)} images) and needs no description: its data set is flair{number}. "
        f"landshift data check compares it with what was published; landshift protocols lists what can be run, "
        "--partial on a part of it"
    )


def _relative(root: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(root, folder)).as_posix()
    except ValueError:  # on another drive
        return root.as_posix()


def _columns(catalog: "Catalog") -> list[str]:
    """Return which of `WORDS` have more than one value; months where all is of one year."""
    patches = catalog.patches
    columns = [
        column for column in ("place", "time") if patches[column].nunique() > 1 and (patches[column] != "").all()
    ]
    if "time" not in columns and (patches["date"] != "").all() and patches["date"].str[5:7].nunique() > 1:
        columns.append("month")
    return columns


def _ground(catalog: "Catalog") -> list[str]:
    """Return whether images of two zones overlap."""
    from protocols.ground import overlaps

    if catalog.footprints is None:
        return []
    zones = catalog.patches.set_index("id")["zone"]
    pairs = overlaps(catalog.footprints.join(zones))
    if not pairs:
        return []
    one, other, share = max(pairs, key=lambda pair: pair[2])
    return [
        f"{len(pairs)} pairs of patches of two zones overlap, such as {one} and {other} by {share:.0%}: where they "
        "come into two parts of a fold, it is refused; give both one 'zone', or 'exclude' one"
    ]


def _fault(path: Path, catalog: "Catalog") -> str:
    """Return why a protocol cannot be run, "" if it can."""
    from protocols.base import ProtocolError
    from protocols.cutting import cut
    from protocols.files import load

    try:
        cut(load(str(path)), catalog.patches)
    except ProtocolError as error:
        return f"{path.name}: {error}"
    return ""


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())
