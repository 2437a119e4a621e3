"""Templates with ``{placeholders}``: one finds the files that match it, another is filled with what was captured.

``{town}`` captures a part of a folder's or a file's name, ``{year:4}`` four characters, ``{part:[a-z]+}`` what a
regular expression matches, ``{date:%Y%m%d}`` a date or time. What can be read in two ways is refused.
"""

import datetime
import logging
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from benchmark.common.errors import DataError
from benchmark.common.files import leads_out

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z_]\w*")
_SYSTEM = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
_ALIKE = ({".jpg", ".jpeg"}, {".tif", ".tiff"})
_MOST_READINGS = 16  # of one name; more than one is an error in the end
_DIRECTIVES = {"Y": r"\d{4}", "j": r"\d{3}", "b": "[A-Za-z]+", "B": "[A-Za-z]+"} | dict.fromkeys("mdHMSy", r"\d{2}")
_SEASONS = ("dec-feb", "mar-may", "jun-aug", "sep-nov")


class Moment(str):
    """A captured text that holds a date, a time of day, or both."""

    when: datetime.datetime
    has_date: bool

    def __new__(cls, text: str, form: str) -> "Moment":
        """Read a text by a form of `datetime.datetime.strptime`; a `ValueError` where it does not fit."""
        moment = super().__new__(cls, text)
        moment.when = datetime.datetime.strptime(text, form)
        moment.has_date = any(f"%{letter}" in form for letter in "djb")
        return moment


@dataclass(frozen=True)
class _Piece:
    """A text, or a placeholder with what it may capture."""

    text: str = ""
    name: str = ""
    spec: str = ""
    any_case: bool = False


def nfc(text: str) -> str:
    """Return the one form in which names are compared: composed letters, as most systems but macOS write them."""
    return unicodedata.normalize("NFC", text)


def placeholders(key: str, template: str) -> list[str]:
    """Return the names of a template's placeholders, each once.

    Raises:
        DataError: a brace is not closed, or what follows the colon is no width, pattern or form of a date.
    """
    return list(dict.fromkeys(piece.name for piece in _pieces(key, template) if piece.name))


def fill(key: str, template: str, fields: Mapping[str, str]) -> str:
    """Return a template with its placeholders replaced; ``{date:%Y}`` writes a date in another form.

    Raises:
        DataError: a placeholder is not among the fields, or is no date where it is to be written as one.
    """
    texts = []
    for piece in _pieces(key, template):
        if piece.name and piece.name not in fields:
            names = ", ".join(sorted(fields))
            raise DataError(f"key '{key}': nothing gives {{{piece.name}}} of '{template}'; known are {names}")
        texts.append(_written(key, piece, fields[piece.name]) if piece.name else piece.text)
    return "".join(texts)


def _written(key: str, piece: _Piece, value: str) -> str:
    if isinstance(value, Moment) and (piece.spec or key in ("date", "clock")):
        return value.when.strftime(piece.spec or ("%Y-%m-%d" if key == "date" else "%H:%M"))
    if not piece.spec or key == "image":  # of a further file; how to read the name is for the first
        return value
    if "%" not in piece.spec:
        raise DataError(f"key '{key}': {{{piece.name}:{piece.spec}}} says how to read a name, which only 'image' does")
    try:
        return datetime.datetime.fromisoformat(value).strftime(piece.spec)
    except ValueError:
        raise DataError(f"key '{key}': {{{piece.name}:{piece.spec}}} takes a date, not '{value}'") from None


