"""Names of images: the template that reads them, and which of what it captures is a place, a time or a number."""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from glob import escape
from pathlib import Path

from benchmark.common.errors import DataError
from benchmark.data.fields import TIME_WORDS
from benchmark.data.templates import find, nfc

_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
_GENERIC = {"tile", "part", "patch", "image", "img", "id", "no", "nr", "cell", "scene", "chip", "crop"}
_GENERIC |= {"rgb", "rgbn", "irrg", "sat", "satellite", "ortho", "orthophoto", "aerial", "photo", "mosaic"}
_DATES = {"N": ("%Y%m%d", "%d%m%Y", "%Y%j", "%Y%m"), "M": ("%Y%m%dT%H%M%S", "%Y%m%dT%H%M", "%Y%b%d", "%d%b%Y")}
_FIRST_YEAR, _LAST_YEAR = 1950, 2049
_MOST_READ = 0.9  # of the images, at least, that a template must read
_MOST_PLACES = 60  # where each is the name of one file


@dataclass(frozen=True)
class _Slot:
    """A piece of a name: text that all have, or values that become a capture.

    Attributes:
        kind: "" for text; else ``N`` digits, ``A`` letters, ``M`` both, ``Y`` a year, ``D`` a date, ``W`` anything.
        values: text of each name.
        level: number of the folder, or of the file's name.
        spec: what the capture may hold.
        name: name of the capture.
    """

    kind: str
    values: tuple[str, ...]
    level: int = 0
    spec: str = ""
    name: str = ""

    @property
    def unlike(self) -> int:
        """Number of different values."""
        return len(set(self.values))


@dataclass(frozen=True)
class Names:
    """Meaning of the images' names.

    Attributes:
        template: template of the images.
        exclude: patterns of files that fit the template and are no images.
        place, time, zone: templates; "" where nothing can be guessed.
        remarks: what a person should look at.
    """

    template: str
    exclude: list[str]
    place: str
    time: str
    zone: str
    remarks: list[str] = field(default_factory=list)


def image_names(root: Path, images: Sequence[str]) -> tuple[Names, dict[str, dict[str, str]]]:
    """Guess the template of images from their paths below a folder, and what its captures mean.

    Returns:
        the names, and what is captured of each image.

    Raises:
        DataError: no template reads these names in one way.
    """
    paths = [nfc(name).rpartition(".")[0].split("/") for name in images]
    ending = max(endings := [name.rpartition(".")[2] for name in images], key=endings.count)
    levels = [list(level) for level in zip(*paths, strict=True)]
    slots = [
        slot for number, names in enumerate(levels) for slot in _of_level(names, number, number == len(levels) - 1)
    ]
    slots = _named(slots, len(images))
    for tight in (_plain, _narrow, _whole):
        read = tight(slots)
        template = _template(read, ending)
        by_path = {root / name: name for name in images}
        try:
            found = find(template, [], root)
            exclude = _exclude([path.stem for path in found if path not in by_path])
            found = find(template, exclude, root)
        except DataError:
            continue
        captures = {by_path[path]: fields for path, fields in found.items() if path in by_path}
        if len(captures) >= _MOST_READ * len(images):
            return _meaning(read, template, exclude), captures
    raise DataError(f"{root}: no template was found for the images, such as {images[0]}; write a description by hand")


def _exclude(stems: list[str]) -> list[str]:
    """Return patterns of files that are no images, by the word that their names begin or end with."""
    words = {nfc(stem): re.findall(r"[\W_]?[^\W_]+", nfc(stem)) for stem in stems}
    return sorted({f"*{escape(parts[-1])}" if len(parts) > 1 else escape(stem) for stem, parts in words.items()})


def _of_level(names: list[str], level: int, is_file: bool) -> list[_Slot]:
    """Return the slots of the names of the folders of one level, or of the files."""
    if len(set(names)) == 1 and not is_file:
        return [_Slot("", tuple(names), level)]
    slots = [replace(slot, level=level) for slot in _aligned(names)]
    varying = [slot for slot in slots if slot.kind]
    if not is_file and len(varying) == 1 and varying[0].kind in "NAM":
        return [_Slot("W", tuple(names), level)]  # "Tile 1" says more than "1"
    return slots


