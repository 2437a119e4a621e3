"""The pages of docs/methods: one a method, made of its docstring and declarations and of what was measured."""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmark.conformance.costs import read_costs
from methods.base import Method, Needs

REFERENCES, COSTS = "references.json", "costs.json"
NEUTRAL = " Where all that have one take the value of the last column, the trained weights are source-only's."


def write_pages(folder: Path, methods: Mapping[str, type[Method]]) -> int:
    """Write a page a method and one that lists them.

    Args:
        folder: also holds `REFERENCES`, which the tests of the methods write, and `COSTS` of ``bench --methods``; what
            they do not hold is left out.

    Returns:
        the number of files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    costs = read_costs(folder / COSTS)
    references = _references(folder / REFERENCES)
    (folder / "README.md").write_text(_index(methods, costs), encoding="utf-8")
    for name, method in methods.items():
        text = _page(name, method, costs.get(name), [entry for entry in references if name in entry["methods"]])
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return len(methods) + 1


def summary(method: type[Method]) -> str:
    """Return the first sentence of a method's docstring."""
    paragraph = (inspect.getdoc(method) or "").partition("\n\n")[0]
    return re.split(r"(?<=\.)\s", " ".join(paragraph.split()))[0]


def shown(value: Any) -> str:
    """Return a hyperparameter's value as it is given on the command line; nothing for None."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def search_range(item: Any) -> str:
    """Return where a hyperparameter (a dataclass field) is searched."""
    about = item.metadata
    if "options" in about:
        return ", ".join(map(shown, about["options"]))
    return f"{about['low']} to {about['high']}{', log' if about['log'] else ''}" if "low" in about else "not searched"


def _references(path: Path) -> Sequence[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return entries


def _index(methods: Mapping[str, type[Method]], costs: Mapping[str, Any]) -> str:
    lines = [
        "# Methods",
        "",
        "Made by `make docs`, from the methods' own docstrings and tests. *Time* is that of a step over source-only's",
        "(of a method that learns from the test stream: of a prediction and an update), on a U-Net with ResNet-34",
        "(of one that needs series: and a U-TAE), side by side on one CPU thread by `results/scripts/method_costs.py`.",
        "",
    ]
    for need in Needs:
        with_need = {name: method for name, method in methods.items() if method.needs is need}
        if with_need:
            lines += [f"## See {need.value}", "", "| method | | time |", "|---|---|--:|"]
        for name, method in with_need.items():
            time = f"{costs[name].time:.1f}" if name in costs else ""
            lines += [f"| [`{name}`]({name}.md) | {summary(method)} | {time} |"]
        lines += [""] if with_need else []
    return "\n".join(lines)


def _page(name: str, method: type[Method], cost: Any, references: Sequence[Mapping[str, Any]]) -> str:
    seen = f"{method.needs.value}{', with series of satellite images' * method.needs_series}"
    lines = [f"# {name}", "", f"*Sees:* {seen}", "", inspect.getdoc(method) or "", ""]
    if method.depends_on_batch:
        lines += ["What it predicts for a patch depends on the rest of the test batch.", ""]
    if fields(method.Hyperparameters):
        lines += [*_hyperparameters(method), ""]
    if cost:
        what = "A prediction and an update take" if method.needs is Needs.TEST_STREAM else "A step takes"
        beside = " and a U-TAE" if method.needs_series else ""
        meant = (
            f"U-Net with ResNet-34{beside}, one CPU thread; activations are the most bytes kept for the backward pass "
            "at once"
        )
        lines += [f"*Cost:* {what} {cost} ({meant}).", ""]
    if references:
        lines += [*_held_against(references), ""]
    source = f"../../{method.__module__.replace('.', '/')}.py"
    return "\n".join([*lines, f"Code: [{method.__module__}]({source})", ""])


def _hyperparameters(method: type[Method]) -> list[str]:
    items = fields(method.Hyperparameters)
    neutrals = [shown(item.metadata.get("neutral")) for item in items]
    head, rule, last = ("", "", "") if not any(neutrals) else (" source-only at |", "---|", NEUTRAL)
    lines = [f"| hyperparameter | default | search |{head}", f"|---|---|---|{rule}"]
    for item, neutral in zip(items, neutrals, strict=True):
        more = f" {neutral} |" if head else ""
        lines += [f"| `{item.name}` | {shown(item.default)} | {search_range(item)} |{more}"]
    return [*lines, "", f"A search looks within *search*; other values are allowed.{last}"]


def _held_against(references: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = ("values", "reference", "ours", "difference", "within")
    heads = ("held against", "values", "reference", "ours", "largest difference", "tolerance")
    lines = [f"| {' | '.join(heads)} |", f"|---{'|--:' * len(columns)}|"]
    for entry in references:
        origin = f"{entry['quantity']} ({entry['source']}, [test](../../{entry['test']}))"
        lines += [f"| {origin} | {' | '.join(str(entry[column]) for column in columns)} |"]
    official = any("@" in entry["source"] for entry in references)
    without = "" if official else " None of them is of an official code."
    return [*lines, "", f"Of several values the mean size is shown; each of them is compared.{without}"]
