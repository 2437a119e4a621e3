"""Texts that come from data: what no name may hold, and how the others are shown in a terminal and in Markdown."""

import logging
import math
import re
import traceback
from collections.abc import Iterable, Sequence

from benchmark.common.errors import LandshiftError, Stopped

# Control characters (a terminal obeys them), separators of lines, half characters that no file can hold, and those
# that turn the direction of what follows.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST = 1000  # characters of a name; the path of an image may be one
ERROR_LENGTH = 500


def unfit(texts: Iterable[str], longest: int = LONGEST) -> str:
    """Return the first of some names that cannot be used as one, and why; "" if all can.

    Control characters and line breaks are refused where names are read, so that none is in a path, a table or a
    terminal later.
    """
    for text in texts:
        if control := _UNFIT.search(text):
            return f"{shown(text[:80])!r} holds the character {ord(control[0]):#04x}; names hold no control characters"
        if len(text) > longest:
            return f"{text[:40]!r}... has {len(text)} characters; at most {longest} are possible"
    return ""


def shown(text: str) -> str:
    """Return a text as a terminal may have it, in one line: control characters are written out, not obeyed."""
    text = re.sub(r"[\t\r\n]+", " ", text)
    return _UNFIT.sub(lambda match: ascii(match[0])[1:-1], text)


def without_passwords(text: str) -> str:
    """Return a text with the passwords of its URLs replaced by ``***``."""
    return re.sub(r"(password=)[^&\s]+", r"\1***", re.sub(r"(://[^/:@\s]*):\S*@", r"\1:***@", text))


def markdown(text: str) -> str:
    """Return a text as one cell of a Markdown table, or as one line: no new column, no raw HTML, no link or picture."""
    text = shown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "&#96;")
    text = text.replace("\\", "\\\\").replace("|", "\\|")
    return text.replace("](", "]\\(").replace("][", "]\\[")


def markdown_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(map(markdown, cells))} |"


def markdown_table(header: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table whose first column holds names, and whose others hold numbers."""
    alignment = f"|---{'|--:' * (len(header) - 1)}|"
    return "\n".join([markdown_row(header), alignment, *map(markdown_row, rows)])


def percent(value: float, sign: bool = False) -> str:
    """Return a share in percent with one digit; a dash for what is not finite."""
    return "–" if not math.isfinite(value) else f"{100 * value:{'+' if sign else ''}.1f}"


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line of at most 500 characters; with its class, unless it is our own."""
    kind = "" if isinstance(error, LandshiftError | Stopped) else f"{type(error).__name__}: "
    text = " ".join(f"{kind}{error}".split()).removesuffix(":")
    return text if len(text) <= ERROR_LENGTH else f"{text[: ERROR_LENGTH - 1]}…"


def trace(error: BaseException) -> str:
    """Return the traceback of an error as text."""
    return "".join(traceback.format_exception(error))


class OneLine(logging.Formatter):
    """Formatter of messages that name what is in data: one line each."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the formatted message in one line."""
        return shown(super().format(record))
