"""Metadata as numbers, against the vectors of official code and by hand."""

import datetime
import json
import math
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from methods.parts.metadata import Metadata, coordinate_encoding, domain_index, flair_vector

PLACE, ALTITUDE, CAMERA, YEAR, MONTH, DAY, TIME = (
    slice(0, 32),
    slice(32, 33),
    slice(33, 35),
    slice(35, 39),
    slice(39, 41),
    slice(41, 43),
    slice(43, 45),
)


@pytest.fixture
def patches() -> Metadata:
    """Two patches that differ in their month only."""
    return Metadata(
        x=torch.full((2,), 600_000.0),
        y=torch.full((2,), 6_600_000.0),
        z=torch.full((2,), 120.0),
        year=torch.full((2,), 2020.0),
        month=torch.tensor([4.0, 9.0]),
        day=torch.full((2,), 12.0),
        minute=torch.full((2,), 700.0),
        camera=torch.zeros(2, dtype=torch.int64),
        uce=torch.ones(2),
    )


@pytest.fixture
def nothing() -> Metadata:
    unknown = {field.name: torch.full((3,), math.nan) for field in fields(Metadata)}
    return Metadata(**unknown | {"camera": torch.full((3,), -1)})


def test_the_published_vector(fixture_values, agrees):
    values = fixture_values("metadata_cida_flair_geomt")
    records = json.loads(str(values["in_flair_meta"])).values()
    dates = [datetime.date.fromisoformat(record["date"]) for record in records]
    times = [datetime.datetime.strptime(record["time"], "%Hh%M") for record in records]
    metadata = Metadata(
        *[torch.tensor([record[f"patch_centroid_{axis}"] for record in records]) for axis in "xyz"],
        *[torch.tensor([float(getattr(date, part)) for date in dates]) for part in ("year", "month", "day")],
        minute=torch.tensor([60.0 * time.hour + time.minute for time in times]),
        camera=torch.tensor([0, 1, 1]),
        uce=torch.tensor([float("UCE" in record["camera"]) for record in records]),
    )
    vector = flair_vector(metadata, published=True)
    quantity, source = "published vector of three patches", values.source("IGNF/FLAIR-1")
    agrees("metadata-fusion", quantity, vector, values["out_flair_mtd"], source, rtol=0, atol=1e-6)
    corrected = flair_vector(metadata, published=False)
    assert corrected[:, MONTH].unique(dim=0).shape == (3, 2), "July, January and September"


def test_the_coordinates_of_geomultitasknet(fixture_values, agrees):
    values = fixture_values("metadata_cida_flair_geomt")
    records = json.loads(str(values["in_flair_meta"])).values()
    x, y = (
        torch.tensor([record[f"patch_centroid_{axis}"] for record in records], dtype=torch.float64) for axis in "xy"
    )
    encoding = coordinate_encoding(x, y)
    assert encoding.shape == (3, 256) and encoding.dtype == torch.float32
    expected, source = values["out_geomt_coord_enc"], values.source("VMarsocci/geomultitasknet")
    agrees("coordinate-regression", "encoding of three places", encoding, expected, source, rtol=0, atol=1e-6)


def test_coordinates_that_are_missing():
    known, missing = torch.tensor([489353.59], dtype=torch.float64), torch.tensor([math.nan], dtype=torch.float64)
    encoding = coordinate_encoding(known, missing)
    assert encoding[0, :128].equal(torch.tensor([0.0, 1.0]).repeat(64)), "the middle: sines 0, cosines 1"
    assert not encoding[0, 128:].any()


def test_the_published_month_cannot_be_seen(patches):
    vector = flair_vector(patches, published=True)
    assert vector[0].equal(vector[1])


def test_the_corrected_month_can_be_seen(patches):
    vector = flair_vector(patches, published=False)
    differs = (vector[0] != vector[1]).nonzero().flatten()
    assert differs.tolist() == [39, 40]


def test_the_corrected_year_is_a_circle(patches):
    months = replace(patches, month=torch.tensor([1.0, 4.0]))
    assert flair_vector(months, published=False)[:, MONTH].allclose(torch.tensor([[0.5, 1.0], [1.0, 0.5]]))
    december, january, july = (
        flair_vector(replace(patches, month=torch.full((2,), month)), published=False)[0, MONTH]
        for month in (12.0, 1.0, 7.0)
    )
    assert (december - january).norm() < 0.3 and (july - january).norm() == pytest.approx(1)


