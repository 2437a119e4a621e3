"""The language of docstrings, comments, messages and pages: plain words, and first lines that say what a thing does."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = [path for top in ("benchmark", "methods", "protocols") for path in sorted((REPOSITORY / top).rglob("*.py"))]
SOURCES = [REPOSITORY / "landshift.py", *SOURCES]
PAGES = [*REPOSITORY.glob("*.md"), *sorted((REPOSITORY / "docs").rglob("*.md"))]
BANNED = re.compile(
    r"\b(nobody|somebody|whoever|told|tells|asked\s+for|at\s+hand|anew|stands|lies?|lay|lets\s+go|how\s+manieth)\b",
    re.I,
)
FIRST = re.compile(r"(What|Of|Where|Whether|How|Who)\b")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def _texts(source: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type in (tokenize.STRING, tokenize.COMMENT)]


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_words_are_plain(path):
    text = path.read_text(encoding="utf-8")
    texts = _texts(text) if path.suffix == ".py" else [text]
    assert [match[0] for part in texts for match in BANNED.finditer(part)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_first_lines_say_what_a_thing_is_or_does(path):
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, DOCUMENTED)]
    assert [text for node in nodes if FIRST.match(text := ast.get_docstring(node) or "")] == []
