"""Standard output and error that never fail: of any encoding, where they were closed, on a full disk or a cut pipe."""

import codecs
import errno
import io
import os
import sys
from typing import Any

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
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="landshift")
            plain = getattr(stream.buffer, "raw", stream.buffer)  # of python -u there is no buffer
            if isinstance(plain, io.FileIO):  # not the console of Windows
                raw = _Lenient(stream.fileno(), "w", closefd=False)
                layer: Any = raw if plain is stream.buffer else io.BufferedWriter(raw)
                line, through = stream.line_buffering, stream.write_through
                safe = io.TextIOWrapper(layer, stream.encoding, "landshift", line_buffering=line, write_through=through)
                setattr(sys, name, safe)


class _Lenient(io.FileIO):
    """A file that takes whatever is written; from the first fault on it goes nowhere."""

    def write(self, content: Any, /) -> int:
        """Write bytes, if it is possible."""
        try:
            return super().write(content)
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            if error.errno != errno.EPIPE and self.fileno() == 1:  # a cut pipe is meant, as that of `head`
                print(f"landshift: standard output cannot be written: {error.strerror}", file=sys.stderr)
            return len(content)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Return the replacement of letters that an encoding lacks; a handler of `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in lost), error.end
