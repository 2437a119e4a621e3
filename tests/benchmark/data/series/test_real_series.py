"""A real Sentinel-2 year of the team that made FLAIR, in its convention: TreeSatAI-Time-Series (CC-BY-4.0)."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.series.dates import FLAIR2, FLAIRHUB, DateFilter, choose_dates, select
from benchmark.data.series.files import read_series
from benchmark.data.series.series import CLOUD, SNOW, Series

NAME = "Betula_spec._1_15679_WEFL_NLF_2019.h5"
DATES = 146
VALUES, COVERS, PRODUCTS = 3208, 213448, 255496  # bytes before the arrays, which the file holds uncompressed, in a row


def _products(content: bytes) -> list[str]:
    """Names, each of which HDF5 keeps by the address of a heap, and its number there."""
    names = []
    for number in range(DATES):
        _, heap, wanted = struct.unpack_from("<IQI", content, PRODUCTS + 16 * number)
        place = heap + 16
        while True:
            index, _, size = struct.unpack_from("<HHxxxxQ", content, place)
            if index == wanted:
                names.append(content[place + 16 : place + 16 + size].decode("ascii"))
                break
            place += 16 + -(-size // 8) * 8
    return names


@pytest.fixture
def series(shared_data: Callable[[str], Path], tmp_path: Path) -> Series:
    """The year, written into files as FLAIR #2 has them, and read."""
    content = (shared_data("treesatai-ts") / NAME).read_bytes()
    values = np.frombuffer(content, "<f4", DATES * 10 * 36, VALUES).reshape(DATES, 10, 6, 6)
    covers = np.frombuffer(content, "<f4", DATES * 2 * 36, COVERS).reshape(DATES, 2, 6, 6)
    np.save(tmp_path / "data.npy", values.astype(np.uint16))
    np.save(tmp_path / "masks.npy", covers)
    (tmp_path / "products.txt").write_text("\n".join(_products(content)))
    return read_series(*(str(tmp_path / name) for name in ("data.npy", "masks.npy", "products.txt")))


def test_dates_clouds_and_reflectances_are_plausible(series: Series, capsys: pytest.CaptureFixture[str]) -> None:
    dates = series.days.astype("datetime64[D]")
    assert len(dates) == DATES and str(dates[0]) == "2019-01-03" and (np.diff(series.days) > 0).all()
    assert str(dates[-1])[:7] == "2019-12" and series.values.max() == 14_088
    snow, cloud = (series.covers[:, number].mean() for number in (SNOW, CLOUD))
    assert 8 < snow < 10 and 44 < cloud < 46
    blue = series.values[:, 0].mean((1, 2))
    brighter = np.corrcoef(blue, series.covers[:, CLOUD].mean((1, 2)))[0, 1]
    assert brighter > 0.5  # clouds are white: the second cover is theirs
    kept, fell_back = select(series)
    months, clear_months = (select(series, rule, monthly=True)[0] for rule in (FLAIR2, FLAIRHUB))
    red, infrared = clear_months.values[:, 2].mean((1, 2)), clear_months.values[:, 6].mean((1, 2))
    greenness = (infrared - red) / (infrared + red)
    with capsys.disabled():
        clear = "; ".join(f"{rule}: {len(choose_dates(series.covers, each)[0])}" for rule, each in RULES.items())
        green = greenness.round(2).tolist()
        print(f"\n{DATES} dates, snow {snow:.0f} %, clouds {cloud:.0f} %, kept {clear}; NDVI from February on {green}")
    assert len(kept.days) == 65 and not fell_back
    assert len(months.days) == 12 and (np.diff(months.days) >= 28).all()
    assert len(clear_months.days) == 11  # no clear date in January
    assert greenness[4:7].min() > greenness[[0, 10]].max()  # June to August are greener than February and December


RULES = {"FLAIR #2": FLAIR2, "FLAIR-HUB": FLAIRHUB, "20 / 0.2": DateFilter(20, 0.2)}


@pytest.mark.parametrize(("name", "count"), [("FLAIR #2", 65), ("FLAIR-HUB", 46), ("20 / 0.2", 62)])
def test_rules_keep_as_many_dates_as_the_published_code(name: str, count: int, series: Series) -> None:
    assert len(choose_dates(series.covers, RULES[name])[0]) == count
