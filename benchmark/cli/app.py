"""The command line. Thin: it reads arguments, calls one command, and prints.

Nothing heavy is imported until a command needs it, so that ``landshift --help`` answers at once.
"""

import argparse
import errno
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from benchmark.common.errors import LandshiftError
from benchmark.common.locations import add_folder

TYPE_CHECKING = False  # importing typing takes longer than the parser of a command
if TYPE_CHECKING:
    from typing import Any, NoReturn

# An error of the disk is no mistake in the code, and one line says it all.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTDIR}

EPILOG = """\
examples:
  landshift demo                                           five methods on the synthetic world, a few minutes
  landshift run world-leave-places-out --method source-only --method entropy-minimization --seeds 0,1,2 --workers 2
  landshift run dubai-leave-one-place-out --data path/to/dubai --steps 300
  landshift plan dubai-leave-one-place-out --seeds 0,1,2   what that would cost, before it is started
  landshift status dubai-leave-one-place-out --watch       how far it is, and how long it should still take
  landshift tune world-leave-times-out --method source-only --method max-square --trials 10
  landshift data describe photos -o mine.toml              your own images: a description and protocols, to correct
  landshift run mine-leave-places-out.toml                 a comparison on them
  landshift run flair1-official --engine slurm --profile cluster.toml    a task of Slurm for each run
  landshift report world-leave-places-out                  the comparison as an HTML page, Markdown, LaTeX, CSV, figures
  landshift forget world-leave-times-out --steps 40        what was only a try: its runs and its table
  landshift ui                                             the comparison in the MLflow UI
  landshift worker --results shared                        train what other commands have queued, on this machine
"""
COMMANDS = {  # each is a module of this package, with a function of its name
    "run": "train methods on every fold of a protocol, and compare",
    "tune": "search the hyperparameters of methods, equally for each",
    "calibrate": "double the steps until source-only has learned enough",
    "plan": "what a comparison would cost: trainings, hours, disk",
    "demo": "five methods on three held-out times of the synthetic world",
    "status": "how far a comparison is: done, running, waiting, failed, time left",
    "report": "write the comparison: an HTML page, Markdown, LaTeX, CSV and figures",
    "map": "predict images of any size with a finished run, as georeferenced maps",
    "zones": "count the classes of maps in polygons, with bounds of the artificialised share",
    "forget": "remove runs that failed or were a trial, and rows of tables",
    "merge": "take the runs of another results folder into one",
    "replay": "train one run again from its record, and compare to the bit",
    "verify": "check published tables against their runs and the installed code",
    "methods": "list the methods and their hyperparameters",
    "presets": "show the named trainings, value by value",
    "new": "write a new method and its test, which already run",
    "check": "check that methods keep the contract, before a long comparison",
    "protocols": "list, show, verify and pin what can be held out",
    "data": "describe an unknown folder, show a data set and its statistics, check all of its files",
    "shift": "measure how far the target of each fold is from its source",
    "world": "generate a synthetic world with shifts of chosen strength",
    "ui": "open the comparison in the MLflow UI, on this machine only",
    "worker": "train jobs that other commands have queued, on any machine",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 for an error or failed runs, 2 for wrong arguments, 130 for Ctrl-C."""
    words = sys.argv[1:] if arguments is None else arguments
    options = make_parser(words).parse_args(words)
    from benchmark.cli.settings import check_names

    _prepare(options, words)
    # A polite kill ends like Ctrl-C: what runs is marked, what is done stays.
    before = signal.signal(signal.SIGTERM, _interrupt)
    hook, sys.unraisablehook = sys.unraisablehook, _unraisable
    try:
        check_names(options)
        status = int(options.action(options))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        kept = "; what is finished is kept, and the same command goes on from there" if options.resumes else ""
        print(f"\nstopped{kept}", file=sys.stderr)
        return 130
    except LandshiftError as error:
        return _complain(str(error))
    except ValueError as error:
        # The two other packages raise ValueErrors of their own, which cannot be imported here cheaply.
        if type(error).__name__ in ("MethodError", "ProtocolError"):
            return _complain(str(error))
        raise
    except OSError as error:
        if error.errno not in DISK:
            raise
        return _complain(str(error))
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = hook


def _prepare(options: argparse.Namespace, words: Sequence[str]) -> None:
    """Set up what only a command needs, not its help: where modules are found, how warnings look, the environment."""
    import logging
    import shlex

    from benchmark.common.texts import OneLine

    add_folder(os.getcwd())  # noqa: PTH109 - as Python spells it; my_idea:MyIdea is found there, by workers too
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("landshift: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where HOME cannot be written
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    options.command_line = shlex.join(["landshift", *words])


def _complain(message: str) -> int:
    from benchmark.common.texts import shown

    print(f"landshift: {shown(message)}", file=sys.stderr)  # it names what is in data
    return 1


def _interrupt(number: int, frame: "Any") -> None:
    raise KeyboardInterrupt


def _unraisable(what: "Any") -> None:
    """Raise a Ctrl-C again that came in a callback of Python's garbage collection, which cannot raise."""
    import threading

    if issubclass(what.exc_type, KeyboardInterrupt):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(what)


class _Parser(argparse.ArgumentParser):
    """A parser with errors of one line, which takes options before, between and after the other words."""

    _is_inside = False

    def parse_known_args(self, args: "Any" = None, namespace: "Any" = None) -> "Any":
        """Parse the words of a command wherever its options are; an unknown option is named alone."""
        if self._subparsers or self._is_inside:
            return super().parse_known_args(args, namespace)
        self._is_inside = True
        try:
            options, unknown = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_inside = False
        if unknown:
            named = [word for word in unknown if word.startswith("-")] or unknown
            self.error(f"unrecognized arguments: {' '.join(named)}")
        return options, unknown

    def error(self, message: str) -> "NoReturn":
        self.exit(2, f"landshift: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    """Print the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: "Any") -> "NoReturn":
        from importlib.metadata import version

        print(f"landshift {version('landshift')}")
        parser.exit()


def make_parser(arguments: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser.

    Args:
        arguments: what it is to parse; only the command that these name gets its options, and its module is imported.
            None for all commands.
    """
    parser = _Parser(
        prog="landshift",
        description="Which way of training a land-cover network survives a place or a time it has no labels for?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if arguments is None or name in arguments[:1]:
            module = importlib.import_module(f"benchmark.cli.{name}")
            command.set_defaults(action=getattr(module, name), resumes=False)
            module.add_options(command)
    return parser