def _place(patches: Metadata, x: float, y: float, published: bool) -> Tensor:
    return flair_vector(replace(patches, x=torch.full((2,), x), y=torch.full((2,), y)), published=published)[0, PLACE]


def test_the_place_can_be_seen_when_corrected(patches):
    lille, marseille = (704_000.0, 7_059_000.0), (893_000.0, 6_247_000.0)
    published = [_place(patches, *town, published=True) for town in (lille, marseille)]
    corrected = [_place(patches, *town, published=False) for town in (lille, marseille)]
    assert (published[0] - published[1]).norm() < 0.01
    assert (corrected[0] - corrected[1]).norm() > 1


def test_the_longest_wave_covers_france_once(patches):
    north, south = _place(patches, 6e5, 7.1e6, published=False), _place(patches, 6e5, 6.1e6, published=False)
    assert north[16:18].allclose(-south[16:18], atol=1e-4), "half a wave from border to border"
    assert north[18:].allclose(south[18:], atol=1e-2), "all others return after 1000 km"
    near = _place(patches, 6e5 + 15_625, 6.6e6, published=False)
    assert near[14:16].allclose(_place(patches, 6e5, 6.6e6, published=False)[14:16], atol=1e-2), "the shortest: 15.6 km"


@pytest.mark.parametrize("published", [True, False])
def test_what_is_unknown_gives_zeros(patches, nothing, published):
    vector = flair_vector(nothing, published=published)
    assert vector.shape == (3, 45) and vector.dtype == torch.float32 and not vector.any()
    whole = flair_vector(patches, published=published)
    columns = {"z": ALTITUDE, "uce": CAMERA, "year": YEAR, "month": MONTH, "day": DAY, "minute": TIME}
    columns |= {"x": slice(0, 16), "y": slice(16, 32)}
    for name, block in columns.items():
        part = flair_vector(replace(patches, **{name: torch.full((2,), math.nan)}), published=published)
        expected = whole.clone()
        expected[:, block] = 0
        assert whole[:, block].any() and part.equal(expected), name


def test_other_years_are_no_known_year(patches):
    vector = flair_vector(replace(patches, year=torch.tensor([2018.0, 2023.0])), published=False)
    assert vector[:, YEAR].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]
    other = flair_vector(replace(patches, uce=torch.tensor([1.0, 0.0])), published=False)
    assert other[:, CAMERA].tolist() == [[1, 0], [0, 1]]


def test_the_domain_index(patches):
    """April 12th: 3 + 11/31 twelfths of a turn. x and y: metres from the middle over half a million."""
    turn = 2 * math.pi * (3 + 11 / 31) / 12
    place = [(600_000 - 489_353.59) / 500_000, (6_600_000 - 6_587_552.2) / 500_000]
    index = domain_index(patches)
    assert index.shape == (2, 4) and index.dtype == torch.float32
    torch.testing.assert_close(index[0], torch.tensor([math.sin(turn), math.cos(turn), *place]), atol=1e-5, rtol=0)


def test_the_domain_index_runs_through_the_year(patches):
    new_year, eve = (
        domain_index(replace(patches, month=torch.full((2,), month), day=torch.full((2,), day)))[0, :2]
        for month, day in ((1.0, 1.0), (12.0, 31.0))
    )
    assert new_year.tolist() == [0, 1] and (new_year - eve).norm() < 0.02, "a day before"


def test_what_is_unknown_of_a_domain_index(patches, nothing):
    assert domain_index(nothing).isnan().all()
    unknown = torch.full((2,), math.nan)
    for name, columns in {"month": [0, 1], "day": [0, 1], "x": [2], "y": [3]}.items():
        index = domain_index(replace(patches, **{name: unknown}))
        assert index[0].isnan().nonzero().flatten().tolist() == columns, name
    others = dict.fromkeys(("z", "year", "minute", "uce"), unknown)
    assert domain_index(replace(patches, **others)).equal(domain_index(patches))
