"""`landshift data` and `landshift protocols` in this process: what they print, write and refuse, and how they end."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rich.console import Console

from benchmark.cli.app import main
from benchmark.common import console as terminal
from benchmark.data import flair_check
from benchmark.data.statistics import domain_statistics
from methods.registry import available
from protocols.files import load, names

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
REPOSITORY = Path(__file__).resolve().parents[3]
DOMAINS = ("D901_2019", "D901_2020", "D902_2019", "D902_2020")
TABLE = (
    ["place", "time", "patches", "first_id", "last_id"],
    [[*name.split("_"), "4", str(4 * index + 1), str(4 * index + 4)] for index, name in enumerate(DOMAINS)],
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """In a folder without data."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def copy(world, tmp_path):
    """The tiny world, to be damaged."""
    return Path(shutil.copytree(world, tmp_path / "copy"))


@pytest.fixture
def published(monkeypatch):
    """The tiny world is what was published."""
    monkeypatch.setattr(flair_check, "SIZE", 32)
    monkeypatch.setattr(flair_check, "read_table", lambda path: TABLE)


@pytest.fixture
def tiny(protocol_file, tmp_path):
    """A protocol of the tiny world, to be pinned."""
    return Path(shutil.copy(protocol_file, tmp_path / "tiny.toml"))


def _remove_patch(root):
    for path in root.rglob("???_000001.tif"):
        path.unlink()


def _words(text):
    """The cells of a printed table, row by row."""
    return [line.replace("│", " ").split() for line in text.splitlines()]


# --- landshift data check


