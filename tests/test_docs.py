"""What the documentation draws and lists is what the code has."""

import importlib.util
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).resolve().parents[1] / "docs"


def _load(name: str) -> ModuleType:
    """Import a script of docs/, which is no package."""
    specification = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_figure_of_the_packages_is_that_of_the_code():
    script = _load("draw_packages")
    edges = script.read_edges()
    assert {"training", "tracking", "protocols"} <= edges["experiments"] and not edges["methods"]
    made = script.draw(script.reduce_edges(edges))
    assert made == script.FIGURE.read_text(encoding="utf-8"), "make docs draws it again"
    assert f"]({script.FIGURE.name})" in (DOCS / "design.md").read_text(encoding="utf-8")


def test_an_arrow_that_follows_from_others_is_not_drawn():
    edges = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert _load("draw_packages").reduce_edges(edges) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}
