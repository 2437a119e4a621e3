"""The command line. Thin: it reads arguments, calls one command, and prints.

Nothing heavy is imported until a command needs it, so that ``landshift --help`` answers at once.
"""

import argparse
import errno
import logging
import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from benchmark.cli import (
    calibrate,
    check,
    data,
    engines,
    forget,
    merge,
    methods,
    new,
    plan,
    presets,
    protocols,
    replay,
    report,
    runs,
    shift,
    status,
    tune,
    verify,
    worker,
    world,
)
from benchmark.cli.arguments import folder, names, positive, seeds, truth
from benchmark.cli.settings import RECIPE_OPTIONS, check_names
from benchmark.common.errors import LandshiftError
from benchmark.common.locations import add_folder
from benchmark.common.texts import OneLine, shown
from benchmark.evaluation.selection import DEFAULT_RULE, RULES

# What a disk refuses is nobody's mistake in the code, and a line says it all.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}

EPILOG = """\
examples:
  landshift demo                                           five methods on the synthetic world, a few minutes
  landshift run world-leave-places-out --method source-only --method entropy-minimization --seeds 0,1,2 --workers 2
  landshift run dubai-leave-one-place-out --data path/to/dubai --steps 300
  landshift plan dubai-leave-one-place-out --seeds 0,1,2   what that would cost, before it is started
  landshift status dubai-leave-one-place-out --watch       how far it is, and how long it should still take
  landshift tune world-leave-times-out --method source-only --method max-square --trials 10
  landshift run my-protocol.toml --data my-data.toml       your own images
  landshift run flair1-official --engine slurm --profile cluster.toml    a task of Slurm for each run
  landshift report world-leave-places-out                  the comparison as an HTML page, Markdown, LaTeX, CSV, figures
  landshift forget world-leave-times-out --steps 40        what was only a try: its runs and its table
  landshift ui                                             the comparison in the MLflow UI
  landshift worker --results shared                        train what other commands have queued, on this machine
"""
MIXED = "one {} of runs of several versions of landshift, packages or kinds of machine"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 for an error or failed runs, 2 for wrong arguments, 130 for Ctrl-C."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    add_folder(os.getcwd())  # noqa: PTH109 - as Python spells it; my_idea:MyIdea is found there, by workers too
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("landshift: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    options.command_line = shlex.join(["landshift", *(sys.argv[1:] if arguments is None else arguments)])
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
    except BrokenPipeError:  # who reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush would complain
        return 141
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


def _complain(message: str) -> int:
    print(f"landshift: {shown(message)}", file=sys.stderr)  # it names what stands in data
    return 1


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _unraisable(what: Any) -> None:
    """A Ctrl-C that came while Python was in a callback of its garbage collection, which cannot raise, comes again."""
    if issubclass(what.exc_type, KeyboardInterrupt):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(what)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"landshift: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="landshift",
        description="Which way of training a land-cover network survives a place or a time it has no labels for?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = _add(commands, "run", runs.run, "train methods on every fold of a protocol, and compare")
    _add_protocol(run)
    _add_grid(run)
    run.add_argument(
        "--tuned",
        default="",
        metavar="KEY",
        help="compare methods as `landshift tune` found them; --method then names others to compare with",
    )
    _add_nested(run)
    _add_table(run)
    engines.add_options(run)
    _add_running(run)

    search = _add(commands, "tune", tune.tune, "search the hyperparameters of methods, equally for each")
    search.epilog = tune.EPILOG
    search.formatter_class = argparse.RawDescriptionHelpFormatter
    _add_protocol(search)
    search.add_argument(
        "--method",
        action="append",
        metavar="M",
        help="a method, as often as wanted; what is in brackets is fixed (default: all that the rule can choose for)",
    )
    search.add_argument(
        "--trials",
        type=positive,
        required=True,
        metavar="N",
        help="settings tried of each method, the defaults among them",
    )
    search.add_argument(
        "--rule",
        choices=list(RULES),
        default=DEFAULT_RULE,
        metavar="R",
        help=f"which chooses among them (default: {DEFAULT_RULE}); one of {', '.join(RULES)}",
    )
    search.add_argument(
        "--fold", default="", metavar="F", help="tune on this fold alone, for all folds (default: each fold by itself)"
    )
    search.add_argument("--seed", type=int, default=0, metavar="S", help="of all trials (default: 0)")
    search.add_argument(
        "--prune", action="store_true", help="give up trials whose source validation is below the median of the others"
    )
    search.add_argument("--mixed", action="store_true", help=MIXED.format("search"))
    _add_running(search)

    steps = _add(commands, "calibrate", calibrate.calibrate, "double the steps until source-only has learned enough")
    _add_protocol(steps)
    calibrate.add_options(steps)
    _add_running(steps, without="steps")

    before = _add(commands, "plan", plan.plan, "what a comparison would cost: trainings, hours, disk")
    _add_protocol(before)
    _add_grid(before)
    plan.add_options(before)
    _add_training(before)

    demo = _add(commands, "demo", runs.demo, "five methods on three held-out times of the synthetic world")
    _add_nested(demo)
    _add_table(demo)
    _add_running(demo)

    state = _add(
        commands, "status", status.status, "how far a comparison is: done, running, waiting, failed, time left"
    )
    status.add_options(state)
    _add_results(state)

    comparison = _add(
        commands, "report", report.report, "write the comparison: an HTML page, Markdown, LaTeX, CSV and figures"
    )
    _add_protocol(comparison)
    comparison.add_argument("--comparison", default="", metavar="KEY", help="another than the newest comparison")
    comparison.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: RESULTS/PROTOCOL)")
    _add_table(comparison)
    _add_results(comparison)

    removal = _add(commands, "forget", forget.forget, "remove runs that failed or were a trial, and rows of tables")
    forget.add_options(removal)
    _add_results(removal)

    union = _add(commands, "merge", merge.merge, "take the runs of another results folder into one")
    merge.add_options(union)
    _add_results(union)
    again = _add(commands, "replay", replay.replay, "train one run again from its record, and compare to the bit")
    again.add_argument("run", metavar="RUN_ID", help="the id that MLflow shows, or its first characters")
    _add_places(again)
    _add_results(again)

    tables = _add(commands, "verify", verify.verify, "check published tables against their runs and the code at hand")
    tables.add_argument("folder", type=Path, help="what landshift report wrote, or a folder with several of them")
    tables.add_argument("--rerun", type=int, default=0, metavar="N", help="train N cells of each again (default: 0)")
    _add_places(tables)
    _add_results(tables)

    method = _add(commands, "methods", methods.methods, "list the methods and their hyperparameters")
    method.add_argument("name", nargs="?", help="show one method")
    method.add_argument("--document", type=Path, metavar="DIR", help="write a page about each method there")

    _add(commands, "presets", presets.presets, "show the named trainings, value by value")

    template = _add(commands, "new", new.new, "write a new method and its test, which already run")
    template.add_argument("name", help="of the method, like my-idea")

    conform = _add(commands, "check", check.check, "check that methods keep the contract, before a long comparison")
    conform.add_argument("method", nargs="*", help="as for run: name, name[...], package.module:Class (default: all)")

    protocol = _add(commands, "protocols", protocols.protocols, "list, show, verify and pin what can be held out")
    verbs = "; ".join(f"{verb}: {text}" for verb, text in protocols.VERBS.items())
    protocol.add_argument("verb", nargs="?", choices=list(protocols.VERBS), default="list", help=verbs)
    protocol.add_argument("name", nargs="?", help="a protocol's name, or the path of a .toml file")
    protocol.add_argument("--output", type=Path, metavar="FILE", help="where document writes (default: the terminal)")
    _add_data(protocol)

    look = _add(commands, "data", data.data, "look through a data set: check a copy of FLAIR, or show statistics")
    data.add_options(look)
    _add_stores(look)

    far = _add(commands, "shift", shift.shift, "measure how far the target of each fold lies from its source")
    far.add_argument("protocols", nargs="+", metavar="PROTOCOL", help="one or several of one data set, in one table")
    far.add_argument("--encoder", default="resnet18", help="whose features are compared (default: resnet18)")
    far.add_argument(
        "--encoder-weights", metavar="W", help="packaged, imagenet or a file (default: random, a look at low level)"
    )
    far.add_argument("--patches", type=positive, default=200, metavar="N", help="of each side, at most (default: 200)")
    far.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: RESULTS/shift-PROTOCOL)")
    _add_data(far)
    _add_stores(far)
    _add_results(far)

    worlds = _add(commands, "world", world.world, "generate a synthetic world with shifts of chosen strength")
    worlds.add_argument("folder", type=Path, help="where to write it")
    world.add_options(worlds)

    interface = _add(commands, "ui", runs.ui, "open the comparison in the MLflow UI, on this machine only")
    interface.add_argument("--port", type=int, help="default: 5000, or a free one")
    interface.add_argument("--no-browser", action="store_true", help="only print the address")
    _add_results(interface)

    helper = _add(commands, "worker", worker.worker, "train jobs that other commands have queued, on any machine")
    worker.add_options(helper)
    _add_results(helper)

    bench = _add(commands, "bench", runs.bench, "measure the engine against bare PyTorch, and the store against files")
    bench.add_argument("--output", type=Path, metavar="FILE", help="also write the table there (Markdown)")
    bench.add_argument("--methods", type=Path, metavar="FILE", help="instead: what a step of each method costs (JSON)")
    bench.add_argument("--seconds", type=float, default=20.0, help="length of each measurement (default: 20)")
    return parser


