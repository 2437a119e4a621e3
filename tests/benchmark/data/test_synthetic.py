"""The synthetic world: a full grid, one ground a zone, addressed draws, and shifts that the strengths switch."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from benchmark.data.synthetic import World, generate
from benchmark.data.synthetic import world as world_module
from benchmark.data.synthetic.ground import compose
from benchmark.data.synthetic.landscape import landscape

TINY = World(places=2, times=2, zones=2, zone_side=2, patch_size=16)
PLACE_STRENGTHS = ("class_mix", "materials", "settlement")
TIME_STRENGTHS = ("phenology", "sun", "atmosphere")


def digests(root: Path) -> dict[str, str]:
    """The path and hash of every file."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def patches(root: Path) -> Iterator[tuple[dict[str, Any], Path, Path]]:
    """Yield (metadata, image, mask) of every patch the metadata names."""
    for name, entry in json.loads((root / "flair-1_metadata_aerial.json").read_text()).items():
        home = Path(entry["domain"]) / entry["zone"]
        image = root / "flair_aerial_train" / home / "img" / f"{name}.tif"
        yield entry, image, root / "flair_labels_train" / home / "msk" / f"{name.replace('IMG', 'MSK')}.tif"


def pixels(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as file:
        return file.read()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    generate(TINY, root)
    return root


def test_every_place_is_flown_at_every_time_in_flairs_layout(tiny: Path) -> None:
    entries = list(patches(tiny))
    assert len(entries) == len(list(tiny.rglob("IMG*.tif"))) == len(list(tiny.rglob("MSK*.tif"))) == 2 * 2 * 2 * 4
    assert all(image.exists() and mask.exists() for _, image, mask in entries)
    zones = {(entry["domain"], entry["zone"]) for entry, _, _ in entries}
    domains = ("D901_2019", "D901_2020", "D902_2019", "D902_2020")
    assert zones == {(domain, zone) for domain in domains for zone in ("Z1_UA", "Z2_UA")}
    assert {entry["date"][:7] for entry, _, _ in entries} == {"2019-05", "2020-07"}
    assert {entry["time"] for entry, _, _ in entries} == {"9h30", "13h00"}


def test_ids_are_contiguous_through_the_domains(tiny: Path) -> None:
    names = list(json.loads((tiny / "flair-1_metadata_aerial.json").read_text()))
    assert names == [f"IMG_{number + 1:06d}" for number in range(len(names))]
    domains = [entry["domain"] for entry, _, _ in patches(tiny)]
    assert domains == sorted(domains)


def test_files_are_what_flair_ships_and_lie_where_the_metadata_says(tiny: Path) -> None:
    corners = set()
    for entry, image_path, mask_path in patches(tiny):
        with rasterio.open(image_path) as image, rasterio.open(mask_path) as mask:
            assert (image.count, mask.count) == (5, 1)
            assert set(image.dtypes + mask.dtypes) == {"uint8"}
            assert image.shape == mask.shape == (16, 16)
            assert image.crs.to_epsg() == mask.crs.to_epsg() == 2154
            assert image.profile["compress"] == "deflate"
            assert image.transform == mask.transform
            assert image.res == pytest.approx((0.8, 0.8))
            centre = image.transform @ (8, 8)
            assert centre == pytest.approx((entry["patch_centroid_x"], entry["patch_centroid_y"]), abs=1e-2)
            assert 1 <= mask.read().min() <= mask.read().max() <= 19
            corners.add((entry["domain"], *np.round((image.bounds.left, image.bounds.top), 3)))
    assert len(corners) == 2 * 2 * 2 * 4, "two patches of one domain lie on one spot"


def test_patches_of_a_zone_are_one_continuous_scene(tmp_path: Path) -> None:
    generate(replace(TINY, zones=1), tmp_path / "patches")
    generate(replace(TINY, zones=1, zone_side=1, patch_size=32), tmp_path / "whole")
    _, _, whole = next(patches(tmp_path / "whole"))
    with rasterio.open(whole) as file:
        scene, inverse = file.read(1), ~file.transform
    for _, _, path in list(patches(tmp_path / "patches"))[:4]:
        with rasterio.open(path) as file:
            column, row = (round(value) for value in inverse @ (file.bounds.left, file.bounds.top))
            np.testing.assert_array_equal(file.read(1), scene[row : row + 16, column : column + 16])


def test_places_lie_far_apart_and_zones_do_not_touch(tiny: Path) -> None:
    centres: dict[tuple[str, str], NDArray[Any]] = {}
    for entry, _, _ in patches(tiny):
        key = (entry["domain"], entry["zone"])
        centres[key] = np.array([entry["patch_centroid_x"], entry["patch_centroid_y"]])
    between = np.linalg.norm(centres["D901_2019", "Z1_UA"] - centres["D902_2019", "Z1_UA"])
    within = np.linalg.norm(centres["D901_2019", "Z1_UA"] - centres["D901_2019", "Z2_UA"])
    assert between > 200_000
    assert within > 2_000


def test_the_ground_is_the_same_at_every_time_but_looks_different(tiny: Path) -> None:
    flown: dict[tuple[str, ...], list[tuple[Path, Path]]] = {}
    for entry, image, mask in patches(tiny):
        spot = (entry["zone"], *(str(entry[f"patch_centroid_{axis}"]) for axis in "xyz"))
        flown.setdefault(spot, []).append((image, mask))
    assert len(flown) == 2 * 2 * 4
    for (image, mask), (other_image, other_mask) in flown.values():
        np.testing.assert_array_equal(pixels(mask), pixels(other_mask))
        np.testing.assert_array_equal(pixels(image)[4], pixels(other_image)[4])
        assert (pixels(image)[:4] != pixels(other_image)[:4]).mean() > 0.5


def test_the_same_world_is_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    generate(TINY, tmp_path)
    assert digests(tmp_path) == digests(tiny)


def test_another_seed_moves_every_image_but_no_id(tiny: Path, tmp_path: Path) -> None:
    generate(replace(TINY, seed=1), tmp_path)
    first, second = digests(tiny), digests(tmp_path)
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first if "IMG" in name)


