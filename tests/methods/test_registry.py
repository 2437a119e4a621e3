"""Finding methods, and telling versions of their code apart."""

import sys
import textwrap

import pytest

from methods import registry
from methods.base import Method, MethodError


def test_every_file_with_a_method_is_found():
    found = registry.available()
    assert {"source-only", "entropy-minimization", "adversarial-alignment", "style-randomization", "oracle"} <= set(
        found
    )
    assert all(issubclass(method, Method) for method in found.values())


def test_a_class_elsewhere_is_found_by_its_address(tmp_path, monkeypatch):
    (tmp_path / "my_idea.py").write_text(
        textwrap.dedent("""
        from methods.base import Method
        class MyIdea(Method):
            def losses(self, source, target, progress):
                return {"segmentation": self.segmentation_loss(source)}
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.find("my_idea:MyIdea").__name__ == "MyIdea"
    sys.modules.pop("my_idea")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("source-olny", "source-only"),
        ("no_such_module:Idea", "cannot import"),
        ("methods.base:Progress", "not a subclass"),
    ],
)
def test_an_unknown_method_is_named_with_what_there_is(name, message):
    with pytest.raises(MethodError, match=message):
        registry.find(name)


def test_the_digest_follows_the_parts_a_method_imports(monkeypatch):
    method = registry.find("entropy-minimization")
    before, other = registry.code_digest(method), registry.code_digest(registry.find("source-only"))
    assert before != other
    original = registry.inspect.getsource

    def changed(thing):
        return original(thing) + ("# changed" if thing.__name__ == "methods.parts.entropy" else "")

    monkeypatch.setattr(registry.inspect, "getsource", changed)
    assert registry.code_digest(method) != before
    assert registry.code_digest(registry.find("source-only")) == other
