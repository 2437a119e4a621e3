"""Protocol files: TOML, one a protocol, shipped beside this module or a user's own."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from protocols.base import AXES, NamedFold, Protocol, ProtocolError, Split

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the protocols that come with landshift."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Protocol:
    """A protocol by its name, or by the path of a TOML file.

    Raises:
        ProtocolError: there is no such protocol, or the file is wrong; the message names the file and the key.
    """
    path = path_of(name)
    if not path.is_file():
        raise ProtocolError(
            f"there is no protocol {name!r}; there are {', '.join(names())}, or give the path of a .toml file"
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"{path} is not valid TOML: {error}") from error
    return _parse(path, content)


def path_of(name: str) -> Path:
    """Where the file of a protocol lies: a path stays what it is, a name is one of those shipped."""
    return Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"


def pin(path: Path, fingerprint: str) -> None:
    """Write the fingerprint of a protocol into its file, in place of the one there."""
    text = path.read_text(encoding="utf-8")
    line = f'fingerprint = "{fingerprint}"'
    replaced, count = re.subn(r"(?m)^fingerprint\s*=.*$", line, text)
    path.write_text(replaced if count else re.sub(r"(?m)^(version\s*=.*)$", rf"\1\n{line}", text), encoding="utf-8")


def _parse(path: Path, content: Mapping[str, Any]) -> Protocol:
    required = ("name", "version", "dataset", "title", "description", "confounds")
    optional = ("citation", "hold_out", "fingerprint", "split", "fold")
    _check_keys(path, content, required, optional)
    if ("hold_out" in content) == ("fold" in content):
        raise ProtocolError(f'{path}: give either hold_out = ["place"|"time"] or [[fold]] tables')
    hold_out = tuple(content.get("hold_out", ()))
    if "hold_out" in content and not (hold_out and set(hold_out) <= set(AXES)):
        raise ProtocolError(f'{path}: hold_out takes ["place"], ["time"] or both, not {content["hold_out"]}')
    split = content.get("split", {})
    _check_keys(path, split, (), tuple(item.name for item in fields(Split)), "[split] ")
    for key, value in split.items():
        if not isinstance(value, int | float) or value < 0 or (key != "gap" and value >= 1):
            raise ProtocolError(f"{path}: [split] {key} is {value}; a share lies in 0 to 1, a gap is 0 or more")
    folds = []
    for fold in content.get("fold", ()):
        _check_keys(path, fold, ("name", "target"), ("source_val",), "[[fold]] ")
        target, source_val = _columns(path, fold["target"]), _columns(path, fold.get("source_val", {}))
        folds.append(NamedFold(fold["name"], target, source_val))
    if len({fold.name for fold in folds}) < len(folds) or not all(fold.target for fold in folds):
        raise ProtocolError(f"{path}: every [[fold]] needs a name of its own and a target")
    plain = {key: value for key, value in content.items() if key not in ("hold_out", "split", "fold")}
    if (path.parent / plain["dataset"]).is_file():
        plain["dataset"] = str(path.parent / plain["dataset"])  # a description lies beside the protocol that names it
    return Protocol(**plain, hold_out=hold_out, named_folds=tuple(folds), split=Split(**split))


def _columns(path: Path, table: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    _check_keys(path, table, (), AXES, "[[fold]] ")
    for column, values in table.items():
        if not isinstance(values, list):
            raise ProtocolError(f'{path}: [[fold]] {column} takes a list, as ["D012", "D022"], not {values!r}')
    return {column: tuple(map(str, values)) for column, values in table.items()}


def _check_keys(
    path: Path, table: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...], where: str = ""
) -> None:
    missing = [key for key in required if key not in table]
    unknown = [key for key in table if key not in required + optional]
    if missing:
        raise ProtocolError(f"{path}: {where}lacks {', '.join(missing)}")
    if unknown:
        raise ProtocolError(f"{path}: {where}has {', '.join(unknown)}; allowed are {', '.join(required + optional)}")
