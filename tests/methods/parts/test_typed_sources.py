"""The digest of a class that is typed into a notebook depends on what it uses there, and on nothing else."""

import linecache
import types

import pytest

from methods.base import MethodError
from methods.parts import typed_sources as module
from methods.parts.typed_sources import file_of, typed_sources

CELL = """
from methods.parts.entropy import normalized_entropy

WEIGHT = {weight}
UNUSED = {unused}

def helper(x):
    return [WEIGHT * y for y in inner(x)]

def inner(x):
    return x + {inner}

class Mine:
    class Hyperparameters:
        size = {size}

    @property
    def entropy(self):
        return normalized_entropy

    def losses(self, x):
        return helper(x)
"""


def typed(**values):
    """Makes the class as a notebook does: the source of its cell is known by a name that is no file."""
    text = CELL.format(**({"weight": 1, "unused": 1, "inner": 1, "size": 1} | values))
    name = f"<cell {hash(text)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), space)
    return space["Mine"]


@pytest.fixture(autouse=True)
def notebook(monkeypatch):
    """A main module without a file, whose classes Python does not find."""
    monkeypatch.setitem(module.inspect.sys.modules, "__main__", types.ModuleType("__main__"))


def test_the_sources_are_those_of_the_class_and_of_what_it_uses():
    sources, modules = typed_sources([typed()])
    assert set(sources) == {"Mine", "helper", "inner", "WEIGHT"} and modules == {"methods.parts.entropy"}
    assert "class Hyperparameters" in sources["Mine"] and sources["WEIGHT"] == "1"
    assert file_of(typed()).startswith("<cell")


@pytest.mark.parametrize("changed", ["weight", "inner", "size"])
def test_a_change_of_what_it_uses_changes_them(changed):
    assert typed_sources([typed(**{changed: 2})]) != typed_sources([typed()])


def test_a_change_of_anything_else_does_not():
    assert typed_sources([typed(unused=2)]) == typed_sources([typed()])


def test_a_class_without_a_source_is_an_error():
    space = {"__name__": "__main__"}
    exec("class Mine:\n    def losses(self):\n        pass", space)
    with pytest.raises(MethodError, match="the source of Mine is not known"):
        typed_sources([space["Mine"]])
