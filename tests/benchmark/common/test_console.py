"""Tables in narrow terminals."""

import pytest

from benchmark.common import console as module


@pytest.fixture
def printed(capsys, monkeypatch):
    def lines(width, header, body, **options):
        monkeypatch.setattr(module.console, "_width", width)
        module.print_rows(header, body, **options)
        return capsys.readouterr().out.splitlines()

    return lines


def test_what_is_too_wide_comes_in_further_tables_with_the_first_column_again(printed):
    header, body = ("fold", *(f"figure {number}" for number in range(9))), [("ulm", *map(str, range(9)))] * 2
    wide, narrow = printed(200, header, body), printed(40, header, body)
    assert len(wide) == 4 and len(narrow) == 3 * 4 + 2 and max(map(len, narrow)) <= 40
    assert all(f"figure {number}" in "\n".join(narrow) for number in range(9))
    assert "".join(narrow).count("ulm") == 6


def test_texts_and_tables_of_one_column_stay_one_table(printed):
    assert sum("name" in line for line in printed(30, ("name", "why"), [("a", "long " * 30)], texts=True)) == 1
    assert len(printed(30, ("name",), [("a",)])) == 3
