"""Maps of a finished run: right to the pixel, and the same bytes however often they are interrupted."""

import json
import shutil
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from filelock import FileLock

from benchmark.common.errors import DataError, SettingsError
from benchmark.maps import predict, windows, workers
from benchmark.maps.blocks import BlockFolder, Predictor
from benchmark.maps.map_file import CLASSES, CONFIDENCE, PROBABILITIES, read_map
from benchmark.maps.predict import make_map, make_maps
from benchmark.maps.trained import load_run
from benchmark.maps.workers import MapOptions

CPU = MapOptions(accelerator="cpu")
TEST_TIME = "tent"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(windows, "BLOCK", 128)
    monkeypatch.setattr(windows, "TILE", 128)
    monkeypatch.setattr(predict, "LARGEST_MARGIN", 96)  # which is measured the faster


@pytest.fixture
def make(finished, tmp_path):
    """Return a function that makes the map of an image, and returns the folder."""

    def make(image: Path, method: str = "source-only", folder: str = "maps", **changes: object) -> Path:
        make_maps(finished.results, finished.runs[method], {"town": image}, tmp_path / folder, replace(CPU, **changes))
        return tmp_path / folder

    return make


def pixels(folder: Path, ending: str = CLASSES) -> np.ndarray:
    with rasterio.open(folder / f"town{ending}") as file:
        return file.read() if ending == PROBABILITIES else file.read(1)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix == ".tif"}


def test_a_patch_has_the_classes_that_the_run_was_scored_with(run, make, write_image):
    image = write_image(32, 32)
    with rasterio.open(image) as file, torch.no_grad():
        probabilities = run.predict(torch.from_numpy(file.read())[None].float()).softmax(1)[0]
    folder = make(image, probabilities=True)
    assert (pixels(folder) == run.values[probabilities.argmax(0).numpy()]).all()
    assert (pixels(folder, CONFIDENCE) == (100 * probabilities.amax(0)).round().numpy()).all()
    assert np.abs(pixels(folder, PROBABILITIES) - 100 * probabilities.numpy()).max() <= 0.5001


