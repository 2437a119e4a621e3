"""``landshift methods``: what can be compared, and what can be set; and the pages about it."""

import argparse
import inspect
from dataclasses import fields
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("name", nargs="?", help="show one method")
    parser.add_argument("--document", type=Path, metavar="DIR", help="write a page about each method there")


def methods(options: argparse.Namespace) -> int:
    """List the methods, show one, or write a page about each."""
    from benchmark.conformance.method_pages import search_range, shown, summary, write_pages
    from methods.registry import available, broken, find

    if options.document:
        print(f"written: {write_pages(options.document, available())} pages in {options.document}")
        return 0
    selected = {options.name: find(options.name)} if options.name else available()
    for name, method in selected.items():
        print(f"{name}  (sees {method.needs.value})\n    {summary(method)}")
        for item in fields(method.Hyperparameters):
            print(f"    {item.name} = {shown(item.default)}   [{search_range(item)}]")
        if options.name:
            print((inspect.getdoc(method) or "").partition("\n")[2])
    for name, why in broken().items() if not options.name else ():
        print(f"{name}  cannot be used: {why}")
    return 0
