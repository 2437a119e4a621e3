"""``landshift data``: describe an unknown folder, show a data set, its statistics, and check a copy of FLAIR."""

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.cli import options as shared
from benchmark.common.errors import SettingsError

if TYPE_CHECKING:
    from benchmark.data.catalog import Catalog

VERBS = {
    "describe": "look at a folder of images and masks and write a description of it, to be corrected, and protocols",
    "preview": "draw patches that show the classes of each domain, and a map of places, times and zones",
    "check": "compare a copy of FLAIR with what was published: counts, masks, sizes, values, metadata, series; or read "
    "every image and mask of your own data",
    "stats": "mean, deviation and quantiles of the bands and shares of the classes, domain by domain",
    "prune": "remove decoded patches that nothing can use any more: of an older format, or of files gone or changed",
}
QUANTILES = (0.02, 0.5, 0.98)
SHOWN = 10  # faults


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("verb", choices=list(VERBS), help="; ".join(f"{k}: {text}" for k, text in VERBS.items()))
    parser.add_argument(
        "root",
        type=Path,
        nargs="?",
        help="folder of the data set (FLAIR: unpacked or with the zip files), or your description (.toml), or a name",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="of what the folder holds a copy: flair1 (default), flair2, flairhub, flairhub-lpis, or one of these two "
        "with -height; for the others any",
    )
    parser.add_argument("--names-only", action="store_true", help="check names and metadata, and open no image")
    parser.add_argument(
        *("-o", "--output"),
        type=Path,
        metavar="FILE",
        help="describe: the .toml to write (default: the folder's name); preview: the .png (default: preview.png); "
        "check, stats: also write a CSV of every fault, or all statistics",
    )
    parser.add_argument("--dry-run", action="store_true", help="prune: show what would be removed, and remove nothing")
    parser.add_argument("--yes", action="store_true", help="prune: ask no question")
    shared.add_stores(parser)


def data(options: argparse.Namespace) -> int:
    """Run one of the verbs."""
    from benchmark.cli.data_describe import describe
    from benchmark.cli.data_preview import preview
    from benchmark.cli.data_prune import prune

    if (options.root is None) != (options.verb == "prune"):
        wrong = "looks through --stores, and takes no folder" if options.root else "needs a folder, or a .toml"
        raise SettingsError(f"landshift data {options.verb} {wrong}")
    verbs = {
        "describe": describe,
        "preview": lambda each: preview(each, _catalog(each)),
        "check": _check,
        "stats": _stats,
        "prune": prune,
    }
    return verbs[options.verb](options)


def _catalog(options: argparse.Namespace) -> "Catalog":
    """Return the catalog of what the user names: a description, a data set by its name, or a folder of one."""
    from benchmark.data.datasets import open_catalog

    if _is_named(options):
        return open_catalog(str(options.root))
    here = "world" if (options.root / "world.json").is_file() else "flair1"
    return open_catalog(options.dataset or here, options.root)


def _is_named(options: argparse.Namespace) -> bool:
    from benchmark.data.datasets import DATASETS

    return str(options.root) in DATASETS and not options.root.exists() and not options.dataset


def _check_own(options: argparse.Namespace) -> int:
    """Read every image and mask; with --names-only the description, the names and the headers alone."""
    from benchmark.common.console import FileBar, print_line, print_rows
    from benchmark.data.reading_check import faults_of

    catalog = _catalog(options)
    _check_writable(options.output)
    faults: dict[str, list[str]] = {domain: [] for domain in sorted(catalog.domain.unique())}
    if not options.names_only:
        with FileBar("reading files") as bar:
            faults = faults_of(catalog, bar)
    counts = catalog.domain.value_counts()
    masked = catalog.domain[catalog.patches["mask"] != ""].value_counts()
    rows = [(name, str(counts[name]), str(masked.get(name, 0)), str(len(of))) for name, of in faults.items()]
    print_rows(("domain", "patches", "with a mask", "faults"), rows)
    messages = [(name, message) for name, of in faults.items() for message in of]
    for _, message in messages[:SHOWN]:
        print_line(message)
    if options.output:
        _write(options.output, [("domain", "fault"), *messages])
    more = f", of which {SHOWN} are shown; --output FILE has all" if len(messages) > SHOWN else ""
    names = " (by names and headers; no pixel was read)" if options.names_only else ""
    print_line(f"{len(messages)} files cannot be used{more}" if messages else f"all files can be used{names}")
    return 1 if messages else 0


