"""Single fields of a catalog: dates, times and coordinates as people write them."""

import datetime
import re
from pathlib import Path

from benchmark.common.errors import DataError
from benchmark.data.tables import number

# A time without a number in it must be made of these words.
# fmt: off
TIME_WORDS = {
    "spring", "summer", "autumn", "fall", "winter", "dry", "wet", "rainy", "monsoon", "season", "growing", "leaf",
    "on", "off", "leafon", "leafoff", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov",
    "dec", "january", "february", "march", "april", "june", "july", "august", "september", "october", "november",
    "december", "before", "after", "pre", "post", "early", "mid", "late", "old", "new", "past", "present", "day",
    "night", "morning", "noon", "evening", "am", "pm", "event", "fire", "flood", "disaster", "harvest",
}
# fmt: on


def read_date(text: str, path: Path) -> str:
    """Return an ISO date; "" for an empty text.

    Raises:
        DataError: the text is none.
    """
    try:
        return datetime.datetime.fromisoformat(text).date().isoformat() if text else ""
    except ValueError:
        raise DataError(f"key 'date': '{text}' of {path} is no date like 2021-07-09") from None


def read_time(text: str, template: str, path: Path) -> str:
    """Return the time as it is, if it can be one: it holds a number, or words for a part of the year or of the day.

    Args:
        text: text of the time.
        template: template that gave it; where it is ``{year}``, only a year will do.
        path: file that the message names.

    Raises:
        DataError: it can be none.
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    year = template == "{year}" and text and not re.fullmatch(r"[12]\d{3}", text)
    if year or (text and not any(map(str.isdecimal, text)) and not (words and TIME_WORDS.issuperset(words))):
        raise DataError(
            f"key 'time': '{text}' of {path} is no {'year' if year else 'time'}; a time holds a number (2016, 2018_01) "
            "or names a part of the year or day (summer, may). Correct 'image', perhaps as in {year:%Y}"
        )
    return text


def read_clock(text: str, path: Path) -> str:
    """Return a time of day like 09:05; "" for an empty text.

    Raises:
        DataError: the text is none.
    """
    try:
        return datetime.time.fromisoformat(text).strftime("%H:%M") if text else ""
    except ValueError:
        raise DataError(f"key 'clock': '{text}' of {path} is no time like 09:05") from None


def read_coordinate(key: str, text: str, path: Path, decimal_comma: bool) -> float:
    """Return a number; NaN for an empty text.

    Raises:
        DataError: the text is none, or infinite.
    """
    try:
        return number(text, decimal_comma=decimal_comma)
    except ValueError:
        raise DataError(f"key '{key}': '{text}' of {path} is no number") from None
