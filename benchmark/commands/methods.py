"""``landshift methods``: what can be compared, and what can be set; and the pages about it."""

import argparse
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any


def methods(options: argparse.Namespace) -> int:
    """List the methods, show one, or write a page about each."""
    from methods.registry import available, find

    if options.document:
        return _document(options.document, available())
    found = {options.name: find(options.name)} if options.name else available()
    for name, method in found.items():
        print(f"{name}  (sees {method.needs.value})\n    {_summary(method)}")
        for item in fields(method.Hyperparameters):
            print(f"    {item.name} = {item.default}   [{_search(item)}]")
        if options.name:
            print((inspect.getdoc(method) or "").partition("\n")[2])
    return 0


def _document(folder: Path, found: dict[str, Any]) -> int:
    """One page a method, made of its docstring and declarations, and one that lists them."""
    from methods.base import Needs

    folder.mkdir(parents=True, exist_ok=True)
    index = [
        "# Methods",
        "",
        "Made by `landshift methods --document docs/methods` from the methods' own docstrings.",
        "",
    ]
    for need in Needs:
        mine = {name: method for name, method in found.items() if method.needs is need}
        index += [f"## See {need.value}", "", "| method | |", "|---|---|"]
        index += [f"| [`{name}`]({name}.md) | {_summary(method)} |" for name, method in mine.items()]
        index += [""]
    (folder / "README.md").write_text("\n".join(index), encoding="utf-8")
    for name, method in found.items():
        (folder / f"{name}.md").write_text(_page(name, method), encoding="utf-8")
    print(f"written: {len(found) + 1} pages in {folder}")
    return 0


def _page(name: str, method: Any) -> str:
    lines = [f"# {name}", "", f"*Sees:* {method.needs.value}", "", inspect.getdoc(method) or "", ""]
    if method.depends_on_batch:
        lines += ["What it predicts for a patch depends on the rest of the test batch.", ""]
    if fields(method.Hyperparameters):
        lines += ["| hyperparameter | default | search | source-only at |", "|---|---|---|---|"]
    for item in fields(method.Hyperparameters):
        neutral = item.metadata.get("neutral")
        lines += [f"| `{item.name}` | {_shown(item.default)} | {_search(item)} | {_shown(neutral)} |"]
    source = f"../../{method.__module__.replace('.', '/')}.py"
    return "\n".join([*lines, "", f"Code: [{method.__module__}]({source})", ""])


def _summary(method: Any) -> str:
    """The first sentence."""
    paragraph = (inspect.getdoc(method) or "").partition("\n\n")[0]
    return re.split(r"(?<=\.)\s", " ".join(paragraph.split()))[0]


def _shown(value: Any) -> str:
    """As it is given on the command line; nothing for None."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _search(item: Any) -> str:
    about = item.metadata
    if "options" in about:
        return ", ".join(map(_shown, about["options"]))
    return f"{about['low']} to {about['high']}{', log' if about['log'] else ''}" if "low" in about else "not searched"