def test_a_map_says_what_it_is_and_where(run, make, write_image):
    image = write_image(40, 70)
    with rasterio.open(image, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2021:06:30 10:00:00")
        place = file.transform
    made = read_map(make(image) / "town.classes.tif")
    assert (made.height, made.width, made.transform, made.crs.to_epsg()) == (40, 70, place, 2154)
    assert made.legend == run.legend and made.confidence
    facts = made.facts
    assert facts["run"] == run.record.id and facts["method"] == "source-only" and facts["image_date"] == "2021-06-30"
    assert facts["training_domains"].startswith("D901, D902 (2019-") and facts["no_data_share"] == "0.0000"
    assert "resampled_from" not in facts and "adapted_on_the_way" not in facts


@pytest.mark.parametrize("size", [(1, 1), (33, 1), (35, 50), (129, 140), (300, 90)])
def test_images_of_any_size_are_covered(make, write_image, run, size):
    folder = make(write_image(*size))
    assert pixels(folder).shape == size and set(np.unique(pixels(folder))) <= set(run.values.tolist())
    assert pixels(folder, CONFIDENCE).min() >= 1 and pixels(folder, CONFIDENCE).max() <= 100


@pytest.mark.parametrize("other", [{"window": 128}, {"window": 224, "margin": 48}, {"margin": 80}])
def test_two_tilings_agree(make, write_image, other):
    image = write_image(300, 270)
    one, two = make(image, folder="one"), make(image, folder="two", **other)
    assert (pixels(one) == pixels(two)).mean() > 0.999
    difference = np.abs(pixels(one, CONFIDENCE).astype(int) - pixels(two, CONFIDENCE))
    assert difference.max() <= 1


def test_blended_windows_agree_with_others(make, write_image, monkeypatch):
    image = write_image(300, 270)
    one = make(image, folder="one")
    monkeypatch.setattr(predict, "_margin", lambda run: None)
    two = make(image, folder="two", window=128)
    assert "blended" in read_map(two / "town.classes.tif").facts["tiling"]
    assert (pixels(one) == pixels(two)).mean() > 0.97  # at the edges of windows the network sees less


def test_no_data_stays_no_data_and_does_not_change_what_is_far_from_it(make, write_image):
    image = write_image(300, 300)
    with rasterio.open(image, "r+") as file:
        values = np.maximum(file.read(), 1)
        file.write(values)
    whole = pixels(make(image, folder="whole"))
    with rasterio.open(image, "r+") as file:
        values[:, 100:150, 50:] = 0
        file.nodata = 0
        file.write(values)
    folder = make(image, folder="holes")
    missing = pixels(folder) == 255
    assert missing[100:150, 50:].all() and missing.sum() == 50 * 250
    assert ((pixels(folder, CONFIDENCE) == 255) == missing).all()
    assert (pixels(folder)[200:] == whole[200:]).mean() > 0.99
    assert read_map(folder / "town.classes.tif").facts["no_data_share"] == f"{50 * 250 / 300**2:.4f}"


def test_blocks_that_a_sparse_file_lacks_are_not_predicted(make, write_image, monkeypatch):
    image = write_image(256, 128, tiled=True, blockxsize=128, blockysize=128)
    with rasterio.open(image) as file:
        profile, values = file.profile, file.read()
    with rasterio.open(image, "w", **profile, sparse_ok=True) as file:
        file.write(values[:, :128], window=rasterio.windows.Window(0, 0, 128, 128))
    seen = []
    logits = Predictor.logits
    monkeypatch.setattr(Predictor, "logits", lambda self, images: seen.append(len(images)) or logits(self, images))
    made = pixels(make(image))
    assert (made[:128] < 255).all() and (made[128:] == 255).all()
    assert sum(seen) == 1


def test_an_image_without_any_data_is_refused(make, write_image):
    image = write_image(64, 64)
    with rasterio.open(image, "r+") as file:
        file.nodata = 0
        file.write(np.zeros((5, 64, 64), np.uint8))
    with pytest.raises(DataError, match="no pixel of it has data"):
        make(image)


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("method", "kills"), [("source-only", [1, 2]), (TEST_TIME, [2, 3, 2])])
def test_a_map_that_was_interrupted_has_the_same_bytes(make, write_image, monkeypatch, method, kills):
    monkeypatch.setattr(workers, "SAVE_EVERY", 0.0)
    monkeypatch.setattr("benchmark.training.savepoints.SHARE", 1e9)
    image = write_image(260, 260)  # nine blocks
    given = {"window": 80, "margin": 8}
    expected = content(make(image, method, "whole", **given))
    write, written = BlockFolder.write, []
    for blocks in kills:

        def until(self, box, layers, last=len(written) + blocks):  # noqa: B008
            if len(written) == last:
                raise Killed
            write(self, box, layers)
            written.append(box)

        monkeypatch.setattr(BlockFolder, "write", until)
        with pytest.raises(Killed):
            make(image, method, **given)
    monkeypatch.setattr(BlockFolder, "write", lambda *block: written.append(block[1]) or write(*block))
    folder = make(image, method, **given)
    assert content(folder) == expected
    assert not (folder / "town.part").exists()
    if method == "source-only":
        assert len(written) == len(set(written)) == 9
    else:
        assert len(written) < 9 + sum(kills)  # it went on from savepoints
        assert read_map(folder / "town.classes.tif").facts["adapted_on_the_way"]


def test_two_commands_do_not_make_one_map(make, write_image, tmp_path):
    image = write_image(40, 40)
    (tmp_path / "maps").mkdir()
    with (
        FileLock(tmp_path / "maps" / "town.part.lock"),
        pytest.raises(SettingsError, match="another command makes this map"),
    ):
        make(image)
    assert not [path.name for path in make(image).iterdir() if path.suffix == ".lock"]


def test_each_image_of_a_test_time_method_begins_with_the_run(finished, write_image, tmp_path):
    images = {name: write_image(64, 64, name) for name in ("one", "two")}
    given = replace(CPU, window=32, margin=4)
    make_maps(finished.results, finished.runs[TEST_TIME], images, tmp_path / "maps", given)
    one, two = (rasterio.open(tmp_path / "maps" / f"{name}.confidence.tif").read() for name in images)
    assert (one == two).all()