def of_date(date: str) -> dict[str, str]:
    """Return year, month ("01" to "12") and season (its first and last month) of an ISO date."""
    return {"year": date[:4], "month": date[5:7], "season": _SEASONS[int(date[5:7]) % 12 // 3]}


def find(template: str, exclude: list[str], root: Path) -> dict[Path, dict[str, str]]:
    """Find the files below a folder that match a template, and what its placeholders captured.

    Names are compared in one Unicode form, endings in any case; hidden files and those of the system are left out.

    Raises:
        DataError: no file matches, one can be read in two ways, two names in one folder differ only in their Unicode
            form, or a file is one that a link puts elsewhere.
    """
    parts = [_pieces("image", nfc(part)) for part in template.split("/") if part not in ("", ".")]
    parts[-1] = _with_any_ending(parts[-1])
    search = _Search(root, exclude, template)
    search.walk(root, "", parts, [{}])
    search.warn()
    if not search.files:
        but = " and is not excluded" if exclude else ""
        raise DataError(f"key 'image': no file in {root} matches '{template}'{but}")
    return search.files


class _Search:
    """A search: the files that match so far, and those that are left out."""

    def __init__(self, root: Path, exclude: list[str], template: str) -> None:
        self.files: dict[Path, dict[str, str]] = {}
        self._root, self._template = root, template
        self._exclude = [nfc(pattern) for pattern in exclude]
        self._hidden: list[Path] = []
        self._other_endings: list[Path] = []
        self._leaves = lru_cache(maxsize=None)(lambda folder: leads_out(folder, root))

    def walk(self, folder: Path, below: str, parts: list[list[_Piece]], earlier: list[dict[str, str]]) -> None:
        """Look through a folder for names that fit the first part, and through the folders so found for the others.

        Args:
            folder: folder to look through.
            below: path of the folder below the root, in one Unicode form, with a slash at its end.
            parts: pieces of the names of the folders below and of the file.
            earlier: possible readings of the path of the folder.
        """
        pieces, others = parts[0], parts[1:]
        seen: dict[str, str] = {}
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - a Path for each name takes long
            plain = nfc(name)
            readings = [reading for each in earlier for reading in _readings(pieces, plain, each)]
            if not readings:
                if not others and earlier and self._differs_in_ending(pieces, plain):
                    self._other_endings.append(folder / name)
                continue
            path = folder / name
            if is_hidden(plain) and not pieces[0].text.startswith(plain[0]):
                if not others:
                    self._hidden.append(path)
                continue
            if plain in seen:
                raise DataError(
                    f"key 'image': {path} and {seen[plain]!a} are one name in two Unicode forms; rename one of them"
                )
            seen[plain] = name
            if others:
                if path.is_dir():
                    self.walk(path, f"{below}{plain}/", others, readings)
            elif path.is_file() and not self._is_excluded(f"{below}{plain}"):
                self._take(path, readings)

    def _take(self, path: Path, readings: list[dict[str, str]]) -> None:
        if self._leaves(path.parent) or (path.is_symlink() and leads_out(path, self._root)):
            raise DataError(f"key 'image': {path} is a link, or below one, that leads out of {self._root}")
        if len(readings) > 1:
            two = readings[0], readings[-1]
            shown = " and as ".join(", ".join(f"{name} '{text}'" for name, text in each.items()) for each in two)
            raise DataError(
                f"key 'image': {path} can be read by '{self._template}' as {shown}. Say how long a capture is, or of "
                "what, as in {year:%Y}, {tile:3} or {part:[a-z]+}"
            )
        self.files[path] = readings[0]

    def _is_excluded(self, below: str) -> bool:
        stem = below.rpartition("/")[2].rpartition(".")[0] or below.rpartition("/")[2]
        return any(fnmatchcase(name, pattern) for pattern in self._exclude for name in (below, stem))

    def _differs_in_ending(self, pieces: list[_Piece], name: str) -> bool:
        stem, dot, ending = name.rpartition(".")
        group = next((group for group in _ALIKE if f"{dot}{ending}".lower() in group), set())
        return not is_hidden(name) and any(_readings(pieces, stem + other, {}) for other in group)

    def warn(self) -> None:
        """Log how many files were left out, and name one of each kind."""
        for left_out, why in ((self._hidden, "hidden, and left out"), (self._other_endings, "of another ending")):
            if left_out:
                _LOG.warning("%s: %d files are %s, such as %s", self._root, len(left_out), why, left_out[0])


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that a system leaves behind."""
    return name.startswith(".") or name.lower() in _SYSTEM


class Folders:
    """A finder of files whose names on the disk may have another Unicode form, or an ending in capitals."""

    def __init__(self) -> None:
        self._names = lru_cache(maxsize=None)(self._list)

    def real(self, root: Path, below: str) -> Path:
        """Return the path of a file below a root as it is on the disk; as given where there is none.

        Raises:
            DataError: two files differ from the given path in the case of their endings alone.
        """
        parts = below.split("/")
        if {"", ".", ".."} & set(parts):
            return root / below
        path = root
        for number, part in enumerate(parts):
            exact, alike = self._names(path)
            wanted = nfc(part)
            name = exact.get(wanted)
            if name is None and number == len(parts) - 1:
                candidates = alike.get(_any_ending(wanted), [])
                if len(candidates) > 1:
                    raise DataError(f"{path / candidates[0]} and {candidates[1]} differ only in case; which is {part}?")
                name = candidates[0] if candidates else None
            if name is None:
                return root / below
            path = path / name
        return path

    @staticmethod
    def _list(folder: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
        exact: dict[str, str] = {}
        alike: dict[str, list[str]] = {}
        if folder.is_dir():
            for name in sorted(os.listdir(folder)):  # noqa: PTH208 - a Path for each name takes long
                exact.setdefault(nfc(name), name)
                alike.setdefault(_any_ending(nfc(name)), []).append(name)
        return exact, alike


def _any_ending(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return f"{stem}{dot}{ending.lower()}"


@lru_cache(maxsize=256)
def _pieces(key: str, template: str) -> list[_Piece]:
    pieces, text, place = [], "", 0
    while place < len(template):
        name = _NAME.match(template, place + 1) if template[place] == "{" else None
        if not name or template[name.end() : name.end() + 1] not in ("}", ":"):
            text, place = text + template[place], place + 1
            continue
        end = _closing(key, template, place)
        piece = _Piece(name=name[0], spec=template[name.end() + 1 : end])
        _check_spec(key, piece)
        pieces += [_Piece(text=text), piece] if text else [piece]
        text, place = "", end + 1
    return [*pieces, _Piece(text=text)] if text or not pieces else pieces


def _closing(key: str, template: str, start: int) -> int:
    """Return the position where the brace at the start is closed; a pattern may hold pairs of its own."""
    depth = 0
    for place in range(start, len(template)):
        depth += {"{": 1, "}": -1}.get(template[place], 0)
        if not depth:
            return place
    raise DataError(f"key '{key}': a brace of '{template}' is not closed")


def _check_spec(key: str, piece: _Piece) -> None:
    if not piece.spec:
        return
    try:
        re.compile(_pattern(piece.spec))
    except (re.error, KeyError, OverflowError, RecursionError):
        raise DataError(
            f"key '{key}': {{{piece.name}:{piece.spec}}} holds no width (4), form of a date (%Y%m%d) or regular "
            "expression ([a-z]+)"
        ) from None


def _pattern(spec: str) -> str:
    """Return the regular expression of what a placeholder captures."""
    if spec.isdecimal():
        return f".{{{int(spec)}}}"
    if "%" in spec:
        pieces = re.split(r"%(.)", spec)
        return "".join(_DIRECTIVES[text] if number % 2 else re.escape(text) for number, text in enumerate(pieces))
    return spec or ".+"


def _with_any_ending(pieces: list[_Piece]) -> list[_Piece]:
    """Return the same pieces, of which the ending of the file matches in capitals too."""
    last = pieces[-1]
    stem, dot, ending = last.text.rpartition(".")
    if last.name or not dot:
        return pieces
    return [*pieces[:-1], *([_Piece(text=stem)] if stem else []), _Piece(text=f"{dot}{ending}", any_case=True)]


def _readings(pieces: list[_Piece], name: str, fields: dict[str, str]) -> list[dict[str, str]]:
    """Return the ways to read a name, the shortest captures first; few beyond the second."""
    readings: list[dict[str, str]] = []
    for reading in _read(pieces, 0, name, 0, fields):
        if reading not in readings:
            readings.append(reading)
        if len(readings) == _MOST_READINGS:
            break
    return readings


def _read(pieces: list[_Piece], number: int, name: str, start: int, fields: dict[str, str]) -> Iterator[dict[str, str]]:
    if number == len(pieces):
        if start == len(name):
            yield fields
        return
    piece = pieces[number]
    text = fields.get(piece.name, "") if piece.name else piece.text
    if text or not piece.name:
        written = name[start : start + len(text)]
        if written == text or (piece.any_case and written.lower() == text.lower()):
            yield from _read(pieces, number + 1, name, start + len(text), fields)
        return
    for end in _ends(pieces, number, name, start):
        captured = name[start:end]
        if piece.spec and not re.fullmatch(_pattern(piece.spec), captured):
            continue
        value = _moment(piece, captured, name) if "%" in piece.spec else captured
        yield from _read(pieces, number + 1, name, end, {**fields, piece.name: value})


def _ends(pieces: list[_Piece], number: int, name: str, start: int) -> Iterator[int]:
    """Yield the positions where a capture may end: before what follows it, at least one letter long."""
    if pieces[number].spec.isdecimal():
        end = start + int(pieces[number].spec)
        yield from [end] if end <= len(name) else []
    elif number == len(pieces) - 1:
        yield from [len(name)] if start < len(name) else []
    else:
        following = pieces[number + 1]
        text = following.text[:1] if not following.any_case else ""
        for end in range(start + 1, len(name) + 1):
            if not text or name[end : end + 1] == text:
                yield end


def _moment(piece: _Piece, text: str, name: str) -> Moment:
    try:
        return Moment(text, piece.spec)
    except ValueError:
        raise DataError(f"key 'image': '{text}' of {name} is no time of the form {piece.spec}") from None
