"""``landshift data describe``: from a folder to a description and protocols that can be run."""

import numpy as np
import pytest
import rasterio
from PIL import Image

from benchmark.cli.app import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for town in ("bad_ems", "ulm"):
        for year in (2016, 2018):
            for number in range(4):
                for kind, array in (
                    ("images", rng.integers(0, 255, (32, 32, 3))),
                    ("masks", rng.integers(0, 3, (32, 32))),
                ):
                    (tmp_path / "my towns" / kind).mkdir(parents=True, exist_ok=True)
                    path = tmp_path / "my towns" / kind / f"{town}_{year}_{number}.png"
                    Image.fromarray(array.astype(np.uint8)).save(path)
    return tmp_path


def test_description_and_protocols_can_be_used_as_they_are(folder, capsys):
    assert main(["data", "describe", "my towns", "-o", "mine.toml"]) == 0
    said = capsys.readouterr().out
    assert "written: mine.toml, mine-leave-places-out.toml, mine-leave-times-out.toml" in said
    assert "landshift run mine-leave-places-out.toml --steps 2000 --method source-only" in said
    for column, folds in (("places", ("bad_ems", "ulm")), ("times", ("2016", "2018"))):
        assert main(["protocols", "show", f"mine-leave-{column}-out.toml"]) == 0
        said = capsys.readouterr().out
        assert all(fold in said for fold in folds) and "beach" not in said
    assert 'root = "my towns"' in (folder / "mine.toml").read_text()


def test_nothing_is_overwritten(folder, capsys):
    (folder / "mine-leave-times-out.toml").write_text("mine")
    assert main(["data", "describe", "my towns", "-o", "mine.toml"]) == 1
    assert "mine-leave-times-out.toml is there already; remove it, or name another file" in capsys.readouterr().err
    assert not (folder / "mine.toml").exists()


def test_the_default_name_is_the_folders(folder):
    assert main(["data", "describe", "my towns"]) == 0
    assert (folder / "my-towns.toml").is_file()


def test_overlaps_and_protocols_that_cannot_be_cut_are_told(folder, capsys):
    for number, town in enumerate(("ulm", "bonn")):
        array = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(3, 64, 64)
        where = rasterio.transform.from_origin(1000 + 32 * number, 0, 1, 1)
        with rasterio.open(
            folder / f"{town}.tif", "w", driver="GTiff", count=3, height=64, width=64, dtype="uint8", crs="EPSG:32632",
            transform=where,
        ) as file:  # fmt: skip
            file.write(array)
    (folder / "scenes").mkdir()
    for path in folder.glob("*.tif"):
        path.rename(folder / "scenes" / path.name)
    assert main(["data", "describe", "scenes"]) == 0
    said = capsys.readouterr().out
    assert "1 pairs of patches of two zones overlap, such as bonn/r0_c0 and ulm/r0_c0 by 50%" in said
    assert "look: scenes-leave-places-out.toml: scenes-leave-places-out-v1: no fold is left" in said
    assert "landshift protocols show scenes-leave-places-out.toml, once" in said and "landshift run" not in said
    text = (folder / "scenes.toml").read_text()
    assert text.count("# look: ") == said.count("look: ")


def test_one_large_image_a_town_is_cut_into_blocks(folder, capsys):
    rng = np.random.default_rng(0)
    for number, town in enumerate(("arles", "nîmes", "uzès")):
        where = rasterio.transform.from_origin(600_000 + 9000 * number, 4_900_000, 0.5, 0.5)
        for kind, count, high in (("", 3, 255), ("_lulc", 1, 3)):
            path = folder / "scenes" / f"{town}{kind}.tif"
            path.parent.mkdir(exist_ok=True)
            with rasterio.open(
                path, "w", driver="GTiff", count=count, height=512, width=512, dtype="uint8", crs="EPSG:32631",
                transform=where,
            ) as file:  # fmt: skip
                file.write(rng.integers(0, high, (count, 512, 512)).astype(np.uint8))
    assert main(["data", "describe", "scenes", "-o", "my scenes.toml"]) == 0
    said = capsys.readouterr().out
    assert "landshift run 'my scenes-leave-places-out.toml' --steps 2000 --method" in said
    assert "look: scenes-leave" not in said
    assert 'zone = "block:64 m"' in (folder / "my scenes.toml").read_text()
    assert main(["protocols", "show", "my scenes-leave-places-out.toml"]) == 0
    assert "nîmes" in capsys.readouterr().out


def test_known_layouts_need_no_description(folder, world, capsys):
    assert main(["data", "describe", str(world)]) == 0
    assert "is a synthetic world: it needs no description" in capsys.readouterr().out
    (folder / "D004_2021" / "Z1_AU").mkdir(parents=True)
    (folder / "D004_2021" / "Z1_AU" / "IMG_000826.tif").touch()
    assert main(["data", "describe", "."]) == 0
    assert "is in FLAIR's layout (1 images) and needs no description: its data set is flair1" in capsys.readouterr().out
    assert not list(folder.glob("*.toml"))


@pytest.mark.parametrize(
    ("words", "said"),
    [(["nowhere"], "there is no folder nowhere"), (["my towns", "-o", "mine.txt"], "a description is a .toml file")],
)
def test_wrong_words_are_told(folder, capsys, words, said):
    assert main(["data", "describe", *words]) == 1
    assert said in capsys.readouterr().err


def test_a_check_of_a_description_reads_every_file_and_says_what_is_wrong(folder, capsys):
    assert main(["data", "describe", "my towns", "-o", "mine.toml"]) == 0
    assert main(["data", "check", "mine.toml"]) == 0
    assert "all files can be used\n" in capsys.readouterr().out
    Image.fromarray(np.full((32, 32), 9, np.uint8)).save(folder / "my towns" / "masks" / "ulm_2016_1.png")
    assert main(["data", "check", "mine.toml", "--names-only"]) == 0
    assert "no pixel was read" in capsys.readouterr().out
    assert main(["data", "check", "mine.toml", "-o", "faults.csv"]) == 1
    said = capsys.readouterr().out
    assert "ulm_2016_1.png: 100.000% of the pixels are no class" in said and "1 files cannot be used" in said
    assert (folder / "faults.csv").read_text().count("ulm@2016,") == 1
