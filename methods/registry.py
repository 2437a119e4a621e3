"""Finding methods: files of this package, entry points of others, or ``package.module:Class``."""

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

    Two runs with the same digest trained by the same method code.
    """
    modules: dict[str, ModuleType] = {}
    waiting = [inspect.getmodule(base) for base in method.__mro__ if issubclass(base, Method)]
    while waiting:
        module = waiting.pop()
        if module is None or module.__name__ in modules:
            continue
        modules[module.__name__] = module
        origins = {getattr(value, "__module__", None) for value in vars(module).values()}
        waiting += [importlib.import_module(name) for name in origins if name and name.startswith("methods.parts.")]
    sources = [inspect.getsource(modules[name]) for name in sorted(modules)]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:12]


def _methods_of(module: ModuleType) -> list[type[Method]]:
    """The concrete methods a module defines itself; a file holds at most one."""
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]
    if len(found) > 1:
        names = ", ".join(method.__name__ for method in found)
        raise MethodError(f"{module.__name__} defines several methods ({names}); give each a file of its own")
    return found


def _checked(value: object, origin: str) -> type[Method]:
    if not (inspect.isclass(value) and issubclass(value, Method)):
        raise MethodError(f"{origin} is not a subclass of methods.base.Method")
    return value
