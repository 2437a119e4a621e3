"""The series of the synthetic world: read as FLAIR #2's, over the same ground as the images, with planted shifts."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from benchmark.cli.app import main
from benchmark.conformance.world import open_world
from benchmark.data.flair_files import find_files
from benchmark.data.series.check import check_series
from benchmark.data.series.dates import SeriesView
from benchmark.data.series.files import PARTS, find_series, read_centroids, read_series, zone_of
from benchmark.data.series.series import CLOUD, SNOW, Series, crop
from benchmark.data.series.store import centres_of, open_series_store, zone_sources
from benchmark.data.synthetic import World, generate
from benchmark.data.synthetic.appearance import materials
from benchmark.data.synthetic.landscape import Material
from benchmark.data.synthetic.satellite import ORBITS, forecast
from benchmark.data.synthetic.spectra import reflectances

TINY = World(places=2, times=3, zones=2, zone_side=2, patch_size=64, series=True)
PLAIN = World(places=2, times=2, zones=2, zone_side=2, patch_size=16)
CLEAR = replace(TINY, places=1, zones=3, cloudiness=0.0)
RED, NIR, SWIR = 2, 6, 8


def digests(root: Path) -> dict[str, str]:
    """The path and hash of every file."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def series_of(root: Path) -> dict[str, Series]:
    return {zone: read_series(*(paths[part] for part in PARTS)) for zone, paths in find_series(root).zones.items()}


def greenness(series: Series) -> NDArray[np.float64]:
    """NDVI [date, row, column]."""
    red, infrared = series.values[:, RED].astype(float), series.values[:, NIR].astype(float)
    return (infrared - red) / (infrared + red)


def day_of_year(series: Series) -> NDArray[np.int64]:
    days = series.days.astype("datetime64[D]")
    return (days - days[0].astype("datetime64[Y]")).astype(np.int64) + 1


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    generate(TINY, root)
    return root


@pytest.fixture(scope="module")
def clear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clear")
    generate(CLEAR, root)
    return root


def test_a_world_without_series_is_what_it_was_before_there_were_series(tmp_path: Path) -> None:
    generate(PLAIN, tmp_path / "plain")
    assert json.loads((tmp_path / "plain" / "world.json").read_text()) == {
        "format": 1,
        "world": {
            "places": 2, "times": 2, "zones": 2, "zone_side": 2, "patch_size": 16, "pixel_size": 0.8, "seed": 0,
            "class_mix": 1.0, "materials": 1.0, "settlement": 1.0, "phenology": 1.0, "sun": 1.0, "atmosphere": 1.0,
        },
    }  # fmt: skip
    content = hashlib.sha256((tmp_path / "plain" / "flair-1_metadata_aerial.json").read_bytes())
    for path in sorted((tmp_path / "plain").rglob("*.tif"), key=lambda path: path.name):
        with rasterio.open(path) as file:
            content.update(file.read().tobytes())
    assert content.hexdigest() == ("ea01f3fe71be4d7fa0df4d8d5f20c238448023e73162e150492c6361eb830bd1")
    generate(replace(PLAIN, series=True), tmp_path / "series")
    plain, more = digests(tmp_path / "plain"), digests(tmp_path / "series")
    differing = {name for name in plain if plain[name] != more[name]}
    assert differing == {"world.json"}
    assert all("sen" in name for name in more.keys() - plain.keys() - {"flair-2_centroids_sp_to_patch.json"})


def test_the_reader_of_flair_2_finds_no_fault(tiny: Path, tmp_path: Path) -> None:
    images = {f"IMG_{number}": path for number, path in find_files(tiny).images.items()}
    zones = {patch: zone_of(path) for patch, path in images.items()}
    assert len(zones) == 2 * 3 * 2 * 4
    faults, notes = check_series(tiny, zones)
    assert not faults, notes
    files = find_series(tiny)
    store = open_series_store("tiny", zone_sources(files, zones.values()), tmp_path)
    centres = centres_of(store, zones, read_centroids(files.centroids))
    for patch, centre in centres.items():
        part = crop(store.read(zones[patch]), centre, 12)
        assert part.valid[0].mean() > 0.8, "the crop of a patch is outside of the ground"