def test_a_test_time_method_learns_from_what_it_has_predicted(finished, write_image, tmp_path):
    image = write_image(64, 256)
    run = load_run(finished.runs[TEST_TIME], "cpu")
    before = {name: value.clone() for name, value in run.method.named_parameters()}
    (tmp_path / "maps").mkdir()
    make_map(finished.results, run, image, "town", tmp_path / "maps", CPU)
    assert any(not torch.equal(before[name], value) for name, value in run.method.named_parameters())
    with pytest.raises(SettingsError, match="one worker alone can do that"):
        make_map(finished.results, run, image, "town", tmp_path / "maps", replace(CPU, workers=2, margin=8))


@pytest.mark.slow
def test_several_workers_make_the_same_map(make, write_image, monkeypatch):
    monkeypatch.undo()  # the workers have the usual blocks
    image = write_image(2100, 40)
    one, two = make(image, folder="one"), make(image, folder="two", workers=2)
    assert content(one) == content(two)


def test_the_first_error_of_a_worker_is_that_of_the_command():
    failed, endless = Future(), Future()
    failed.set_exception(DataError("town.tif: cannot be read"))
    with pytest.raises(DataError, match=r"town.tif: cannot be read"):
        workers._watch([endless, failed], lambda: None)


def damage(image: Path, row: int) -> None:
    """Cut the file off before the block that holds a row, and so after those above."""
    with rasterio.open(image) as file:
        offset = int(file.get_tag_item(f"BLOCK_OFFSET_0_{row // file.block_shapes[0][0]}", "TIFF", bidx=1))
    content = image.read_bytes()
    image.write_bytes(content[:offset] + bytes(64) + content[offset + 64 :])


def test_a_damaged_block_stops_the_command_and_what_is_done_stays(make, write_image, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.data.areas.LARGE", 1)
    image = write_image(1100, 600, tiled=True, blockxsize=64, blockysize=64, compress="DEFLATE")
    good, about = image.read_bytes(), image.stat()
    damage(image, 650)  # of which no sample is taken
    with pytest.raises(DataError, match=r"town.tif: cannot be read.*\(rows [45]\d\d-\d+, columns 0-\d+\)"):
        make(image)
    assert len(list((tmp_path / "maps" / "town.part").glob(f"*{CLASSES}"))) >= 2
    assert not (tmp_path / "maps" / "town.classes.tif").exists()
    image.write_bytes(good)
    assert about.st_size == image.stat().st_size and (pixels(make(image)) < 255).all()


def test_a_finished_map_is_left_and_one_of_other_options_is_made_anew(
    finished, run, write_image, tmp_path, monkeypatch
):
    image, said = write_image(40, 40), []
    folder = tmp_path / "maps"
    folder.mkdir()

    def make(options):
        make_map(finished.results, run, image, "town", folder, options, said.append)
        return (folder / "town.classes.tif").stat().st_mtime_ns, said[-1]

    first, _ = make(CPU)
    again, words = make(CPU)
    assert first == again and "is there already" in words
    other, _ = make(replace(CPU, probabilities=True))
    assert other != first and (folder / "town.probabilities.tif").is_file()
    about = json.loads((folder / "town.map.json").read_text())
    assert about["facts"]["run"] == run.record.id


def test_blocks_of_another_map_are_not_used(make, write_image, tmp_path):
    image = write_image(40, 40)
    part = tmp_path / "maps" / "town.part"
    part.mkdir(parents=True)
    (part / "digest").write_text("another")
    shutil.copy(image, part / "0000000-0000000.classes.tif")
    assert (pixels(make(image)) < 255).all()


@pytest.mark.parametrize("step", [0.5, 2.0])
def test_an_image_of_another_resolution_is_resampled_and_the_map_says_so(make, write_image, run, step):
    image = write_image(301, 200, step=step)
    made = read_map(make(image) / "town.classes.tif")
    assert (made.height, made.width) == (np.ceil(301 * step), 200 * step)
    assert made.transform.a == pytest.approx(run.images.resolution)
    assert made.facts["resampled_from"] == f"{run.images.resolution * step:.4g} m"
    assert made.facts["resolution"] == f"{run.images.resolution:.4g} m"