def _aligned(names: list[str]) -> list[_Slot]:
    """Return the slots of names that are built alike; one for all where they are not."""
    parsed = [_parsed(name) for name in names]
    if len({tuple(kind if kind else text for kind, text in pieces) for pieces in parsed}) > 1:
        around = [re.fullmatch(r"(.*?)(?<!\d)((?:19|20)\d\d)(?!\d)(.*)", name) for name in names]
        groups = [match.groups() for match in around if match]
        if len(groups) < len(names) or any(not before and not after for before, _, after in groups):
            return [_Slot("W", tuple(names))]
        pieces = [("W", tuple(column)) for column in zip(*groups, strict=True)]
        slots = [_Slot(kind, values) for kind, values in pieces if any(values)]
        if any("" in slot.values for slot in slots):
            return [_Slot("W", tuple(names))]
        return [part for slot in slots for part in (_dated(slot) if slot.values == pieces[1][1] else _edges(slot))]
    columns = [[pieces[number] for pieces in parsed] for number in range(len(parsed[0]))]
    slots = [_Slot(column[0][0], tuple(text for _, text in column)) for column in columns]
    return [part for slot in _joined_dates(slots) for part in _refined(slot)]


def _edges(slot: _Slot) -> list[_Slot]:
    """Return a slot without the separators that all its values begin or end with."""
    before = re.match(r"[\W_]*", slot.values[0])[0]  # type: ignore[index]
    after = re.search(r"[\W_]*$", slot.values[0])[0]  # type: ignore[index]
    if not all(len(v) > len(before + after) and v.startswith(before) and v.endswith(after) for v in slot.values):
        return [slot]
    inner = tuple(value[len(before) : len(value) - len(after)] for value in slot.values)
    middle = _Slot("W" if len(set(inner)) > 1 else "", inner)
    return [part for part in (_literal(before, slot), middle, _literal(after, slot)) if part.values[0]]


def _literal(text: str, like: _Slot) -> _Slot:
    return _Slot("", (text,) * len(like.values), like.level)


def _parsed(name: str) -> list[tuple[str, str]]:
    """Return words (``A``, several in a row as one), numbers (``N``), mixtures (``M``) and separators (``""``)."""
    pieces: list[tuple[str, str]] = []
    for text in re.findall(r"[^\W_]+|[\W_]+", name):
        kind = "" if re.match(r"[\W_]", text) else "N" if text.isdecimal() else "A" if text.isalpha() else "M"
        if kind == "A" and len(pieces) > 1 and pieces[-2][0] == "A":
            text = pieces[-2][1] + pieces[-1][1] + text
            pieces = pieces[:-2]
        pieces.append((kind, text))
    return pieces


def _joined_dates(slots: list[_Slot]) -> list[_Slot]:
    """Return the slots with year, month and day between equal separators as one."""
    for start in range(len(slots) - 4):
        five = slots[start : start + 5]
        if [slot.kind for slot in five] == ["N", "", "N", "", "N"] and five[1].values == five[3].values:
            whole = tuple(map("".join, zip(*(slot.values for slot in five), strict=True)))
            separator = five[1].values[0].replace("%", "%%")
            for form in (separator.join(("%Y", "%m", "%d")), separator.join(("%d", "%m", "%Y"))):
                if _are(whole, form):
                    return [*slots[:start], _Slot("D", whole, spec=form), *slots[start + 5 :]]
    return slots


def _are(values: Sequence[str], form: str) -> bool:
    """Return whether all texts are dates of a form with all its digits, in the years of aerial and satellite images."""
    try:
        for value in set(values):
            when = datetime.datetime.strptime(value, form)
            if not _FIRST_YEAR <= when.year <= _LAST_YEAR or when.strftime(form).lower() != value.lower():
                return False
    except ValueError:
        return False
    return True


