"""The names of methods, from the files of this package and the entry points, without importing any of them."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from methods.parts.errors import MethodError

ENTRY_POINTS = "landshift.methods"
OTHERS = {"__init__", "base", "names", "registry", "sources"}  # files of this package that are no methods


@cache
def known_names() -> tuple[str, ...]:
    """Return the names that a method may be called by; a file with a mistake in it is among them."""
    files = {path.stem.replace("_", "-") for path in Path(__file__).parent.glob("*.py") if path.stem not in OTHERS}
    return tuple(sorted(files | {point.name for point in entry_points(group=ENTRY_POINTS)}))


def check_name(label: str) -> None:
    """Check that a label begins with the name of a method, as far as that is known without an import.

    Raises:
        MethodError: there is none of this name; the message lists those that there are.
    """
    name = label.partition("[")[0]
    if ":" not in name and name not in known_names():
        raise MethodError(f"there is no method {name!r}; {hint(name, known_names())}")


def hint(name: str, names: Iterable[str]) -> str:
    """Return what may have been meant by a name, and what there is."""
    if "," in name:
        return "each method has a --method of its own"
    names = sorted(names)
    if classes := _in_file(name):
        return f"did you mean {' or '.join(classes)}?"
    close = get_close_matches(name, names, n=1)
    meant = f"did you mean {close[0]}? There" if close else "there"
    return f"{meant} are {', '.join(names)}, or give package.module:Class"


def _in_file(name: str) -> list[str]:
    """Return the addresses of the classes in a file of the working folder, if a name is that of one."""
    file = Path(name if name.endswith(".py") else f"{name}.py")
    if file.is_absolute() or not file.is_file():
        return []
    module = ".".join(file.with_suffix("").parts)
    classes = re.findall(r"^class (\w+)\(.*Method", file.read_text("utf-8", "replace"), re.MULTILINE)
    return [f"{module}:{each}" for each in classes]
