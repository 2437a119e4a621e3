"""Whatever stands in a metadata, table or protocol file: a right catalog or a clear error, never a traceback."""

import datetime
import json
import math
import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.common.errors import DataError
from benchmark.data.flair import _camera, _clock, _date, _number, read_flair
from benchmark.data.flair_files import domain_and_zone
from protocols import files
from protocols.base import ProtocolError
from protocols.columns import read_table

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.integers(0, 23), st.integers(0, 59))
def test_every_time_of_day_is_read(hour, minute):
    assert _clock("IMG_1", f"{hour}h{minute:02d}") == _clock("IMG_1", f"{hour:02d}h{minute:02d}")
    assert _clock("IMG_1", f"{hour}h{minute:02d}") == f"{hour:02d}:{minute:02d}"


@given(st.dates())
def test_every_date_is_read(date: datetime.date):
    assert _date("IMG_1", date.isoformat()) == date.isoformat()


@given(JSON)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_other_value_is_right_or_refused(value):
    for reader, right in ((_clock, r"(\d\d:\d\d)?"), (_date, r"(\d{4}-\d\d-\d\d)?"), (_camera, r"(?s).*")):
        try:
            assert re.fullmatch(right, reader("IMG_1", value))
        except DataError as error:
            assert "IMG_1" in str(error)
    try:
        assert not math.isinf(_number("IMG_1", "x", value))
    except DataError as error:
        assert "IMG_1" in str(error)


@given(
    st.lists(st.text("abD_0189-#é ", min_size=1), max_size=3),
    st.integers(1, 999),
    st.integers(1000, 9999),
    st.integers(0, 999),
    st.text("AFHNU", min_size=2, max_size=2),
    st.booleans(),
)
def test_the_names_of_folders_are_read_below_any_root(roots, department, year, number, letters, zipped):
    domain, zone = f"D{department:03d}_{year}", f"Z{number}_{letters}"
    inside = f"{domain}.zip!/aerial" if zipped else domain
    path = "/".join(["", *roots, inside, zone, "img", "IMG_000001.tif"])
    assert domain_and_zone(path) == (domain, zone)


@given(st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_table_or_refused(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    try:
        header, rows = read_table(path)
    except ProtocolError as error:
        assert "t.csv" in str(error)
    else:
        assert all(len(row) == len(header) for row in rows)


def _mutated(content: bytes, rng: random.Random) -> bytes:
    """One to four pieces of a file changed, lost, doubled or moved."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(content))
        end = min(len(content), start + rng.choice((1, 1, 2, 5, 40)))
        piece = content[start:end]
        other = rng.choice((b"", bytes(rng.randrange(256) for _ in piece), piece * 2, b'"', b"[]", b"-1e999", b"null"))
        content = content[:start] + other + content[end:] or b"{}"
    return content


def test_500_mutated_metadata_files(flair: Path):
    path = flair / "flair-1_metadata_aerial.json"
    original, known = path.read_bytes(), set(json.loads(path.read_text()))
    rng = random.Random(0)
    refused = 0
    for _ in range(500):
        path.write_bytes(_mutated(original, rng))
        try:
            table = read_flair(flair).patches
        except DataError as error:
            refused += 1
            assert path.name in str(error) or "metadata of IMG_" in str(error)
        else:
            assert set(table["id"]) == known and table["zone"].tolist() == ["D004/Z10_AU", "D004/Z10_AU", "D012/Z2_UU"]
    assert 100 < refused < 500


@pytest.mark.parametrize("name", ["flair1-forecast.toml", "tables/flair1-departments.csv"])
def test_500_mutated_protocol_and_table_files(name: str, tmp_path: Path):
    (tmp_path / "tables").mkdir()
    for copied in ("flair1-forecast.toml", "tables/flair1-departments.csv"):
        (tmp_path / copied).write_bytes((files.FOLDER / copied).read_bytes())
    original = (tmp_path / name).read_bytes()
    rng = random.Random(1)
    refused = 0
    for _ in range(500):
        (tmp_path / name).write_bytes(_mutated(original, rng))
        try:
            protocol = files.load(str(tmp_path / "flair1-forecast.toml"))
            for table in protocol.tables:
                read_table(table)
        except ProtocolError as error:
            refused += 1
            assert str(tmp_path) in str(error)
    assert 20 < refused < 500