def test_more_places_zones_and_times_leave_the_others_alone(tiny: Path, tmp_path: Path) -> None:
    generate(replace(TINY, places=3), tmp_path / "places")
    generate(replace(TINY, zones=3), tmp_path / "zones")
    generate(replace(TINY, times=3), tmp_path / "times")

    def contents(root: Path) -> dict[tuple[Any, ...], bytes]:
        return {
            (entry["domain"], entry["zone"], entry["patch_centroid_x"], entry["patch_centroid_y"]): (
                pixels(image).tobytes() + pixels(mask).tobytes()
            )
            for entry, image, mask in patches(root)
        }

    before = contents(tiny).items()
    for more in ("places", "zones", "times"):
        assert before < contents(tmp_path / more).items()


def colours(root: Path) -> dict[str, NDArray[Any]]:
    """The mean visible and infrared colours [class, band] of each domain; NaN where a class is rare."""
    groups: dict[str, list[tuple[NDArray[Any], NDArray[Any]]]] = {}
    for entry, image, mask in patches(root):
        groups.setdefault(entry["domain"], []).append((pixels(image)[:4].reshape(4, -1), pixels(mask).ravel()))
    table = {}
    for domain, parts in groups.items():
        image, mask = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
        table[domain] = np.array(
            [
                image[:, mask == value].mean(axis=1) if (mask == value).sum() > 1500 else np.full(4, np.nan)
                for value in range(1, 13)
            ]
        )
    return table


@pytest.mark.parametrize(("axis", "strengths"), [("place", PLACE_STRENGTHS), ("time", TIME_STRENGTHS)])
def test_strength_zero_makes_domains_alike(axis: str, strengths: tuple[str, ...], tmp_path: Path) -> None:
    world = World(places=2 if axis == "place" else 1, times=2 if axis == "time" else 1, zones=8, zone_side=1)
    shifts = {}
    for strength in (0.0, 1.0):
        root = tmp_path / str(strength)
        # The other axis keeps its strengths: a switch that turned off both would pass unseen.
        generate(replace(world, **dict.fromkeys(strengths, strength)), root)
        first, second = colours(root).values()
        shifts[strength] = np.nanmean(np.abs(first - second))
    assert shifts[0.0] < (6 if axis == "place" else 3)
    assert shifts[1.0] > 3 * shifts[0.0]
    assert shifts[1.0] > 8