def _check(options: argparse.Namespace) -> int:
    from benchmark.common.console import FileBar, print_rows
    from benchmark.data.flair import TEST_1, TEST_2, TRAINING
    from benchmark.data.flair_check import check_flair
    from benchmark.data.flairhub import CONTENTS
    from benchmark.data.flairhub_check import check_flairhub

    if options.root.suffix == ".toml" or str(options.dataset).endswith(".toml") or _is_named(options):
        return _check_own(options)
    tests = {"flair1": TEST_1, "flair2": TEST_2}
    dataset = options.dataset or "flair1"
    if dataset not in (*tests, *CONTENTS):
        known = ", ".join((*tests, *CONTENTS))
        raise SettingsError(f"landshift data check knows what {known} should hold, not {dataset!r}")
    if not options.root.is_dir():
        raise SettingsError(f"there is no folder {options.root}")
    _check_writable(options.output)
    with FileBar("reading patches") as bar:
        if dataset in CONTENTS:
            check = check_flairhub(options.root, dataset, bar, names_only=options.names_only)
        else:
            check = check_flair(options.root, (TRAINING, tests[dataset]), bar, names_only=options.names_only)
    rows = [
        (
            domain.domain,
            str(domain.patches),
            str(int(domain.expected)) if domain.expected == domain.expected else "?",
            str(sum(map(len, domain.faults.values()))),
        )
        for domain in check.domains
    ]
    print_rows(("domain", "patches", "published", "faults"), rows)
    for name, present, expected in check.groups:
        print(f"together: {name}: {present} patches of {expected}")
    for note in check.notes:
        print(note)
    named = {kind: list(names) for kind, names in check.faults.items()}
    for domain in check.domains:
        for kind, names in domain.faults.items():
            named.setdefault(kind, []).extend(names)
    for kind, names in sorted(named.items()):
        print(f"{kind}: {len(names)}, for example {names[0]}")
    if options.output:
        missing = [(f"{count} missing patches", where) for where, count in check.missing().items()]
        missing += [("no metadata", path) for path in check.undated]
        missing += [("dated in another year than its folder", name) for name in check.misdated]
        faults = [(kind, name) for kind, names in sorted(named.items()) for name in names]
        _write(options.output, [("fault", "where"), *missing, *faults])
    good, verdict = check.verdict()
    print(f"{verdict} (by the names; no file was opened)" if options.names_only else verdict)
    return 0 if good else 1


def _stats(options: argparse.Namespace) -> int:
    """Print the statistics of the store, which keeps them from the one decoding of all files."""
    from benchmark.common.console import FileBar, console, print_rows
    from benchmark.data.statistics import domain_statistics
    from benchmark.data.store import open_store

    catalog = _catalog(options)
    _check_writable(options.output)
    with FileBar("decoding files") as bar:
        store = open_store(catalog, options.stores, bar)
    rows = domain_statistics(catalog, store, QUANTILES)

    def show(value: float, eight_bits: str) -> str:
        return f"{value:{eight_bits if store.kind == 'uint8' else '.5g'}}"

    marks = [f"{100 * quantile:g} %" for quantile in QUANTILES]
    bands = [
        (row.domain, str(row.patches), band, show(mean, ".1f"), show(std, ".1f"), *(show(q, "d") for q in quantiles))
        for row in rows
        for band, mean, std, quantiles in zip(catalog.bands, row.mean, row.std, row.quantiles, strict=True)
    ]
    print_rows(("domain", "patches", "band", "mean", "std", *marks), bands)
    if without := [f"{row.domain} {100 * row.no_data:.2f}" for row in rows if row.no_data]:
        print(f"% of the pixels without data, which are ignored: {', '.join(without)}")
    names = catalog.classes.names
    shown, title = rows, "% of labelled pixels"
    if max(map(len, (title, *names))) + sum(max(len(row.domain), 6) + 3 for row in rows) > console.width:
        shown = rows[-1:]
        print(f"the classes of all domains together; --output FILE has those of each of the {len(rows) - 1}")
    classes = [(name, *(f"{100 * row.class_shares[index]:.2f}" for row in shown)) for index, name in enumerate(names)]
    print_rows((title, *(row.domain for row in shown)), classes)
    if options.output:
        header = ["domain", "patches", *(f"{name} %" for name in names)]
        for band in catalog.bands:
            header += [f"{band} {figure}" for figure in ("mean", "std", *marks)]
        body: list[tuple[Any, ...]] = []
        for row in rows:
            figures = [
                value
                for mean, std, quantiles in zip(row.mean, row.std, row.quantiles, strict=True)
                for value in (show(mean, ".3f"), show(std, ".3f"), *(show(q, "d") for q in quantiles))
            ]
            shares = (f"{100 * share:.3f}" for share in row.class_shares)
            body.append((row.domain, row.patches, *shares, *figures))
        _write(options.output, [tuple(header), *body])
    return 0


def _check_writable(path: Path | None) -> None:
    """Check that the report can be written, before hours of reading."""
    if not path:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error


def _write(path: Path, rows: list[tuple[Any, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    print(f"written: {path}")
