"""The source of classes that are typed into a notebook or into the script that runs."""

import ast
import inspect
import linecache
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

from methods.parts.errors import MethodError

PLAIN = (bool, int, float, str, bytes, tuple, frozenset, type(None))


def typed_sources(classes: Iterable[type]) -> tuple[dict[str, str], set[str]]:
    """Return the sources of classes of ``__main__``, and of all there that their functions use.

    Returns:
        the sources by name, of plain values their text; and the modules of landshift's methods that are used.

    Raises:
        MethodError: the source of a class is not known.
    """
    sources: dict[str, str] = {}
    modules: set[str] = set()
    waiting: list[Any] = list(classes)
    while waiting:
        value = waiting.pop()
        if value.__qualname__ in sources:
            continue
        sources[value.__qualname__] = _source_of(value)
        for name, used in _used_by(value):
            module = getattr(used, "__module__", None) or ""
            if module == "__main__" and isinstance(used, type | FunctionType):
                waiting.append(used)
            elif module.startswith("methods."):
                modules.add(module)
            elif isinstance(used, PLAIN):
                sources[name] = repr(used)
    return sources, modules


def file_of(cls: type) -> str:
    """Return the file of a class, of one in a notebook the name that Python gives to its cell; "" if there is none."""
    try:
        return inspect.getfile(cls)
    except (TypeError, OSError):
        return next((function.__code__.co_filename for function in _functions(cls)), "")


def _functions(value: Any) -> Iterator[FunctionType]:
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, type):
        for member in vars(value).values():
            inner = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(inner, FunctionType) and inner.__module__ == value.__module__:
                yield inner
            elif isinstance(inner, type) and inner.__qualname__.startswith(f"{value.__qualname__}."):
                yield from _functions(inner)


def _used_by(value: Any) -> Iterator[tuple[str, Any]]:
    """Return what the functions of a class, or a function, find in their module, by name."""
    for function in _functions(value):
        for name in _names(function.__code__):
            if name in function.__globals__:
                yield name, function.__globals__[name]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _source_of(value: Any) -> str:
    try:
        return inspect.getsource(value)
    except (TypeError, OSError):  # Python does not find a notebook's classes, but their functions
        file = file_of(value)
    text = "".join(linecache.getlines(file))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and node.name == value.__name__:
            return ast.get_source_segment(text, node) or ""
    raise MethodError(f"the source of {value.__qualname__} is not known; define it in a file or a notebook's cell")
