"""Import locations of landshift's packages and a user's own modules, in this process and in those that it starts.

A working folder may hold folders of the packages' names, as `methods`. An editable installation is asked after every
folder of `sys.path`, so that any of them would come before the package.
"""

import os.path  # every command imports this, and pathlib would take longer than all else here
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

PACKAGES = ("benchmark", "methods", "protocols")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # noqa: PTH120
"""The folder that holds the three packages, in a checkout and in an installation."""


class OwnPackages:
    """Finds the three packages beside each other, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of one of the packages; None of all other modules."""
        return PathFinder.find_spec(fullname, [ROOT]) if fullname in PACKAGES else None


def find_own_packages_first() -> None:
    """Have this process look for the three packages beside this file first. A second call does nothing."""
    if not any(isinstance(finder, OwnPackages) for finder in sys.meta_path):
        sys.meta_path.insert(0, OwnPackages())


def add_folder(folder: str) -> None:
    """Find modules of a folder, too, where no other folder has them.

    Processes that are spawned get this `sys.path`, so that landshift's own folder comes before.
    """
    sys.path.extend(path for path in (ROOT, folder) if path not in sys.path)