def _dated(slot: _Slot) -> list[_Slot]:
    """Return a slot of four digits as years, if they can be some."""
    if slot.unlike > 1 and _are(slot.values, "%Y"):
        return [replace(slot, kind="Y", spec="4")]
    return [replace(slot, kind="" if slot.unlike == 1 else slot.kind)]


def _refined(slot: _Slot) -> list[_Slot]:
    """Return a slot as a date or year, or without the letters that all its values share."""
    if slot.kind in _DATES:
        form = next((form for form in _DATES[slot.kind] if _are(slot.values, form)), "")
        if form and (slot.unlike > 1 or form != "%Y%m"):
            return [replace(slot, kind="D", spec=form)]
    if slot.kind in ("", "D") or slot.unlike == 1:
        return [replace(slot, kind=slot.kind if slot.kind == "D" else "")]
    if slot.kind == "N":
        return _dated(slot)
    if slot.kind == "M":
        first = re.match(r"[^\W\d_]*", slot.values[0])[0]  # type: ignore[index]
        rest = tuple(value[len(first) :] for value in slot.values)
        if first and all(v.startswith(first) for v in slot.values) and all(map(str.isdecimal, rest)):
            return [_literal(first, slot), *_refined(_Slot("N", rest, slot.level))]
        return [slot]
    words = [re.split(r"([\W_]+)", value) for value in slot.values]
    before = after = 0
    while min(map(len, words)) > before + 2 and len({w[before] for w in words}) == 1 and _generic(words[0][before]):
        before += 2
    while (
        min(map(len, words)) > before + after + 2
        and len({w[-1 - after] for w in words}) == 1
        and _generic(words[0][-1 - after])
    ):
        after += 2
    inner = tuple("".join(w[before : len(w) - after]) for w in words)
    head, tail = "".join(words[0][:before]), "".join(words[0][len(words[0]) - after :])
    pieces = [_literal(head, slot), replace(slot, values=inner), _literal(tail, slot)]
    return [piece for piece in pieces if piece.values[0]]


def _generic(word: str) -> bool:
    return word.lower() in _GENERIC


def _named(slots: list[_Slot], files: int) -> list[_Slot]:
    """Return the slots with the names of their captures; dates beyond the first are plain numbers."""
    place = _place(slots, files)
    names: list[str] = []
    named = []
    for number, slot in enumerate(slots):
        name = ""
        if slot.kind:
            before = slots[number - 1].values[0].lower() if number and not slots[number - 1].kind else ""
            values = {value.lower() for value in slot.values}
            name = (
                "place" if number == place
                else {"D": "date", "Y": "year"}.get(slot.kind)
                or ("split" if values <= _SPLITS else "period" if values <= TIME_WORDS else "")
                or ("row" if re.search(r"(^|[\W_])(r|row|y)[\W_]?$", before) else "")
                or ("column" if re.search(r"(^|[\W_])(c|col|column|x)[\W_]?$", before) else "")
                or ("n" if slot.kind == "N" else "part")
            )  # fmt: skip
            if name in names and slot.kind in "DY":
                slot, name = replace(slot, kind="N" if slot.kind == "Y" else "M", spec=""), "n"
            tries = (name, *(f"{name}{count}" for count in range(2, 99)))
            name = next(each for each in tries if each not in names)
            names.append(name)
        named.append(replace(slot, name=name))
    return named


def _place(slots: list[_Slot], files: int) -> int | None:
    """Return the number of the slot that is the place: what varies in folders, else words in the files' names."""
    last = max(slot.level for slot in slots)

    def fits(slot: _Slot) -> bool:
        values = {value.lower() for value in slot.values}
        return slot.kind not in ("", "D", "Y") and slot.unlike > 1 and not values <= _SPLITS | TIME_WORDS

    for number, slot in enumerate(slots):
        if slot.level < last and fits(slot):
            return number
    for kinds in ("A", "MW"):
        for number, slot in enumerate(slots):
            few = slot.unlike <= files / 2 or (slot.kind == "A" and files <= _MOST_PLACES)
            if slot.level == last and slot.kind in kinds.split() + list(kinds) and fits(slot) and few:
                return number
    return None