def _add(group: Any, name: str, action: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(action=action, resumes=False)
    return parser


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", help="name (see: landshift protocols) or path of a .toml file")
    _add_data(parser)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="PATH", help="folder of the data set, or a .toml about it")
    parser.add_argument(
        "--partial",
        action="store_true",
        help="take what is there of the data set; such a protocol has another name and fingerprint",
    )


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="PATH", help="where the data lie now (default: where they lay)")
    parser.add_argument("--protocol", default="", metavar="FILE", help="where a protocol of your own lies now")
    _add_stores(parser)


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=folder, default=Path("results"), metavar="DIR", help="default: results")


def _add_nested(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--leave-one-source-domain-out",
        action="store_true",
        help="also train every method with each source domain held out, for the selection rule of that name",
    )


def _add_grid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--method",
        action="append",
        metavar="M",
        help="a method, as often as wanted: name, name[hyperparameter=value,...], package.module:Class (default: all)",
    )
    parser.add_argument("--seeds", type=seeds, default=(0,), metavar="0,1,2", help="seeds (default: 0)")
    parser.add_argument("--folds", type=names, default=(), metavar="A,B", help="only these folds (default: all)")


def _add_table(parser: argparse.ArgumentParser) -> None:
    legitimate = ", ".join(name for name, rule in RULES.items() if rule.legitimate)
    parser.add_argument(
        "--rule",
        choices=list(RULES),
        default="",
        metavar="R",
        help=f"which chooses the checkpoints of the headline table (default: {DEFAULT_RULE}): {legitimate}; "
        "oracle-rule shows what no legitimate rule can do",
    )
    parser.add_argument("--mixed", action="store_true", help=MIXED.format("table"))


