"""Files of series: right ones are read as they are, damaged and contradicting ones are named in one line."""

import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.common.errors import DataError
from benchmark.data.series.files import (
    KINDS,
    PARTS,
    find_series,
    read_centroids,
    read_days,
    read_series,
    zone_of,
)

ZONE = "D004_2020/Z10_AU"
DATES = ["20200103", "20200229", "20200301", "20201231"]


@pytest.fixture
def paths(tmp_path: Path, write_series: Callable[..., dict[str, Path]]) -> dict[str, Path]:
    return write_series(tmp_path, ZONE, DATES, 8)


def _read(paths: dict[str, Path]) -> Any:
    return read_series(*(str(path) for path in paths.values()))


@pytest.mark.parametrize("kind", [*KINDS, ">u2", ">f4"])
def test_a_series_is_read_as_it_is_stored(kind: str, paths: dict[str, Path]) -> None:
    stored = np.load(paths["data.npy"]).astype(kind)
    np.save(paths["data.npy"], np.asfortranarray(stored))
    series = _read(paths)
    assert series.values.dtype == np.dtype(kind).newbyteorder("=") and series.values.flags.c_contiguous
    np.testing.assert_array_equal(series.values, stored)
    np.testing.assert_array_equal(series.covers, np.load(paths["masks.npy"]))
    assert series.days.astype("datetime64[D]").astype(str).tolist()[1:] == ["2020-02-29", "2020-03-01", "2020-12-31"]


def test_covers_may_be_whole_numbers_of_any_type(paths: dict[str, Path]) -> None:
    covers = np.load(paths["masks.npy"])
    np.save(paths["masks.npy"], covers.astype(np.float32))
    assert _read(paths).covers.dtype == np.uint8 and (_read(paths).covers == covers).all()


Change = Callable[[np.ndarray], np.ndarray]


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("data.npy", lambda a: a[:3], "has 3 dates"),
        ("masks.npy", lambda a: a[:3], "3 and"),
        ("data.npy", lambda a: a[:, :9], "expected is (dates, 10, rows, columns)"),
        ("data.npy", lambda a: a[0], "shape (10, 8, 12)"),
        ("data.npy", lambda a: a[:0], "shape (0, 10, 8, 12)"),
        ("data.npy", lambda a: a[..., :-1], "12 x 8 pixels, where"),
        ("masks.npy", lambda a: a[:, :1], "expected is (dates, 2, rows, columns)"),
        ("data.npy", lambda a: a.astype(np.int64), "numbers are int64"),
        ("data.npy", lambda a: a.astype(complex), "numbers are complex128"),
        ("data.npy", lambda a: np.where(a > 8000, np.nan, a), "not finite"),
        ("masks.npy", lambda a: a.astype(str), "numbers are str"),
        ("masks.npy", lambda a: np.where(a == 90, 101, a), "holds 101"),
        ("masks.npy", lambda a: np.where(a == 90, -1, a.astype(int)), "holds -1"),
        ("masks.npy", lambda a: a + 0.5, "whole percent"),
        ("masks.npy", lambda a: np.where(a == 90, np.nan, a), "holds nan"),
    ],
)
def test_arrays_that_contradict_are_refused(part: str, change: Change, message: str, paths: dict[str, Path]) -> None:
    np.save(paths[part], change(np.load(paths[part])))
    with pytest.raises(DataError) as error:
        _read(paths)
    assert message in str(error.value) and str(paths["data.npy"])[:-8] in str(error.value)


def test_what_is_pickled_is_refused(paths: dict[str, Path]) -> None:
    np.save(paths["data.npy"], np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match="Object arrays cannot be loaded"):
        _read(paths)


def test_files_too_short_or_long_or_missing_are_refused(paths: dict[str, Path]) -> None:
    content = paths["data.npy"].read_bytes()
    for wrong, message in (
        (content[:-1], "no readable .npy"),
        (content + b"\0", "longer than its header"),
        (b"", "npy"),
    ):
        paths["data.npy"].write_bytes(wrong)
        with pytest.raises(DataError, match=message):
            _read(paths)
    paths["data.npy"].unlink()
    with pytest.raises(DataError, match=r"data.npy: cannot be read \(No such file"):
        _read(paths)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("", "line 2 is ''"),
        ("S2B_MSIL2A_20210229T105309_N0214_R051_T31TFJ", "has the date '20210229'"),
        ("S2B_MSIL2A_19990101T105309_N0214_R051_T31TFJ", "has the date '19990101'"),
        ("S2B_MSIL2A_2021011T105309_N0214_R051_T31TFJ", "expected is a product's name such as S2B_MSIL2A_20210114T"),
        ("LC08_L1TP_20210114", "line 2 is 'LC08_L1TP_20210114'"),
    ],
)
def test_an_odd_line_of_products_is_refused(line: str, shown: str, tmp_path: Path) -> None:
    good = "S2A_MSIL2A_20200229T105309_N0214_R051_T31TFJ_20210114T131427"
    (tmp_path / "p.txt").write_text(f"{good}\n{line}\n{good}.SAFE\n")
    with pytest.raises(DataError, match=r"p\.txt: line 2") as error:
        read_days(str(tmp_path / "p.txt"))
    assert shown in str(error.value)


