"""The source files of a method: which version of them ran, and which line of them an error came through."""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType

from methods.base import Method

OURS = {"methods", "benchmark", "protocols"}
INSTALLED = {"site-packages", "dist-packages"}


def blamed(error: BaseException, method: type[Method] | None = None) -> str:
    """An error in one line, with the deepest line of the method's own files that it came through, or of any."""
    files = {inspect.getfile(base) for base in _bases(method) if base is not Method} if method else set()
    every = list(traceback.extract_tb(error.__traceback__))
    frames = [frame for frame in every if frame.filename in files] or every
    # An error of syntax names its line itself, and its frames are those of the import.
    known = frames and not frames[-1].filename.startswith("<")
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if known else ""
    return f"{type(error).__name__}: {error}{place}".replace("\n", " ")


def code_digest(method: type[Method]) -> str:
    """Digest of the source a method is made of: its module, those of its base classes, and the parts they import.

    Of a method from elsewhere also the modules they import that lie in its package, or beside its file.

    Two runs with the same digest trained by the same method code.
    """
    sources: dict[str, str] = {}
    waiting = [base.__module__ for base in _bases(method)]
    root = _root(method)
    while waiting:
        name = waiting.pop()
        if name not in sources and (module := _module(name)) is not None:
            sources[name] = inspect.getsource(module)
            package = name if hasattr(module, "__path__") else name.rpartition(".")[0]
            waiting += [found for found in _imported(package, sources[name]) if _is_part(found, root)]
    return hashlib.sha256("\0".join(sources[name] for name in sorted(sources)).encode()).hexdigest()[:12]


def _bases(method: type[Method]) -> list[type[Method]]:
    return [base for base in method.__mro__ if issubclass(base, Method)]


@cache  # the parts are the same ones for most methods
def _imported(package: str, source: str) -> frozenset[str]:
    """Names of the modules that the source of a module of a package imports, and of what might be one."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return frozenset(found)


def _root(method: type[Method]) -> Path | None:
    """The folder that holds a method's own code, its package's or its file's; None for what comes with landshift."""
    top = method.__module__.partition(".")[0]
    place = _place(top)
    return None if top in OURS or place is None else place if place.is_dir() else place.parent


def _is_part(name: str, root: Path | None) -> bool:
    """Whether a module belongs to a method's code: a shared part, or one that lies where the method does."""
    top = name.partition(".")[0]
    if root is None or top in OURS:
        return name.startswith("methods.parts.")
    place = _place(top)
    if place is None or not place.is_relative_to(root):
        return False
    # A folder with a method may also hold an environment, and a single file may be installed among all the others.
    return place == root or INSTALLED.isdisjoint((root.name, *place.relative_to(root).parts))


def _place(top: str) -> Path | None:
    """The folder of a package, or the file of a module."""
    spec = importlib.util.find_spec(top)
    if spec is None or not (spec.has_location or spec.submodule_search_locations):
        return None
    return Path(next(iter(spec.submodule_search_locations or [spec.origin or ""])))


def _module(name: str) -> ModuleType | None:
    """The module of this name; None if the name is that of something inside a module."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None
