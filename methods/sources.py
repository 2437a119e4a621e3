"""The source files of a method: which version of them ran, and which line of them an error came through."""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from methods.parts.typed_sources import file_of as _file_of
from methods.parts.typed_sources import typed_sources

if TYPE_CHECKING:
    from methods.base import Method

PACKAGE = "methods"
OURS = {"methods", "benchmark", "protocols"}
INSTALLED = {"site-packages", "dist-packages"}


def blamed(error: BaseException, method: "type[Method] | None" = None) -> str:
    """Return an error in one line, with the deepest line of the method's own files that it came through, or of any."""
    files = {_file_of(base) for base in _bases(method)[:-1]} if method else set()  # not of `Method` itself
    every = list(traceback.extract_tb(error.__traceback__))
    frames = [frame for frame in every if frame.filename in files] or every
    # An error of syntax names its line itself, and its frames are those of the import.
    known = frames and not frames[-1].filename.startswith("<")
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if known else ""
    return f"{type(error).__name__}: {error}{place}".replace("\n", " ")


def code_digest(method: "type[Method]") -> str:
    """Return the digest of the source a method is made of.

    That is its module, those of its base classes, and the modules of this package that they import.

    Of a method from elsewhere also the modules they import that are in its package, or beside its file. Of a class of a
    notebook or script that runs, its own source and that of the functions, classes and plain values there that it uses.

    Two runs with the same digest trained by the same method code.
    """
    return _digest_of(tuple(_bases(method)))


@cache  # the code that is imported does not change, and a comparison has thousands of runs
def _digest_of(bases: "tuple[type[Method], ...]") -> str:
    typed = [base for base in bases if base.__module__ == "__main__"]
    modules = [base.__module__ for base in bases if base not in typed]
    sources, used = typed_sources(typed)
    return _digest([*modules, *used], _root(bases[len(typed)]), sources)


def file_digest(name: str) -> str | None:
    """Return what `code_digest` gives for a method that comes with landshift, from its files, without importing it.

    Args:
        name: the method's, for example ``some-idea``.

    Returns:
        None where no file of this package has this name.
    """
    module = f"{PACKAGE}.{name.replace('-', '_')}"
    return None if "." in name or _file(module) is None else _digest([module], None)


def is_imported(name: str) -> bool:
    """Return whether `methods.registry.find` would run no code that has not run yet.

    So it is for a name, and for a class of a module that is imported already.

    Labels from a file or a store, not from the command line, are checked first: an import runs the code of its author.
    """
    return ":" not in name or name.partition(":")[0] in sys.modules


def _digest(modules: list[str], root: Path | None, known: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the digest of the sources of modules, of the parts that they import, and of sources that are known."""
    sources = dict(known)
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in sources and (found := _source(name)) is not None:
            sources[name], package = found
            waiting += [part for part in _imported(package, sources[name]) if _is_part(part, root)]
    return hashlib.sha256("\0".join(sources[name] for name in sorted(sources)).encode()).hexdigest()[:12]


def _bases(method: "type[Method]") -> "list[type[Method]]":
    from methods.base import Method  # imports torch, which who only compares digests can do without

    return [base for base in method.__mro__ if issubclass(base, Method)]


@cache  # the parts are the same ones for most methods
def _imported(package: str, source: str) -> frozenset[str]:
    """Return the names of the modules that the source of a module of a package imports, and of what might be one."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return frozenset(names)


def _root(method: "type[Method]") -> Path | None:
    """Return the folder with a method's own code, its package's or its file's; None for what comes with landshift."""
    top = method.__module__.partition(".")[0]
    place = _place(top)
    return None if top in OURS or place is None else place if place.is_dir() else place.parent


def _is_part(name: str, root: Path | None) -> bool:
    """Return whether a module belongs to a method's code: one of this package, or one that is where the method is."""
    top = name.partition(".")[0]
    if root is None or top in OURS:
        return name.startswith(f"{PACKAGE}.")
    place = _place(top)
    if place is None or not place.is_relative_to(root):
        return False
    # A folder with a method may also hold an environment, and a single file may be installed among all the others.
    return place == root or INSTALLED.isdisjoint((root.name, *place.relative_to(root).parts))


def _place(top: str) -> Path | None:
    """Return the folder of a package, or the file of a module."""
    spec = importlib.util.find_spec(top)
    if spec is None or not (spec.has_location or spec.submodule_search_locations):
        return None
    return Path(next(iter(spec.submodule_search_locations or [spec.origin or ""])))


def _source(name: str) -> tuple[str, str] | None:
    """Return the source of a module, and its package; None for the name of something inside a module."""
    if name.partition(".")[0] == PACKAGE:
        file = _file(name)
        return None if file is None else (file.read_text(encoding="utf-8"), name.rpartition(".")[0])
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError:
        return None
    return inspect.getsource(module), name if hasattr(module, "__path__") else name.rpartition(".")[0]


def _file(name: str) -> Path | None:
    """Return the file of a module of this package; None if there is none."""
    file = Path(__file__).parent.joinpath(*name.split(".")[1:]).with_suffix(".py")
    return file if file.is_file() else None