def test_ends_of_lines_of_any_system_are_read(tmp_path: Path) -> None:
    good = b"S2A_MSIL2A_20200229T105309_N0214_R051_T31TFJ_20210114T131427"
    for end in (b"", b"\n", b"\r\n", b"\n\n"):
        (tmp_path / "p.txt").write_bytes(good + b"\r\n" + good + end)
        assert read_days(str(tmp_path / "p.txt")).tolist() == [18321, 18321]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "expected is one object"),
        ("{", "no readable JSON"),
        ('{"IMG_000001.tif": [1]}', "expected are its row and column"),
        ('{"IMG_000001.tif": [1, -2]}', "expected are its row and column"),
        ('{"IMG_000001.tif": [1, 2.5]}', "expected are its row and column"),
        ('{"IMG_000001.tif": [true, 2]}', "expected are its row and column"),
        ('{"IMG_000001.tif": [1, 2], "IMG_000001.tif": [1, 3]}', "two entries 'IMG_000001.tif'"),
        ('{"IMG_000002.tif": [1, 3]}', "IMG_000002 is at [1, 3], and at [1, 2] elsewhere"),
    ],
)
def test_centroids_that_contradict_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"IMG_000002.tif": [1, 2.0]}')
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(DataError) as error:
        read_centroids([str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert message in str(error.value) and "b.json" in str(error.value)
    assert read_centroids([str(tmp_path / "a.json")]) == {"IMG_000002": (1, 2)}


def _zip(root: Path, folder: str, archive: str, inside: str) -> None:
    """Move a folder into an archive; ``inside`` is its path there."""
    with zipfile.ZipFile(root / archive, "a") as content:
        for path in sorted((root / folder).rglob("*.*")):
            content.write(path, f"{inside}/{path.relative_to(root / folder).as_posix()}")
    shutil.rmtree(root / folder)


def test_all_layouts_are_read(flair2: Path) -> None:
    keys = ["D004_2019/Z10_AU", "D004_2021/Z10_AU", "D012_2019/Z2_UU"]
    unpacked = find_series(flair2)
    assert sorted(unpacked.zones) == keys and not unpacked.misplaced
    before = read_series(*(unpacked.zones[keys[1]][part] for part in PARTS))
    _zip(flair2, "flair_sen_train/D004_2021", "D004_2021.zip", "sen")  # as on Hugging Face
    _zip(flair2, "flair_sen_train", "flair_sen_train.zip", "flair_sen_train")  # as of IGN
    _zip(flair2, "flair_sen_test", "toy.zip", "flair_2_toy_dataset/flair_2_toy_sen_test")
    files = find_series(flair2)
    assert sorted(files.zones) == keys and all(len(paths) == 3 for paths in files.zones.values())
    assert not files.misplaced and all(".zip!/" in path for paths in files.zones.values() for path in paths.values())
    after = read_series(*(files.zones[keys[1]][part] for part in PARTS))
    np.testing.assert_array_equal(before.values, after.values)
    assert read_centroids(files.centroids)["IMG_000002"] == (3, 50)
    assert zone_of("/x/flair_aerial_train/D004_2021/Z10_AU/img/IMG_000001.tif") == keys[1]


def test_files_elsewhere_than_their_names_say_are_kept_apart(flair2: Path) -> None:
    folder = flair2 / "flair_sen_train"
    (folder / "D004_2021/Z10_AU").rename(folder / "D004_2021/Z11_AU")
    files = find_series(flair2)
    assert sorted(files.zones) == ["D004_2019/Z10_AU", "D012_2019/Z2_UU"] and len(files.misplaced) == 3
    assert "its name says D004_2021/Z10_AU, but its folders say D004_2021/Z11_AU" in files.misplaced[0]


def test_a_link_that_leads_out_is_not_followed(flair2: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = next(flair2.rglob("*Z2_UU_data.npy"))
    outside = tmp_path_factory.mktemp("outside") / path.name
    path.rename(outside)
    path.symlink_to(outside)
    files = find_series(flair2)
    assert "leads out" in files.misplaced[0] and "data.npy" not in files.zones["D012_2019/Z2_UU"]


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Flip bytes, mostly of the first 200, where the headers are, or cut the file."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(min(200, len(changed)) if rng.random() < 0.7 else len(changed))] = rng.randrange(256)
    return bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.3 else changed)


def read_mutated(paths: dict[str, Path], count: int, seed: int) -> int:
    """Read a series with one of its files mutated, again and again; return how often it was refused."""
    rng, refused = random.Random(seed), 0
    originals = {part: path.read_bytes() for part, path in paths.items()}
    for _ in range(count):
        part = rng.choice(list(paths))
        paths[part].write_bytes(mutate(originals[part], rng))
        try:
            series = _read(paths)
        except DataError as error:
            refused += 1
            assert str(paths[part].parent) in str(error) and "\n" not in str(error)
        else:
            dates, bands, *pixels = series.values.shape
            assert bands == 10 and series.covers.shape == (dates, 2, *pixels) and series.days.shape == (dates,)
            assert series.values.dtype.name in KINDS and np.isfinite(series.values).all() and series.covers.max() <= 100
        paths[part].write_bytes(originals[part])
    return refused


def test_mutated_files_are_refused_or_read_right(paths: dict[str, Path]) -> None:
    assert 10 < read_mutated(paths, 30, 0) < 30


@pytest.mark.slow
def test_500_mutated_files_are_refused_or_read_right(paths: dict[str, Path]) -> None:
    assert 200 < read_mutated(paths, 500, 1) < 500
