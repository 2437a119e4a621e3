"""Tables are read as the programs of several countries write them, or refused by line."""

from pathlib import Path

import pytest

from benchmark.common.errors import DataError
from benchmark.data.folder import read_folder
from benchmark.data.tables import number, read_table


def _write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_and_encodings(tmp_path: Path, separator: str, encoding: str, end: str) -> None:
    lines = [separator.join(line) for line in (("id", "tówn"), ("1", "Évry"), ("2", '"a,b;c"'), ("", ""))]
    table = read_table(_write(tmp_path / "t.csv", end.join(lines), encoding))
    assert table.rows == {"1": {"id": "1", "tówn": "Évry"}, "2": {"id": "2", "tówn": "a,b;c"}}
    assert table.decimal_comma == (separator != ",")


def test_decimal_commas_are_numbers_where_commas_do_not_separate(edit_description, tmp_path: Path) -> None:
    _write(tmp_path / "t.csv", "stem;east;north\np1;651230,5;-2.25\n")
    keys = 'table = "t.csv"\nx = "{east}"\ny = "{north}"\nplace ='
    assert read_folder(edit_description("place =", keys)).patches[["x", "y"]].iloc[0].tolist() == [651230.5, -2.25]
    _write(tmp_path / "t.csv", 'stem,east,north\np1,"651,230",1\n')
    with pytest.raises(DataError, match=r"'x': '651,230' of .* is no number"):
        read_folder(tmp_path / "tiny.toml")


def test_numbers_of_commas_alone() -> None:
    assert number("3,5", decimal_comma=True) == 3.5
    for text in ("1,234,5", "inf", "-Infinity", "1.234,5"):
        with pytest.raises(ValueError, match=r"to float|[iI]nf"):
            number(text, decimal_comma=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,a\n1,2,3\n", "line 2: has 3 cells where the first line has 2"),
        (b"id,a\n1,2\n3\n", "line 3: has 1 cells"),
        (b"id,a,a\n1,2,3\n", "several columns 'a'"),
        (b"id,a\n1,2\n1,2\n", "several rows '1'"),
        ("id,a\n1,Bras\xedlia\n".encode("latin-1"), "line 2 holds the byte 0xed, no UTF-8; save it as UTF-8"),
        (b"", "it is empty"),
    ],
)
def test_what_is_no_table_is_refused_by_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "t.csv")


def test_a_separator_at_the_end_of_each_line_is_no_column(tmp_path: Path) -> None:
    table = read_table(_write(tmp_path / "t.csv", "id;a;\n1; 2 ;\n"))
    assert table.rows == {"1": {"id": "1", "a": "2"}}
