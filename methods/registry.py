"""Finding methods: files of this package, entry points of others, or ``package.module:Class``."""

import importlib
import inspect
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType

import methods
from methods.base import Method, MethodError
from methods.names import ENTRY_POINTS, hint
from methods.sources import blamed


def available() -> dict[str, type[Method]]:
    """Return all methods found by themselves, by name: ``methods/some_idea.py`` is ``some-idea``.

    What is `broken` is left out: a file or a package with a mistake in it takes no other along.
    """
    return dict(sorted(_scan()[0].items()))


def broken() -> dict[str, str]:
    """Return why a file of this package, or an entry point, gives no method; by the name it would have."""
    return dict(_scan()[1])


def find(name: str) -> type[Method]:
    """Return the method of this name, or the class that ``package.module:Class`` names.

    Raises:
        MethodError: if there is none; the message lists the names there are.
    """
    if ":" in name:
        module_name, _, class_name = name.partition(":")
        try:
            return _checked(getattr(importlib.import_module(module_name), class_name), name)
        except MethodError:
            raise
        except ModuleNotFoundError as error:
            if not f"{module_name}.".startswith(f"{error.name}."):  # what the module itself imports
                raise MethodError(f"cannot import the method {name!r}: {blamed(error)}") from error
            raise MethodError(
                f"cannot import the method {name!r}: there is no module {error.name!r} in this folder or among the "
                "installed packages; run the command in the folder that holds it"
            ) from error
        except Exception as error:  # whatever the code of the module raises is its own mistake
            raise MethodError(f"cannot import the method {name!r}: {blamed(error)}") from error
    methods, wrong = available(), broken()
    if name in wrong:
        raise MethodError(f"the method {name!r} cannot be used: {wrong[name]}")
    if name not in methods:
        raise MethodError(f"there is no method {name!r}; {hint(name, methods)}")
    return methods[name]


def name_of(method: type[Method]) -> str | None:
    """Return the name under which a class is `available`, if it is."""
    return next((name for name, known in _scan()[0].items() if known is method), None)


def address_of(method: type[Method]) -> str:
    """Return the name by which `find` gives a class: that of an available method, else ``module:Class``.

    Raises:
        MethodError: the class is defined inside a function or another class, where no name reaches it.
    """
    if name := name_of(method):
        return name
    if "." in method.__qualname__:
        raise MethodError(f"{method.__qualname__} must be defined at the top level of its module or notebook")
    return f"{method.__module__}:{method.__name__}"


@cache
def _scan() -> tuple[dict[str, type[Method]], dict[str, str]]:
    by_name: dict[str, type[Method]] = {}
    wrong: dict[str, str] = {}
    for info in pkgutil.iter_modules(methods.__path__):
        name = info.name.replace("_", "-")
        try:
            method = _method_of(importlib.import_module(f"methods.{info.name}"))
        except Exception as error:  # whatever the code of the file raises is its own mistake
            wrong[name] = blamed(error)
        else:
            by_name |= {name: method} if method else {}
    for point in entry_points(group=ENTRY_POINTS):
        origin = f"of the package {point.dist.name if point.dist else point.value}"
        if point.name in by_name:
            wrong[f"{point.name} {origin}"] = "there is a method of this name already"
            continue
        try:
            by_name[point.name] = _checked(point.load(), point.value)
        except Exception as error:
            wrong[point.name] = f"{origin}: {blamed(error)}"
    return by_name, wrong


def _method_of(module: ModuleType) -> type[Method] | None:
    """Return the method a module defines itself; a file holds at most one."""
    candidates = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Method)
        and value is not Method
        and value.__module__ == module.__name__
    ]
    if len(candidates) > 1:
        names = ", ".join(method.__name__ for method in candidates)
        raise MethodError(f"{module.__name__} defines several methods ({names}); give each a file of its own")
    return candidates[0] if candidates else None


def _checked(value: object, origin: str) -> type[Method]:
    if not (inspect.isclass(value) and issubclass(value, Method)):
        raise MethodError(f"{origin} is not a subclass of methods.base.Method")
    return value