def _add_stores(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stores", type=folder, default=Path(".landshift/stores"), metavar="DIR", help="decoded patches"
    )


def _add_running(parser: argparse.ArgumentParser, without: str = "") -> None:
    parser.set_defaults(resumes=True)
    parser.add_argument(
        "--workers",
        type=positive,
        default=None,
        metavar="N",
        help="runs at once, each a process (default: one a core, on a GPU one)",
    )
    _add_training(parser, without)


def _add_training(parser: argparse.ArgumentParser, without: str = "") -> None:
    """The options of a training, but for one value of the recipe."""
    parser.add_argument(
        "--save-every",
        type=positive,
        default=60,
        metavar="SECONDS",
        help="how often an unfinished training is saved, to go on from there if it is interrupted (default: 60)",
    )
    parser.add_argument(
        "--preset",
        default="tiny",
        help="network, optimiser and budget: tiny (default), small, flair-baseline; see landshift presets",
    )
    parser.add_argument("--accelerator", default="auto", help="cpu, cuda, mps or auto (default)")
    _add_stores(parser)
    _add_results(parser)
    changes = parser.add_argument_group("changes to the preset (equal for every method of the comparison)")
    for name, (kind, text) in ((name, option) for name, option in RECIPE_OPTIONS.items() if name != without):
        option = f"--{name.replace('_', '-')}"
        changes.add_argument(
            option,
            type=truth if kind is bool else kind,
            metavar=kind.__name__.upper(),
            dest=f"recipe_{name}",
            help=text,
        )
