"""Types of command line options; an error is one line."""

import argparse
from pathlib import Path


def seeds(text: str) -> tuple[int, ...]:
    """Whole numbers of 0 or more, with commas between, each once."""
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"seeds are whole numbers with commas between, as 0,1,2, not {text!r}"
        ) from error
    if min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"seeds are 0 or more, not {min(seeds)}")
    return seeds


def folder(text: str) -> Path:
    """A folder, which may still have to be made."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file, not a folder")
    return path


def truth(text: str) -> bool:
    """``true`` or ``false``."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"true or false is allowed, not {text!r}")
    return text.lower() == "true"


def names(text: str) -> tuple[str, ...]:
    """Words with commas between."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def seconds(text: str) -> float:
    """A number of seconds, not so small that nothing but looking is done."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"a number of seconds, at least 0.1, is allowed, not {text!r}")
    return seconds


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is allowed, not {text!r}")
    return int(text)