def test_class_mix_and_settlement_move_the_ground_and_time_strengths_do_not(tmp_path: Path) -> None:
    def masks(**strengths: float) -> bytes:
        root = tmp_path / str(strengths)
        generate(replace(TINY, **strengths), root)
        return b"".join(pixels(mask).tobytes() for _, _, mask in patches(root))

    base = masks()
    assert masks(class_mix=0.0) != base
    assert masks(settlement=0.0) != base
    assert masks(materials=0.0, phenology=0.0, sun=0.0, atmosphere=0.0) == base


def test_the_default_landscape_holds_all_twelve_classes() -> None:
    counts = np.zeros(20, int)
    for place in range(2):
        scenery = landscape(0, place, class_mix=1.0, settlement=1.0)
        for zone in range(12):
            ground = compose(0, place, zone, scenery, side=64, pixel_size=0.8)
            counts += np.bincount(ground.cover.ravel(), minlength=20)
    shares = counts / counts.sum()
    assert shares[1:13].min() > 0.01
    assert shares[1:13].sum() == pytest.approx(1)
    assert shares.max() < 0.4


def test_a_complete_world_is_not_made_twice(tiny: Path) -> None:
    calls: list[tuple[int, int]] = []
    before = digests(tiny)
    generate(TINY, tiny, lambda done, total: calls.append((done, total)))
    assert not calls
    assert digests(tiny) == before


def test_another_world_in_the_same_folder_is_refused(tiny: Path) -> None:
    with pytest.raises(FileExistsError) as caught:
        generate(replace(TINY, seed=7), tiny)
    assert str(tiny) in str(caught.value)
    assert "'seed': 0" in str(caught.value)
    assert "'seed': 7" in str(caught.value)


def test_real_data_are_never_touched(tmp_path: Path) -> None:
    theirs = tmp_path / "flair_aerial_train" / "D004_2021" / "IMG_000001.tif"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"real")
    with pytest.raises(FileExistsError, match="no synthetic world"):
        generate(TINY, tmp_path)
    assert digests(tmp_path).keys() == {str(theirs.relative_to(tmp_path))}


def test_an_interrupted_world_is_made_anew(tiny: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # a larger grid, so that stale files would stay behind
        generate(replace(TINY, zones=4), tmp_path, interrupt)
    assert not (tmp_path / "world.json").exists()
    generate(TINY, tmp_path)
    assert digests(tmp_path) == digests(tiny)


def test_the_settings_are_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> dict[str, Any]:
        raise OSError("no space left")

    monkeypatch.setattr(world_module, "_write_patches", full_disk)
    with pytest.raises(OSError, match="no space"):
        generate(TINY, tmp_path)
    assert not (tmp_path / "world.json").exists()


def test_progress_counts_the_images_of_zones(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    generate(TINY, tmp_path, lambda done, total: calls.append((done, total)))
    assert calls == [(done, 8) for done in range(1, 9)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"places": 0}, r"places must be an integer from 1 to 99, got 0"),
        ({"times": 0}, r"times must be an integer from 1"),
        ({"zones": 2.5}, r"zones must be an integer from 1 to 400, got 2.5"),
        ({"patch_size": 20}, r"patch_size must be a multiple of 8, got 20"),
        ({"pixel_size": 0}, r"pixel_size must be a number from 0.1 to 2.0, got 0"),
        ({"seed": -1}, r"seed must be an integer from 0"),
        ({"phenology": -0.5}, r"phenology must be a number from 0 to 5, got -0.5"),
        ({"sun": float("nan")}, r"sun must be a number from 0 to 5, got nan"),
        ({"materials": "1"}, r"materials must be a number from 0 to 5, got '1'"),
        ({"zone_side": 8, "patch_size": 1024}, r"at most 4000 m, got 6553.6 m"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        World(**settings)


def test_whole_and_decimal_numbers_are_one_setting() -> None:
    assert repr(World(sun=1, pixel_size=1)) == repr(World(sun=1.0, pixel_size=1.0))
