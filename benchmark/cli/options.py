"""Options that several commands have, and the types of options; an error is one line."""

import argparse
import unicodedata
from pathlib import Path

from benchmark.evaluation.selection import DEFAULT_RULE, RULES

MIXED = "one {} of runs of several versions of landshift, packages or kinds of machine"
# The changes to a preset that the command line offers, with type and help; a test holds them equal to the recipe's.
RECIPE_OPTIONS: dict[str, tuple[type, str]] = {
    "architecture": (str, "light-fpn, or one of segmentation-models-pytorch: unet, fpn, deeplabv3plus, segformer ..."),
    "encoder": (str, "one of smp (resnet34) or, behind tu-, of timm (tu-convnext_tiny)"),
    "encoder_weights": (str, "none, packaged (of tu-tf_efficientnet_lite0), a name the encoder knows, or a file"),
    "encoder_depth": (int, "stages of the encoder"),
    "frozen": (bool, "train the decoder and the head alone, and leave the encoder as it is: true or false"),
    "steps": (int, "optimiser steps"),
    "batch_size": (int, "labelled patches a step"),
    "crop": (int, "side of the square cut from each training patch, pixels; 0: the whole patch"),
    "turn": (bool, "flip training patches and turn them by right angles: true or false"),
    "optimizer": (str, "adamw or sgd"),
    "learning_rate": (float, "the highest"),
    "weight_decay": (float, "of the optimiser"),
    "momentum": (float, "of sgd"),
    "schedule": (str, "of the learning rate: one-cycle, poly, plateau or constant"),
    "checkpoints": (int, "how often weights are kept and scored on source validation"),
    "series": (
        str,
        "see a Sentinel-2 year beside the image: late, corrected or published (U-T&T); alone, without it; or none",
    ),
    "series_dropout": (float, "probability that the series of a patch is dropped in training"),
    "series_loss": (float, "weight of an auxiliary loss on what the series alone predicts"),
    "series_side": (int, "side of the series around a patch, pixels of the series"),
    "dates": (str, "dates that are kept by their clouds and snow: all, flair2 or flairhub"),
    "monthly": (bool, "average the dates of a month: true or false"),
    "stream_order": (str, "order of the test stream: date, place, shuffled or recurring (the dates three times)"),
    "precision": (str, "Lightning Fabric's: 32-true, bf16-mixed, 16-mixed ..."),
}


def seeds(text: str) -> tuple[int, ...]:
    """Parse whole numbers of 0 or more, with commas between, each once."""
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"seeds are whole numbers with commas between, as 0,1,2, not {text!r}"
        ) from error
    if min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"seeds are 0 or more, not {min(seeds)}")
    return seeds


def folder(text: str) -> Path:
    """Parse a folder, which need not exist yet."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file, not a folder")
    return path


def truth(text: str) -> bool:
    """Parse ``true`` or ``false``."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"true or false is allowed, not {text!r}")
    return text.lower() == "true"


def names(text: str) -> tuple[str, ...]:
    """Parse words with commas between, in the one Unicode form that names have."""
    return tuple(part.strip() for part in unicodedata.normalize("NFC", text).split(",") if part.strip())


def name(text: str) -> str:
    """Parse a name, in the one Unicode form that names have."""
    return unicodedata.normalize("NFC", text)


def seconds(text: str) -> float:
    """Parse a number of seconds, of at least 0.1, since each is followed by a look at the queue."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"a number of seconds, at least 0.1, is allowed, not {text!r}")
    return seconds


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is allowed, not {text!r}")
    return int(text)


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Add the name of a protocol, and where its data are."""
    parser.add_argument("protocol", help="name (see: landshift protocols) or path of a .toml file")
    add_data(parser)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the data are, and whether some may be missing."""
    parser.add_argument("--data", type=Path, metavar="PATH", help="folder of the data set, or a .toml about it")
    parser.add_argument(
        "--partial",
        action="store_true",
        help="take what is there of the data set; such a protocol has another name and fingerprint",
    )


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the data and a protocol of a recorded run are now."""
    parser.add_argument("--data", type=Path, metavar="PATH", help="where the data are now (default: where they were)")
    parser.add_argument("--protocol", default="", metavar="FILE", help="where a protocol of your own is now")
    add_stores(parser)


def add_results(parser: argparse._ActionsContainer) -> None:
    """Add the option of the results folder."""
    parser.add_argument("--results", type=folder, default=Path("results"), metavar="DIR", help="default: results")


def add_nested(parser: argparse.ArgumentParser) -> None:
    """Add the option of trainings inside the folds."""
    parser.add_argument(
        "--leave-one-source-domain-out",
        action="store_true",
        help="also train every method with each source domain held out, for the selection rule of that name",
    )


def add_grid(parser: argparse.ArgumentParser) -> None:
    """Add the options that name methods, folds and seeds."""
    parser.add_argument(
        "--method",
        action="append",
        metavar="M",
        help="a method, as often as wanted: name, name[hyperparameter=value,...], package.module:Class (default: all)",
    )
    parser.add_argument("--seeds", type=seeds, default=(0,), metavar="0,1,2", help="seeds (default: 0)")
    parser.add_argument("--folds", type=names, default=(), metavar="A,B", help="only these folds (default: all)")


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add the options of a table: its selection rule, and whether its runs may differ."""
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


def add_stores(parser: argparse.ArgumentParser) -> None:
    """Add the option of the folder of decoded patches."""
    parser.add_argument(
        "--stores", type=folder, default=Path(".landshift/stores"), metavar="DIR", help="decoded patches"
    )


def add_running(parser: argparse.ArgumentParser, without: str = "") -> None:
    """Add the options of a command that trains."""
    parser.set_defaults(resumes=True)
    parser.add_argument(
        "--workers",
        type=positive,
        default=None,
        metavar="N",
        help="runs at once, each a process (default: one a core, on a GPU one)",
    )
    add_training(parser, without)


def add_training(parser: argparse.ArgumentParser, without: str = "") -> None:
    """Add the options of a training, except for one value of the recipe."""
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
    add_stores(parser)
    add_results(parser)
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
