"""Protocol files: TOML, one a protocol, shipped beside this module or a user's own."""

import math
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from protocols.base import PARTS, Fold, NamedFold, Protocol, ProtocolError, Selector, Split, fingerprint
from protocols.columns import known_columns

FOLDER = Path(__file__).parent
REQUIRED = {"name": str, "version": int, "dataset": str, "title": str, "description": str, "confounds": str}
OPTIONAL = {
    "citation": str,
    "fingerprint": str,
    "hold_out": list,
    "fold": list,
    "tables": list,
    "columns": list,
    "split": dict,
    "forecast": bool,
    "transductive": bool,
    "adapt_may_follow_test": bool,
    "same_ground": bool,
    "pinned": dict,
}
MOST_BYTES = 16 << 20
_NAME = re.compile(r"[^\W_][\w.+-]{0,99}")  # names a folder of results and an experiment
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
PINNED = "# Written by `landshift protocols pin`: patches in " + ", ".join(PARTS) + ", and the\n"
PINNED += "# smallest distance of a source patch to a target patch. The fingerprint above is of their ids.\n"


def names() -> list[str]:
    """Return the names of the protocols that come with landshift."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str, *, partial: bool = False) -> Protocol:
    """Load a protocol by its name, or by the path of a TOML file.

    Args:
        partial: whether the catalog may lack what the protocol names; its folds are then others (see `Protocol`).

    Raises:
        ProtocolError: there is no such protocol, or the file is wrong; the message names the file and the key.
    """
    path = path_of(name)
    if not path.is_file():
        if name.endswith(".toml"):
            raise ProtocolError(f"there is no file {name}")
        close = [f"{name}.toml"] if Path(f"{name}.toml").is_file() else get_close_matches(name, names(), n=1)
        meant = f"did you mean {close[0]}? There" if close else "there"
        raise ProtocolError(
            f"there is no protocol {name!r}; {meant} are {', '.join(names())}, or give the path of a .toml file"
        )
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ProtocolError(f"{path} is larger than the {MOST_BYTES >> 20} MiB that a protocol may have")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ProtocolError:
        raise
    except (OSError, ValueError) as error:  # also of a number or a date that Python has not
        raise ProtocolError(f"{path} is not valid TOML: {error}") from error
    except RecursionError:
        raise ProtocolError(f"{path} is not valid TOML: nested too deeply") from None
    _check_texts(path, content)
    content = _composed(content)
    try:
        return replace(_parse(path, content), partial=partial)
    except OSError as error:  # a name of a file that no system has
        raise ProtocolError(f"{path}: {error}") from error


def _check_texts(path: Path, value: Any) -> None:
    """Refuse control characters but line breaks: names of folds and columns are printed in tables and terminals."""
    if isinstance(value, str) and (control := _UNFIT.search(value)):
        raise ProtocolError(
            f"{path}: a text holds the character {ord(control[0]):#04x}, which no name and no title has"
        )
    if isinstance(value, Mapping):
        for item in (*value, *value.values()):
            _check_texts(path, item)
    if isinstance(value, list):
        for item in value:
            _check_texts(path, item)


def _composed(value: Any) -> Any:
    """Return the same with all texts in one Unicode form, in which catalogs have their names too."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, Mapping):
        return {_composed(key): _composed(item) for key, item in value.items()}
    return [_composed(item) for item in value] if isinstance(value, list) else value


def path_of(name: str) -> Path:
    """Return where the file of a protocol is: a path stays what it is, a name is one of those shipped."""
    return Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"


def pin(path: Path, folds: list[Fold], distance: float) -> str:
    """Write the fingerprint, sizes and smallest distance of folds into a protocol's file; return the fingerprint.

    Raises:
        ProtocolError: this version is pinned to other folds already.
    """
    digest = fingerprint(folds)
    before = load(str(path))
    if before.fingerprint not in ("", digest):
        raise ProtocolError(
            f"{path}: version {before.version} is pinned to other folds ({before.fingerprint[:12]}, these are "
            f"{digest[:12]}). A change of folds is a new version: raise it, and remove the line with the fingerprint"
        )
    text = path.read_text(encoding="utf-8").partition(PINNED)[0].rstrip("\n") + "\n"
    line = f'fingerprint = "{digest}"'
    text, count = re.subn(r"(?m)^fingerprint\s*=.*$", line, text, count=1)
    text = text if count else re.sub(r"(?m)^(version\s*=.*)$", rf"\1\n{line}", text, count=1)
    sizes = [f"{_key(fold.name)} = [{', '.join(map(str, fold.sizes))}]" for fold in folds]
    measured = [] if math.isnan(distance) else [f"smallest_distance = {distance:.1f}"]
    lines = ["[pinned]", *measured, "", "[pinned.folds]", *sizes]
    path.write_text(f"{text}\n{PINNED}" + "\n".join(lines) + "\n", encoding="utf-8")
    return digest


