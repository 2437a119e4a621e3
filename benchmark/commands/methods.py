"""``landshift methods``: what can be compared, and what can be set."""

import argparse
from dataclasses import MISSING, fields


def methods(options: argparse.Namespace) -> int:
    """``landshift methods``: what there is, and what can be set."""
    from methods.registry import available, find

    found = {options.name: find(options.name)} if options.name else available()
    for name, method in found.items():
        summary, _, rest = (method.__doc__ or "").partition("\n")
        print(f"{name}  (sees {method.needs.value})\n    {summary}")
        for item in fields(method.Hyperparameters):
            about = item.metadata
            search = ", ".join(about["options"]) if "options" in about else f"{about.get('low')} to {about.get('high')}"
            default = "" if item.default is MISSING else item.default
            print(f"    {item.name} = {default}   [{search}{', log' if about.get('log') else ''}]")
        if options.name:
            print(rest)
    return 0
