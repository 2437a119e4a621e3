"""A command runs in a Python that reads names of files as UTF-8 and keeps docstrings, whatever the settings are."""

import os
import subprocess
import sys

import pytest

CODE = """
import sys
from benchmark.common.interpreter import require_usual_python
require_usual_python()
print(sys.getfilesystemencoding(), sys.stdout.encoding, sys.flags.optimize, sys.argv[1] == chr(197) + "bo")
"""


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, (), "utf-8 ascii 0"),
        ({"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, ("-O",), "utf-8 ascii 1"),
        ({"PYTHONOPTIMIZE": "2"}, (), "utf-8 utf-8 1"),
        ({}, ("-OO",), "utf-8 utf-8 1"),
        ({}, (), "utf-8 utf-8 0"),
    ],
)
def test_the_process_begins_again_where_python_s_settings_do_not_fit(settings, options, expected) -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    environment = plain | {"LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(sys.path)} | settings
    command = [sys.executable, *options, "-c", CODE, "Åbo"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    assert done.stdout.split() == [*expected.split(), "True"], done.stderr