def _key(name: str) -> str:
    """Return a fold's name as a key of TOML."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _parse(path: Path, content: Mapping[str, Any]) -> Protocol:
    _check_keys(path, content, REQUIRED, OPTIONAL)
    if not _NAME.fullmatch(content["name"]):
        raise ProtocolError(f"{path}: a name is of 1 to 100 letters, digits and .+-_, not {content['name'][:120]!r}")
    if ("hold_out" in content) == ("fold" in content):
        raise ProtocolError(f'{path}: give either hold_out = ["place"|"time"|...] or [[fold]] tables')
    tables = tuple(path.parent / _text(path, "tables", table) for table in content.get("tables", ()))
    if outside := [table for table in tables if not table.resolve().is_relative_to(path.parent.resolve())]:
        raise ProtocolError(f"{path}: the table {outside[0]} is elsewhere than beside the protocol or below")
    own = tuple(_text(path, "columns", name) for name in content.get("columns", ()))
    columns = known_columns(tables) + own
    hold_out = tuple(content.get("hold_out", ()))
    if "hold_out" in content and not (hold_out and all(name in columns for name in hold_out)):
        raise ProtocolError(f"{path}: hold_out takes some of {', '.join(columns)}, not {content['hold_out']}")
    folds = [_fold(path, columns, fold) for fold in content.get("fold", ())]
    if len({fold.name for fold in folds}) < len(folds) or not all(fold.target for fold in folds):
        raise ProtocolError(f"{path}: every [[fold]] needs a name of its own and a target")
    taken = ("hold_out", "split", "fold", "tables", "columns", "pinned")
    plain = {key: value for key, value in content.items() if key not in taken}
    if (path.parent / plain["dataset"]).is_file():
        plain["dataset"] = str(path.parent / plain["dataset"])  # a description is beside the protocol that names it
    sizes, distance = _pinned(path, content.get("pinned", {}))
    return Protocol(
        **plain,
        hold_out=hold_out,
        named_folds=tuple(folds),
        tables=tables,
        columns=own,
        split=_split(path, content.get("split", {})),
        sizes=sizes,
        smallest_distance=distance,
    )


def _split(path: Path, table: Mapping[str, Any]) -> Split:
    kinds = {item.name: item.type for item in fields(Split)}
    _check_keys(path, table, {}, dict.fromkeys(kinds, (int, float)), "[split] ")
    for key, value in table.items():
        share = key.endswith("_share")
        if isinstance(value, bool) or not math.isfinite(value) or value < 0 or (share and value >= 1):
            raise ProtocolError(f"{path}: [split] {key} is {value}; a share is in 0 to 1, all else is 0 or more")
        if kinds[key] is int and not isinstance(value, int):
            raise ProtocolError(f"{path}: [split] {key} is a whole number, not {value}")
    return Split(**table)


def _fold(path: Path, columns: tuple[str, ...], fold: Any) -> NamedFold:
    if not isinstance(fold, dict):
        raise ProtocolError(f"{path}: folds are tables, each [[fold]]")
    selectors = ("target", "source", "source_val", "target_adapt")
    _check_keys(path, fold, {"name": str, "target": dict}, dict.fromkeys(selectors[1:], dict), "[[fold]] ")
    return NamedFold(fold["name"], **{key: _selector(path, columns, fold.get(key, {})) for key in selectors})


def _selector(path: Path, columns: tuple[str, ...], table: Mapping[str, Any]) -> Selector:
    _check_keys(path, table, {}, dict.fromkeys(columns, object), "[[fold]] ")
    for column, values in table.items():
        if not isinstance(values, list):
            raise ProtocolError(f'{path}: [[fold]] {column} takes a list, as ["D012", "D022"], not {values!r}')
    return {column: tuple(map(str, values)) for column, values in table.items()}


def _pinned(path: Path, table: Mapping[str, Any]) -> tuple[dict[str, tuple[int, ...]], float]:
    _check_keys(path, table, {}, {"folds": dict, "smallest_distance": (int, float)}, "[pinned] ")
    sizes = table.get("folds", {})
    if any(not isinstance(row, list) or len(row) != len(PARTS) for row in sizes.values()):
        raise ProtocolError(f"{path}: [pinned.folds] takes {len(PARTS)} numbers a fold; pin the protocol again")
    return {name: tuple(row) for name, row in sizes.items()}, float(table.get("smallest_distance", math.nan))


def _text(path: Path, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ProtocolError(f"{path}: {key} takes texts, not {value!r}")
    return value


def _check_keys(
    path: Path, table: Mapping[str, Any], required: Mapping[str, Any], optional: Mapping[str, Any], where: str = ""
) -> None:
    kinds = {**required, **optional}
    if not where and {"image", "bands"} & {*table}:
        raise ProtocolError(
            f"{path}: describes data, and says nothing of what is held out; give a protocol whose 'dataset' is this "
            "file (landshift data describe writes some)"
        )
    if missing := [key for key in required if key not in table]:
        raise ProtocolError(f"{path}: {where}lacks {', '.join(missing)}")
    if unknown := [key for key in table if key not in kinds]:
        raise ProtocolError(f"{path}: {where}has {', '.join(unknown)}; allowed are {', '.join(kinds)}")
    for key, value in table.items():
        if not isinstance(value, kinds[key]) or (isinstance(value, bool) and kinds[key] is int):
            expected = getattr(kinds[key], "__name__", "number")
            raise ProtocolError(f"{path}: {where}{key} takes a {expected}, not {value!r}")
