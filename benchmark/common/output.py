"""Standard output and error that never fail: of any encoding, and also where they were closed."""

import codecs
import os
import sys

# fmt: off
_PLAIN = {
    "–": "-", "—": "-", "…": "...", "×": "x", "±": "+-", "°": " deg", "→": "->", "≥": ">=", "≤": "<=", "²": "2",
}
# fmt: on


def make_output_safe() -> None:
    """Write what the terminal's encoding lacks as plain letters, and open what was closed on nothing.

    A closed descriptor would be given to the next file that is opened, perhaps a database, and what some other program
    prints would go into it.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(null)
    codecs.register_error("landshift", _plainly)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - for the whole process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="landshift")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Return the replacement of letters that an encoding lacks; a handler of `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in lost), error.end