def test_dates_and_values_are_plausible(tiny: Path) -> None:
    for zone, series in series_of(tiny).items():
        dates = series.days.astype("datetime64[D]")
        assert 45 <= len(dates) <= 74
        assert {str(date)[:4] for date in dates} == {zone[5:9]}
        steps = np.diff(series.days)
        assert (steps % 5 == 0).all() and 0.75 < (steps == 5).mean() < 1, "gaps, and else five days"
        assert series.values.dtype == np.uint16 and series.values.shape[1:] == (10, 15, 15)
        assert series.values.min() >= 1 and 5_000 < series.values.max() <= 10_000


def test_orbits_and_satellites_follow_their_cycle() -> None:
    # The real pass of the names' example: Sentinel-2B on orbit 51, 2021-01-14.
    weather = forecast(0, 0, 0, 2021, east=0.5, altitude=100, cloudiness=0)
    assert "S2B_MSIL2A_20210114T105019_N0214_R051" in " ".join(weather.products)
    assert "S2A_MSIL2A_20210119T105021_N0214_R051" in " ".join(weather.products)
    assert len(weather.products) == 73
    firsts = {forecast(0, 0, 0, 2021, (k + 0.5) / len(ORBITS), 100, 0).days[0] for k in range(len(ORBITS))}
    assert len(firsts) >= 4, "orbits pass on different days"
    leap = forecast(0, 0, 0, 2024, east=0.5, altitude=100, cloudiness=0)
    assert leap.days.max() <= 366


OFFSETS = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]


def agreement(truth: NDArray[np.float64], seen: NDArray[np.float64]) -> list[float]:
    """Correlation of two maps of one size at each of `OFFSETS` of the second."""
    inner = (slice(2, -2), slice(2, -2))
    moved = (np.roll(seen, offset, (0, 1)) for offset in OFFSETS)
    return [float(np.corrcoef(truth[inner].ravel(), each[inner].ravel())[0, 1]) for each in moved]


def test_the_series_shows_the_ground_of_the_patch_in_the_middle_of_its_crop(tmp_path: Path) -> None:
    """Greenness of a summer's day agrees with that of the image around its centroid, and less elsewhere."""
    calm = {"cloudiness": 0.0, "atmosphere": 0.0, "phenology": 0.0, "season_shift": 0.0}
    generate(World(places=1, times=1, zones=2, zone_side=2, patch_size=200, series=True, **calm), tmp_path)
    files = find_series(tmp_path)
    centres, series = read_centroids(files.centroids), series_of(tmp_path)
    found = []
    for number, path in find_files(tmp_path).images.items():
        with rasterio.open(path) as image:  # 160 m: 16 pixels of 12.5
            red, infrared = image.read([1, 4]).astype(float)
        index = ((infrared - red) / (infrared + red)).repeat(2, 0).repeat(2, 1).reshape(16, 25, 16, 25).mean((1, 3))
        whole = series[zone_of(path)]
        part = crop(whole, centres[f"IMG_{number}"], 16)
        found.append(agreement(index, greenness(part)[np.abs(day_of_year(whole) - 178).argmin()]))
    scores = np.mean(found, axis=0)
    best, second = np.argsort(scores)[::-1][:2]
    assert OFFSETS[best] == (0, 0) and scores[best] > 0.8 and scores[best] > scores[second] + 0.1


