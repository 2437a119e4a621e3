"""The page about all commands: ``python -m benchmark.cli.reference`` prints what ``--help`` says of each."""

import argparse
import os

from benchmark.cli.app import make_parser

WIDTH = "100"


def page() -> str:
    """Return the help of every command, as Markdown."""
    os.environ["COLUMNS"] = WIDTH
    parser = make_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    parts = [("landshift", parser), *((f"landshift {name}", one) for name, one in commands.choices.items())]
    texts = [f"## {title}\n\n```\n{one.format_help().rstrip()}\n```" for title, one in parts]
    return "\n\n".join(["# Commands", "What `--help` says of each command.", *texts]) + "\n"


if __name__ == "__main__":
    print(page(), end="")