def _plain(slots: list[_Slot]) -> list[_Slot]:
    """Give a pattern to captures that hold separators themselves, or that nothing parts from the next one."""
    read = []
    for number, slot in enumerate(slots):
        beside = number + 1 < len(slots) and bool(slots[number + 1].kind) and slots[number + 1].level == slot.level
        separated = any(re.search(r"[\W_]", value) for value in slot.values) and slot.kind == "A"
        read.append(replace(slot, spec=slot.spec or (_pattern(slot) if separated or beside else "")))
    return read


def _narrow(slots: list[_Slot]) -> list[_Slot]:
    """Give every capture a pattern."""
    return [replace(slot, spec="%Y" if slot.kind == "Y" else slot.spec or _pattern(slot)) for slot in slots]


def _whole(slots: list[_Slot]) -> list[_Slot]:
    """Return one capture for each level whose names vary, which can be read in one way only."""
    levels: dict[int, list[_Slot]] = {}
    for slot in slots:
        levels.setdefault(slot.level, []).append(slot)
    read = []
    for level, parts in levels.items():
        values = tuple(map("".join, zip(*(part.values for part in parts), strict=True)))
        whole = len(parts) == 1 or not any(part.kind for part in parts)
        name = "place" if any(part.name == "place" for part in parts) and level < max(levels) else f"part{level or ''}"
        read += parts if whole else [_Slot("W", values, level, name=name)]
    return read


def _pattern(slot: _Slot) -> str:
    """Return the regular expression of the kinds of letters that a slot's values hold."""
    if not slot.kind:
        return ""
    letters = "".join(sorted({letter for value in slot.values for letter in value}))
    kinds = [("a-z", r"[a-z]"), ("A-Z", r"[A-Z]"), ("0-9", r"\d")]
    shown = "".join(text for text, kind in kinds if re.search(kind, letters, re.ASCII))
    others = re.sub(r"[a-zA-Z0-9]", "", letters)
    if any(letter not in "_ .,+-" for letter in others):
        return "[^0-9]+" if slot.kind == "A" else ""
    return f"[{shown}{others.replace('-', '')}{'-' * ('-' in others)}]+"


def _template(slots: list[_Slot], ending: str) -> str:
    text, level = "", 0
    for slot in slots:
        text, level = text + "/" * (slot.level - level), slot.level
        spec = f":{slot.spec}" if slot.spec else ""
        text += f"{{{slot.name}{spec}}}" if slot.kind else slot.values[0]
    return f"{text}.{ending}"


def _meaning(slots: list[_Slot], template: str, exclude: list[str]) -> Names:
    """Return which captures are place and time, and the zone: all of a place but its times."""
    captured = {slot.name: slot for slot in slots if slot.kind}
    remarks = []
    date, year = captured.get("date"), captured.get("year")
    time = "{period}" if "period" in captured else ""
    timed = {"date", "year", "period"}
    if date:
        years = {datetime.datetime.strptime(value, date.spec).year for value in date.values}
        full = any(f"%{letter}" in date.spec for letter in "djb")
        time = "{year}" if full else "{date}"
        if full and len(years) == 1 and date.unlike > 1:
            remarks.append('all dates are of one year: hold out "month" or "season", not "time"')
    elif year:
        time = "{year}" + ("_{period}" if time else "")
    rest = [slot for slot in slots if slot.kind and slot.name not in timed and slot.name not in ("place", "split")]
    order = [slot.name for slot in slots if slot.kind]
    if year and not date and len(rest) > 1 and order.index("year") + 1 < len(order):
        after = captured[order[order.index("year") + 1]]
        if after in rest and after.kind == "N" and {len(value) for value in after.values} == {2}:
            remarks.append(
                f"{{{after.name}}} follows the year: taken for the number of the image in the year, not for a ground"
            )
            rest.remove(after)
    zone = ""
    if time:
        zone = "_".join(f"{{{name}}}" for name in ["place"] * ("place" in captured) + [slot.name for slot in rest])
    return Names(template, exclude, "{place}" if "place" in captured else "", time, zone, remarks)
