"""The preview of a data set: which patches it shows, and that all of a picture is there."""

import numpy as np
import pytest
from PIL import Image

from benchmark.cli.app import main
from benchmark.data import preview
from benchmark.data.datasets import open_catalog
from benchmark.data.preview import draw_preview, sample_domains


def test_patches_of_each_domain_show_its_classes(catalog):
    samples = sample_domains(catalog)
    assert [sample.domain for sample in samples] == sorted(set(catalog.domain))
    for sample in samples:
        assert len(sample.rows) == len(sample.images) == len(sample.masks) <= preview.SHOWN
        assert (catalog.domain[catalog.patches["id"].isin(sample.rows["id"])] == sample.domain).all()


def test_what_is_read_is_bounded(catalog, monkeypatch):
    monkeypatch.setattr(preview, "CANDIDATES", 2)
    monkeypatch.setattr(preview, "MOST_DOMAINS", 3)
    read = []
    monkeypatch.setattr(
        preview, "read_patches", lambda c, rows, real=preview.read_patches: (read.append(len(rows)), real(c, rows))[1]
    )
    assert len(sample_domains(catalog)) == 3 and sum(read) == 6


@pytest.mark.parametrize("known", [True, False])
def test_the_picture_has_a_row_a_domain_and_the_classes_colours(catalog, known):
    if not known:
        catalog = type(catalog)(
            catalog.name, catalog.classes, catalog.bands, catalog.patch_size, catalog.patches.assign(x=np.nan)
        )
    samples = sample_domains(catalog)[:2]
    picture = draw_preview(catalog, samples)
    one = draw_preview(catalog, samples[:1])
    assert picture.width == one.width and picture.height - one.height > preview.SIDE
    colors = {color for _, color in picture.getcolors(1 << 24)}
    assert {tuple(color) for color in catalog.classes.palette()[:-1].tolist()} <= colors


def test_the_command_takes_a_description_and_says_which_classes_are_not_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for town in "ab":
        for number in range(3):
            for kind in ("images", "masks"):
                (tmp_path / "d" / town / kind).mkdir(parents=True, exist_ok=True)
                array = np.full((32, 32) + (3,) * (kind == "images"), number % 2, np.uint8)
                Image.fromarray(array).save(tmp_path / "d" / town / kind / f"{number}.png")
    assert main(["data", "describe", "d", "-o", "mine.toml"]) == 0
    with (tmp_path / "mine.toml").open("a") as file:
        file.write('[[classes]]\nname = "moor"\ncolor = "#123456"\nvalue = 9\n')
    capsys.readouterr()
    assert main(["data", "preview", "mine.toml", "-o", "out/p.png"]) == 0
    assert capsys.readouterr().out == "written: out/p.png: 6 patches of 2 domains\nnone of them shows: moor\n"
    assert (
        Image.open(tmp_path / "out" / "p.png").width == 2 * preview.SHOWN * (preview.SIDE + preview.GAP) + preview.GAP
    )
    assert main(["data", "preview", "mine.toml", "-o", "p.jpg"]) == 1
    assert open_catalog("mine.toml").classes.names[-1] == "moor"
