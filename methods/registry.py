"""Finding methods: files of this package, entry points of others, or ``package.module:Class``."""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import methods
from methods.base import Method, MethodError

ENTRY_POINTS = "landshift.methods"
OURS = {"methods", "benchmark", "protocols"}
INSTALLED = {"site-packages", "dist-packages"}


def available() -> dict[str, type[Method]]:
    """All methods found by themselves, by name: ``methods/some_idea.py`` is ``some-idea``.

    What is `broken` is left out: a file or a package with a mistake in it takes no other along.
    """
    return dict(sorted(_scan()[0].items()))


def broken() -> dict[str, str]:
    """Why a file of this package, or an entry point, gives no method; by the name it would have."""
    return dict(_scan()[1])


def find(name: str) -> type[Method]:
    """The method of this name, or the class that ``package.module:Class`` names.

    Raises:
        MethodError: if there is none; the message lists the names there are.
    """
    if ":" in name:
        module_name, _, class_name = name.partition(":")
        try:
            return _checked(getattr(importlib.import_module(module_name), class_name), name)
        except MethodError:
            raise
        except Exception as error:  # whatever the code of the module raises is its own mistake
            raise MethodError(f"cannot import the method {name!r}: {blamed(error)}") from error
    found, wrong = available(), broken()
    if name in wrong:
        raise MethodError(f"the method {name!r} cannot be used: {wrong[name]}")
    if name not in found:
        raise MethodError(f"there is no method {name!r}; {_hint(name, found)}")
    return found[name]


def name_of(method: type[Method]) -> str | None:
    """The name under which a class is `available`, if it is."""
    return next((name for name, known in _scan()[0].items() if known is method), None)


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
            waiting += [found for found in _imported(module, sources[name]) if _is_part(found, root)]
    return hashlib.sha256("\0".join(sources[name] for name in sorted(sources)).encode()).hexdigest()[:12]


@cache
def _scan() -> tuple[dict[str, type[Method]], dict[str, str]]:
    found: dict[str, type[Method]] = {}
    wrong: dict[str, str] = {}
    for info in pkgutil.iter_modules(methods.__path__):
        name = info.name.replace("_", "-")
        try:
            method = _method_of(importlib.import_module(f"methods.{info.name}"))
        except Exception as error:  # whatever the code of the file raises is its own mistake
            wrong[name] = blamed(error)
        else:
            found |= {name: method} if method else {}
    for point in entry_points(group=ENTRY_POINTS):
        origin = f"of the package {point.dist.name if point.dist else point.value}"
        if point.name in found:
            wrong[f"{point.name} {origin}"] = "there is a method of this name already"
            continue
        try:
            found[point.name] = _checked(point.load(), point.value)
        except Exception as error:
            wrong[point.name] = f"{origin}: {blamed(error)}"
    return found, wrong


def _hint(name: str, known: Iterable[str]) -> str:
    """What may have been meant, and what there is."""
    if "," in name:
        return "each method has a --method of its own"
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]}? There" if close else "there"
    return f"{meant} are {', '.join(known)}, or give package.module:Class"


def _bases(method: type[Method]) -> list[type[Method]]:
    return [base for base in method.__mro__ if issubclass(base, Method)]


def _imported(module: ModuleType, source: str) -> set[str]:
    """Names of the modules that a module's source imports, and of what might be one."""
    package = module.__name__ if hasattr(module, "__path__") else module.__name__.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return found


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


def _method_of(module: ModuleType) -> type[Method] | None:
    """The method a module defines itself; a file holds at most one."""
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Method)
        and value is not Method
        and value.__module__ == module.__name__
    ]
    if len(found) > 1:
        names = ", ".join(method.__name__ for method in found)
        raise MethodError(f"{module.__name__} defines several methods ({names}); give each a file of its own")
    return found[0] if found else None


def _checked(value: object, origin: str) -> type[Method]:
    if not (inspect.isclass(value) and issubclass(value, Method)):
        raise MethodError(f"{origin} is not a subclass of methods.base.Method")
    return value
