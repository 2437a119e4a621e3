"""Finding methods: files of this package, entry points of others, or ``package.module:Class``."""

import ast
import hashlib
import importlib
import inspect
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType

import methods
from methods.base import Method, MethodError

ENTRY_POINTS = "landshift.methods"


def available() -> dict[str, type[Method]]:
    """All methods found by themselves, by name: ``methods/some_idea.py`` is ``some-idea``."""
    found = {}
    for info in pkgutil.iter_modules(methods.__path__):
        module = importlib.import_module(f"methods.{info.name}")
        for method in _methods_of(module):
            found[info.name.replace("_", "-")] = method
    for point in entry_points(group=ENTRY_POINTS):
        found[point.name] = _checked(point.load(), point.value)
    return dict(sorted(found.items()))


def find(name: str) -> type[Method]:
    """The method of this name, or the class that ``package.module:Class`` names.

    Raises:
        MethodError: if there is none; the message lists the names there are.
    """
    if ":" in name:
        module_name, _, class_name = name.partition(":")
        try:
            return _checked(getattr(importlib.import_module(module_name), class_name), name)
        except (ImportError, AttributeError) as error:
            raise MethodError(f"cannot import the method {name!r}: {error}") from error
    found = available()
    if name not in found:
        raise MethodError(f"there is no method {name!r}; there are {', '.join(found)}, or give package.module:Class")
    return found[name]


def code_digest(method: type[Method]) -> str:
    """Digest of the source a method is made of: its module, those of its base classes, and the parts they import.

    Of a method from another package also that package's modules which they import by their full names.

    Two runs with the same digest trained by the same method code.
    """
    sources: dict[str, str] = {}
    waiting = [base.__module__ for base in method.__mro__ if issubclass(base, Method)]
    package = method.__module__.partition(".")[0]
    while waiting:
        name = waiting.pop()
        if name not in sources and (module := _module(name)) is not None:
            sources[name] = inspect.getsource(module)
            waiting += [found for found in _imported(sources[name]) if _is_part(found, package)]
    return hashlib.sha256("\0".join(sources[name] for name in sorted(sources)).encode()).hexdigest()[:12]


def _imported(source: str) -> set[str]:
    """Names of the modules that a module's source imports, and of what might be one."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _is_part(name: str, package: str) -> bool:
    """Whether a module belongs to a method's code: a shared part, or a module of the other package it comes from."""
    return name.startswith("methods.parts.") or (package != "methods" and name.partition(".")[0] == package)


def _module(name: str) -> ModuleType | None:
    """The module of this name; None if the name is that of something inside a module."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def _methods_of(module: ModuleType) -> list[type[Method]]:
    """The methods a module defines itself; a file holds at most one."""
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
    return found


def _checked(value: object, origin: str) -> type[Method]:
    if not (inspect.isclass(value) and issubclass(value, Method)):
        raise MethodError(f"{origin} is not a subclass of methods.base.Method")
    return value
