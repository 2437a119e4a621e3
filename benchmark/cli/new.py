"""``landshift new``: a method's file and its test, which run and pass before a line is changed."""

import argparse
import keyword
import re
from pathlib import Path
from string import Template

from benchmark.common.errors import SettingsError
from methods.names import OTHERS

TEMPLATES = Path(__file__).parent / "templates"
RESERVED = OTHERS | {"parts", "methods", "benchmark", "protocols"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("name", help="of the method, like my-idea")


def new(options: argparse.Namespace) -> int:
    """Write both files, in a checkout of landshift where its methods are, elsewhere into the current folder."""
    name = options.name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise SettingsError(
            f"a method is named in small letters, digits and dashes, like my-idea, not {options.name!r}"
        )
    if name in RESERVED:
        raise SettingsError(f"{options.name!r} is the name of a part of landshift; take another")
    checkout = Path("methods/base.py").is_file() and Path("tests/methods").is_dir()
    cls = "".join(word.capitalize() for word in name.split("_"))
    label = name.replace("_", "-") if checkout else f"{name}:{cls}"
    files = {
        "method.txt": Path("methods" if checkout else ".", f"{name}.py"),
        "test.txt": Path("tests/methods" if checkout else ".", f"test_{name}.py"),
    }
    if there := [str(path) for path in files.values() if path.exists()]:
        raise SettingsError(f"{', '.join(there)} is there already; take another name, or remove it")
    module = f"methods.{name}" if checkout else name
    imports = {
        "methods.base": "Progress, SourceBatch, TargetBatch, Task",
        module: f"{cls}, disagreement",
    }
    words = {
        "title": name.replace("_", " ").capitalize(),
        "cls": cls,
        "label": label,
        "imports": "\n".join(f"from {source} import {names}" for source, names in sorted(imports.items())),
    }
    for template, path in files.items():
        path.write_text(
            Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(words), encoding="utf-8"
        )
    written = " and ".join(map(str, files.values()))
    print(f"written: {written}. They run as they are; put your idea in, and then:")
    print(f"    python -m pytest {files['test.txt']}")
    print(f"    landshift check {label}")
    print(f"    landshift run world-leave-times-out --method source-only --method {label}")
    return 0