def test_a_whole_copy_passes(world, published, capsys):
    assert main(["data", "check", str(world)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["D902_2020", "4", "4", "0"] in _words("\n".join(lines))
    assert lines[-1] == "16 patches, as published"


def test_a_check_by_names_says_so(copy, published, capsys):
    next(copy.rglob("IMG_*.tif")).write_bytes(b"no image")
    assert main(["data", "check", str(copy), "--names-only"]) == 0
    assert capsys.readouterr().out.endswith("16 patches, as published (by the names; no file was opened)\n")


def test_faults_end_with_1_and_are_all_in_the_csv(copy, published, tmp_path, capsys):
    masks, images = (sorted(copy.rglob(f"{kind}_*.tif")) for kind in ("MSK", "IMG"))
    masks[0].unlink()
    for path in images[5:7]:
        path.write_bytes(b"no image")
    output = tmp_path / "new" / "faults.csv"
    assert main(["data", "check", str(copy), "--output", str(output)]) == 1
    text = capsys.readouterr().out
    assert ["D901_2019", "4", "4", "1"] in _words(text) and ["D901_2020", "4", "4", "2"] in _words(text)
    assert text.splitlines()[-1].startswith("16 patches, not as published: 1 missing masks, 2 unreadable files. ")
    header, *faults = list(csv.reader(output.open(newline="")))
    assert header == ["fault", "where"]
    assert [kind for kind, _ in faults] == ["missing masks", "unreadable files", "unreadable files"]
    for (_, where), path in zip(faults, [images[0], *images[5:7]], strict=True):
        assert where.startswith(str(path))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--dataset", "dubai"],
            "data check knows what flair1, flair2, flairhub, flairhub-height, flairhub-lpis, flairhub-lpis-height "
            "should hold, not 'dubai'",
        ),
        (["--output", "."], ". cannot be written: Is a directory"),
    ],
)
def test_a_check_refuses_in_one_line(world, more, message, capsys):
    assert main(["data", "check", str(world), *more]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "check", "/nowhere"], "there is no folder /nowhere"),
        (["data", "check", "."], "no FLAIR images here"),
        (["data", "stats", "/nowhere", "--dataset", "world"], "there is no synthetic world in /nowhere"),
        (["data", "check", "mine.toml"], "mine.toml: no readable TOML"),
        (["data", "stats", ".", "--dataset", "wolrd"], "dataset 'wolrd' is unknown"),
        (["protocols", "verify", "--data", "."], "with --data, say which protocol or data set it is"),
        (["protocols", "verify", "x"], "there is no protocol 'x'"),
        (["protocols", "pin"], "needs a name"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


# --- landshift data stats


def test_statistics_are_printed_and_written(world, catalog, store, tmp_path, capsys):
    stats = ["data", "stats", str(world), "--dataset", "world", "--stores", str(tmp_path / "stores")]
    assert main([*stats, "--output", str(tmp_path / "stats.csv")]) == 0
    text = capsys.readouterr().out
    rows = {row["domain"]: row for row in csv.DictReader((tmp_path / "stats.csv").open(newline=""))}
    expected = domain_statistics(catalog, store, (0.02, 0.5, 0.98))
    assert list(rows) == [row.domain for row in expected] and list(rows)[-1] == "all"
    for row in expected:
        written, median = rows[row.domain], row.quantiles[3][1]
        assert (written["patches"], written["nir 50 %"]) == (str(row.patches), str(median))
        assert written["nir mean"] == f"{row.mean[3]:.3f}" and written["nir std"] == f"{row.std[3]:.3f}"
        assert written["water %"] == f"{100 * row.class_shares[4]:.3f}"
        figures = [f"{row.mean[3]:.1f}", f"{row.std[3]:.1f}", *map(str, row.quantiles[3])]
        assert [row.domain, str(row.patches), "nir", *figures] in _words(text)
    assert ["water", *(f"{100 * row.class_shares[4]:.2f}" for row in expected)] in _words(text)
    assert main(stats) == 0
    assert "written" not in capsys.readouterr().out


def test_classes_of_more_domains_than_fit_are_summed_and_the_rest_is_named(world, stores, monkeypatch, capsys):
    """A cell that is cut off would be no number."""
    monkeypatch.setattr(terminal, "console", Console(width=75))
    assert main(["data", "stats", str(world), "--dataset", "world", "--stores", str(stores)]) == 0
    text = capsys.readouterr().out
    assert "--output FILE has those of each of the 4" in text and "…" not in text
    water = [row for row in _words(text) if row[:1] == ["water"]]
    assert len(water) == 1 and len(water[0]) == 2


# --- landshift methods


def test_the_committed_pages_are_what_the_methods_say(tmp_path, capsys):
    pages, committed = tmp_path / "pages", REPOSITORY / "docs" / "methods"
    shutil.copytree(committed, pages, ignore=shutil.ignore_patterns("*.md"))
    assert main(["methods", "--document", str(pages)]) == 0
    written = {path.name: path.read_text(encoding="utf-8") for path in pages.iterdir()}
    assert written == {path.name: path.read_text(encoding="utf-8") for path in committed.iterdir()}, (
        "generated again by: make docs"
    )
    assert set(written) == {"README.md", "costs.json", "references.json", *(f"{name}.md" for name in available())}
    assert "| `weight` | 0.001 | 1e-05 to 0.1, log | 0.0 |" in written["entropy-minimization.md"]


# --- landshift protocols


def test_without_the_data_a_protocol_is_shown_as_it_was_pinned(capsys):
    assert main(["protocols", "show", "world-leave-places-out"]) == 0
    text = capsys.readouterr().out
    assert "confounds: Nothing" in text and "patches in each part, when it was pinned" in text
    assert ["D901", "648", "216", "144", "144"] in _words(text)
    assert "smallest distance between a source and a target patch: 329157.9, in the unit" in text


def test_without_data_or_pin_the_way_to_sizes_is_told(tiny, capsys):
    assert main(["protocols", "show", str(tiny)]) == 0
    text = capsys.readouterr().out
    assert "fingerprint: not pinned" in text and "with --data, or the data set in data/world, the sizes" in text


def test_parts_that_show_the_same_ground_are_named_before_anything_is_run(tmp_path, capsys):
    """Four images a year, each half on its neighbour's ground, each a zone of its own."""
    for year in (2019, 2020):
        for number in range(4):
            place = rasterio.transform.from_origin(500_000 + 4 * number, 5_000_000, 1, 1)
            pixels = np.full((1, 8, 8), 10 * number + year % 7, np.uint8)
            for kind in ("image", "mask"):
                profile = {"width": 8, "height": 8, "count": 1, "dtype": "uint8", "crs": "EPSG:32631"}
                with rasterio.open(f"{kind}_{year}_{number}.tif", "w", driver="GTiff", transform=place, **profile) as f:
                    f.write(pixels if kind == "image" else pixels % 2)
    Path("town.toml").write_text(
        'name = "town"\nbands = ["red"]\npatch_size = 8\nimage = "image_{year}_{number}.tif"\n'
        'mask = "mask_{year}_{number}.tif"\nplace = "town"\ntime = "{year}"\n'
        'classes = [{name = "a", color = "#000001", value = 0}, {name = "b", color = "#000002", value = 1}]\n'
    )
    Path("years.toml").write_text(
        'name = "years"\nversion = 1\ndataset = "town.toml"\ntitle = "t"\ndescription = "d"\nconfounds = "c"\n'
        'hold_out = ["time"]\n[split]\nvalidation_share = 0.5\nadapt_share = 0.5\n'
    )
    assert main(["protocols", "show", "years.toml"]) == 0
    assert "landshift run will refuse it: years-v1, fold 2019: " in (shown := capsys.readouterr().out)
    assert "show the same ground (up to 100% of a patch overlaps)" in shown
    assert main(["protocols", "verify", "years.toml"]) == 0
    assert "years.toml: landshift run will refuse it: years-v1, fold 2019" in capsys.readouterr().out


def test_with_the_data_its_folds_are_shown(tiny, world, copy, capsys):
    assert main(["protocols", "show", str(tiny), "--data", str(world)]) == 0
    text = capsys.readouterr().out
    # Times share all 8 zones, half of which go to each side and there by 0.8 to 0.2 and by halves.
    assert "patches in each part, in the data found" in text and ["2019", "2", "2", "2", "2"] in _words(text)
    Path("data").mkdir()
    copy.rename("data/world")
    assert main(["protocols", "show", str(tiny)]) == 0
    assert capsys.readouterr().out == text


def test_a_protocol_is_pinned_and_verified(tiny, world, copy, capsys):
    assert main(["protocols", "verify", str(tiny), "--data", str(world)]) == 0
    assert f"{tiny}: not pinned, is " in capsys.readouterr().out
    assert main(["protocols", "pin", str(tiny), "--data", str(world)]) == 0
    pinned = load(str(tiny)).fingerprint
    assert capsys.readouterr().out == f"{tiny}: fingerprint {pinned}\n" and len(pinned) == 64
    assert main(["protocols", "verify", str(tiny), "--data", str(world)]) == 0
    summary = "1 as pinned, 0 cut but with nothing pinned to compare, 0 do not fit their data\n"
    assert capsys.readouterr().out == f"{tiny}: as pinned {pinned}\n{summary}"
    _remove_patch(copy)
    assert main(["protocols", "verify", str(tiny), "--data", str(copy)]) == 1
    text = capsys.readouterr().out
    assert f"{tiny}: DOES NOT FIT: tiny-v1: this catalog gives other folds" in text
    assert text.endswith(", 1 do not fit their data\n")


def test_a_data_set_s_name_stands_for_all_its_protocols(world, capsys):
    assert main(["protocols", "verify", "world", "--data", str(world)]) == 1
    *told, verdict = capsys.readouterr().out.splitlines()
    mine = [name for name in names() if load(name).dataset == "world"]
    assert [line.partition(": ")[0] for line in told] == mine and len(mine) == 3
    assert all(": DOES NOT FIT: " in line for line in told) and verdict.endswith(", 3 do not fit their data")


def test_protocols_without_data_at_hand_are_not_checked(capsys):
    assert main(["protocols", "verify"]) == 0
    *told, verdict = capsys.readouterr().out.splitlines()
    assert [line.partition(": not checked, the data set ")[0] for line in told] == names()
    assert verdict == "nothing was checked: no data found"
    assert main(["protocols", "verify", "world-leave-times-out"]) == 1


def test_data_that_cannot_be_read_is_wrong_and_the_others_are_still_checked(capsys):
    Path("data/world").mkdir(parents=True)
    assert main(["protocols", "verify"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(names()) + 1 and told[-1].endswith(" 3 do not fit their data")
    assert "world-leave-times-out: DOES NOT FIT: there is no synthetic world in data/world" in told[-2]


def test_the_committed_page_is_what_the_protocols_say(tmp_path, capsys):
    assert main(["protocols", "document"]) == 0
    page = capsys.readouterr().out
    assert page == (REPOSITORY / "docs" / "protocols.md").read_text(encoding="utf-8"), (
        "made anew by: landshift protocols document --output docs/protocols.md"
    )
    assert main(["protocols", "document", "world-leave-times-out"]) == 1
    assert "of all; it takes no name" in capsys.readouterr().err
    for name in names():
        assert f"\n## {name}, version {load(name).version}\n" in page
    assert "| D901 | 648 | 216 | 144 | 144 |" in page
    assert main(["protocols", "document", "--output", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page and capsys.readouterr().out == ""


# --- --partial


def test_a_part_of_the_data_gives_another_protocol_and_is_never_pinned(tiny, world, copy, capsys):
    assert main(["protocols", "pin", str(tiny), "--data", str(world)]) == 0
    _remove_patch(copy)
    part = [str(tiny), "--data", str(copy), "--partial"]
    capsys.readouterr()
    assert main(["protocols", "show", *part]) == 0
    text = capsys.readouterr().out
    assert text.startswith("tiny-v1-partial: A tiny split") and "fingerprint: not pinned" in text
    assert ["2020", "2", "1", "3", "2"] in _words(text)
    assert main(["protocols", "show", str(tiny), "--partial"]) == 0
    text = capsys.readouterr().out
    assert "patches in each part" not in text  # what was pinned is the whole's
    assert main(["protocols", "verify", *part]) == 0
    assert f"{tiny}: not pinned, is partial-" in capsys.readouterr().out
    before = tiny.read_text()
    assert main(["protocols", "pin", *part]) == 1
    assert "never on a part (--partial)" in capsys.readouterr().err and tiny.read_text() == before


def test_runs_on_a_part_are_never_compared_with_the_whole(tiny, world, copy, tmp_path, capsys):
    assert main(["protocols", "pin", str(tiny), "--data", str(world)]) == 0
    _remove_patch(copy)
    results = ["--results", str(tmp_path / "results")]
    small = ["--steps", "1", "--checkpoints", "1", "--batch-size", "2", "--accelerator", "cpu", "--workers", "1"]
    run = ["run", str(tiny), "--data", str(copy), "--method", "source-only", "--folds", "2019", *small, *results]
    run += ["--stores", str(tmp_path / "stores")]
    assert main(run) == 1
    assert "this catalog gives other folds" in capsys.readouterr().err
    assert main([*run, "--partial"]) == 0
    assert "tiny-v1-partial on world: 1 runs" in capsys.readouterr().out
    assert main(["report", str(tiny), *results, "--partial"]) == 0
    assert "folds partial-" in capsys.readouterr().out
    assert main(["report", str(tiny), *results]) == 1
    assert "nothing has been run under this protocol yet" in capsys.readouterr().err
    assert main(["report", str(tiny), "--results", str(tmp_path / "nothing")]) == 1
    assert not (tmp_path / "nothing").exists()
