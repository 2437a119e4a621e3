"""The Python that a command needs: one that reads names of files as UTF-8, and keeps docstrings."""

import os
import sys


def require_usual_python() -> None:
    """Start this process again where Python's settings fit no command.

    In another locale than UTF-8's, names of files would be other texts than those of a description or a table; and
    segmentation-models-pytorch cannot be imported without docstrings, as PYTHONOPTIMIZE=2 has it. What is printed stays
    in the terminal's encoding.
    """
    strange = sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode
    if sys.flags.ignore_environment or not (strange or sys.flags.optimize > 1):
        return
    if strange:
        os.environ["PYTHONUTF8"] = "1"
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding if sys.stdout else "ascii")
    if sys.flags.optimize > 1:
        os.environ["PYTHONOPTIMIZE"] = "1"
    words = [word for word in sys.orig_argv[1:] if word != "-OO"]
    os.execv(sys.executable, [sys.executable, *words])