def curves(root: Path) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Days and NDVI [date, zone, row, column] of each year of one place."""
    years: dict[int, list[Series]] = {}
    for zone, series in sorted(series_of(root).items()):
        years.setdefault(int(zone[5:9]), []).append(series)
    return {year: (day_of_year(of[0]), np.stack([greenness(each) for each in of], 1)) for year, of in years.items()}


def lag(first: tuple[NDArray[np.int64], NDArray], second: tuple[NDArray[np.int64], NDArray]) -> int:
    """Days by which the second year is late: where the correlation of the daily curves is the highest."""
    grows = np.all([values.std(0) > 0.1 for _, values in (first, second)], axis=0)
    daily = [
        np.stack([np.interp(np.arange(1, 366), days, pixel, period=365) for pixel in values[:, grows].T])
        for days, values in (first, second)
    ]
    shifts = range(-60, 61)
    scores = [np.corrcoef(np.roll(daily[0], shift, 1).ravel(), daily[1].ravel())[0, 1] for shift in shifts]
    return shifts[int(np.argmax(scores))]


@pytest.mark.parametrize(("strength", "expected"), [(1.0, (30, -30)), (0.5, (15, -15)), (0.0, (0, 0))])
def test_the_planted_shift_is_found_in_the_curves(strength: float, expected: tuple[int, int], tmp_path: Path) -> None:
    generate(replace(CLEAR, season_shift=strength), tmp_path)
    first, late, early = curves(tmp_path).values()
    assert (lag(first, late), lag(first, early)) == pytest.approx(expected, abs=2)
    if not strength:  # draws of one distribution: only noise differs, on nearly the same days
        level = [values.mean((1, 2, 3)) for _, values in (first, late)]
        assert np.interp(first[0], late[0], level[1]) == pytest.approx(level[0], abs=0.04)


def test_the_shift_leaves_the_images_alone(clear: Path, tmp_path: Path) -> None:
    generate(replace(CLEAR, season_shift=0.0), tmp_path)
    before, after = digests(clear), digests(tmp_path)
    assert {name for name in before if before[name] != after[name] and name.endswith(".tif")} == set()
    changed = {name[-8:] for name in before if before[name] != after[name] and name.endswith(".npy")}
    assert changed == {"data.npy"}


def test_the_year_tells_apart_what_one_image_cannot() -> None:
    look = materials(0, 0, 0.0)
    spectra = reflectances(look, np.array([15, 105, 165, 225]))
    red, infrared = spectra[..., RED], spectra[..., NIR]
    ndvi: Mapping[Material, NDArray] = dict(zip(Material, ((infrared - red) / (infrared + red)).T, strict=True))
    assert ndvi[Material.BROADLEAF][0] < 0.3 < 0.6 < ndvi[Material.CONIFER][0], "bare, and evergreen"
    assert np.ptp(ndvi[Material.CONIFER]) < 0.1 < 0.5 < np.ptp(ndvi[Material.BROADLEAF])
    assert ndvi[Material.MAIZE][1] < 0.35 < 0.7 < ndvi[Material.CEREAL][1], "bare soil, and winter cereals"
    assert ndvi[Material.CEREAL][3] < 0.3 < 0.7 < ndvi[Material.MAIZE][3], "stubble, and high maize"
    assert (ndvi[Material.WATER] < 0).all() and (np.abs(ndvi[Material.ASPHALT]) < 0.2).all()
    assert (spectra[..., SWIR][:, Material.WATER] < 0.02).all()
    assert spectra.min() > 0 and spectra.max() < 0.8


def test_winter_follows_autumn_without_a_jump() -> None:
    through = reflectances(materials(0, 0, 0.0), np.arange(1, 367))
    assert np.abs(np.diff(through, axis=0)).max() < 0.02
    assert through[365] == pytest.approx(through[0])


def test_without_cloudiness_there_are_no_clouds_no_snow_and_no_gaps(clear: Path) -> None:
    for series in series_of(clear).values():
        assert not series.covers.any()
        assert set(np.diff(series.days)) == {5}
        assert np.median(series.values[:, :3]) < 2_000


def shares(root: Path) -> tuple[float, float]:
    """Shares of pixels with clouds, and of overpasses that are missing."""
    all_series = list(series_of(root).values())
    clouds = np.mean([(series.covers[:, CLOUD] >= 60).mean() for series in all_series])
    return float(clouds), float(np.mean([1 - len(series.days) / 73 for series in all_series]))


def test_clouds_and_gaps_grow_with_the_strength(tiny: Path, tmp_path: Path) -> None:
    measured = []
    for strength in (0.3, 1.0, 2.5):
        root = tiny if strength == 1 else tmp_path / str(strength)
        generate(replace(TINY, cloudiness=strength), root)
        measured.append(shares(root))
    (some, few), (usual, gaps), (many, holes) = measured
    assert 0 < some < usual < many < 1 and 0.3 < usual < 0.55
    assert 0 <= few < gaps < holes < 0.4


def test_clouds_are_seen_and_the_masks_know_most_of_them(tiny: Path) -> None:
    whole = list(series_of(tiny).values())
    blue = np.concatenate([series.values[:, 0].ravel() for series in whole])
    cloud = np.concatenate([series.covers[:, CLOUD].ravel() for series in whole])
    thin = (cloud > 5) & (cloud < 60)
    assert np.median(blue[cloud == 0]) < np.median(blue[thin]) < np.median(blue[cloud > 95])
    assert np.median(blue[cloud > 95]) > 4_500
    assert 0.01 < thin.mean() < 0.3
    skies = np.concatenate([(series.covers[:, CLOUD] >= 60).mean((1, 2)) for series in whole])
    assert (skies == 1).mean() > 0.1 and (skies == 0).mean() > 0.2, "whole skies"
    assert ((skies > 0.05) & (skies < 0.95)).mean() > 0.1, "broken skies"
    months = np.concatenate(
        [series.days.astype("datetime64[D]").astype("datetime64[M]").astype(int) % 12 for series in whole]
    )
    assert skies[np.isin(months, (10, 11, 0, 1))].mean() > skies[np.isin(months, (4, 5, 6, 7))].mean()


def test_snow_falls_in_winter_on_what_is_high() -> None:
    high, low = (
        [forecast(0, 0, time, 2019 + time, 0.5, altitude, cloudiness=1) for time in range(12)] for altitude in (600, 20)
    )
    days = {
        height: sum((weather.snow > 0).sum() for weather in many) for height, many in (("high", high), ("low", low))
    }
    assert days["high"] > 2 * days["low"] > 0
    snowy = np.concatenate([weather.days[weather.snow > 0] for weather in high])
    assert ((snowy < 110) | (snowy > 310)).all()


def test_snow_is_seen_and_in_the_masks(tmp_path: Path) -> None:
    generate(replace(PLAIN, places=4, times=3, series=True), tmp_path)
    whole = list(series_of(tmp_path).values())
    snow = np.concatenate([series.covers[:, SNOW].ravel() for series in whole]) >= 60
    red, swir = (np.concatenate([series.values[:, band].ravel() for series in whole]) for band in (RED, SWIR))
    assert 0.002 < snow.mean() < 0.1
    assert np.median(red[snow]) > 4_000 > 2_500 > np.median(swir[snow]), "white, but dark in the shortwave infrared"


def test_places_and_years_differ_in_clouds_by_the_strength() -> None:
    def spread(strength: float) -> float:
        shares = [
            forecast(0, place, time, 2019, 0.5, 100, strength).threshold[35] for place in range(4) for time in range(3)
        ]
        return float(np.ptp(shares))

    assert spread(1.0) > 0.3
    clear = {forecast(0, place, 0, 2019, 0.5, 100, 0.0).threshold.min() for place in range(4)}
    assert clear == {np.inf}


def test_equal_settings_are_equal_bytes_and_more_zones_leave_the_others_alone(tiny: Path, tmp_path: Path) -> None:
    generate(TINY, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(tiny)
    generate(replace(TINY, places=3, zones=3), tmp_path / "more")
    more = series_of(tmp_path / "more")
    for zone, series in series_of(tiny).items():
        assert (more[zone].values == series.values).all() and (more[zone].covers == series.covers).all()
    generate(replace(TINY, seed=1, places=1), tmp_path / "other")
    other = series_of(tmp_path / "other")
    assert all((each.values[:3] != more[zone].values[:3]).mean() > 0.5 for zone, each in other.items())


def test_an_interrupted_world_with_series_is_made_anew(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(replace(PLAIN, series=True), tmp_path, interrupt)
    assert list(tmp_path.rglob("*.npy"))
    generate(PLAIN, tmp_path)
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"series": True, "season_shift": 6}, "season_shift must be a number from 0 to 5, got 6"),
        ({"series": True, "cloudiness": -1}, "cloudiness must be a number from 0 to 5, got -1"),
        ({"series": 1}, "series must be True or False, got 1"),
        ({"cloudiness": 0.0}, "season_shift and cloudiness are strengths of series, and this world has none"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        World(**settings)


def test_the_command_makes_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--places", "1", "--times", "1", "--zones", "1", "--zone-side", "1"]
    assert main(["world", str(tmp_path / "a"), *sizes, "--series", "--cloudiness", "0", "--season-shift", "2"]) == 0
    (series,) = series_of(tmp_path / "a").values()
    assert not series.covers.any()
    assert main(["world", str(tmp_path / "b"), *sizes, "--cloudiness", "0"]) != 0
    assert "this world has none" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_the_checked_world_can_have_series(tmp_path: Path) -> None:
    open_world(tmp_path, (), (), 32, SeriesView(8))
    assert len(find_series(tmp_path / "world").zones) == 2 * 2 * 8
