"""A file that a person wrote: what is wrong in it is told in one line, with what would be right."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from benchmark.common.errors import SettingsError
from benchmark.common.toml_files import Positive, TomlModel, Url, Whole, read_toml


class House(TomlModel):
    hint = ". Ask the owner"

    rooms: Positive = 1
    trees: Whole = 0
    door: Annotated[Url, Field(description="a URL like http://x")] = "http://default"
    names: Annotated[tuple[str, ...], Field(strict=False, description="a list of texts")] = ()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "house.toml"


def test_values_are_read_and_the_others_are_defaults(file: Path) -> None:
    file.write_text('rooms = 2\nnames = ["é"]', encoding="utf-8")
    house = read_toml(file, House)
    assert house == House(rooms=2, names=("é",)) and house.trees == 0
    with pytest.raises(ValidationError):
        house.rooms = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("room = 1", "there is no key 'room'; did you mean rooms? The keys are rooms, trees, door, names. Ask the"),
        ('qqq = "secret"', "there is no key 'qqq'; the keys are rooms, trees, door, names. Ask the owner"),
        ("rooms = 0", "rooms is a whole number of at least 1, not 0"),
        ("rooms = true", "rooms is a whole number of at least 1, not True"),
        ("rooms = 2.0", "rooms is a whole number of at least 1, not 2.0"),
        ('trees = "4"', "trees is a whole number of at least 0, not '4'"),
        ("names = [1]", "names is a list of texts, not [1]"),
        (f"names = [1, '{'é' * 200}secret']", "names is a list of texts, not [1, 'éé"),  # a long value is cut
        ('names = "a"', "names is a list of texts, not 'a'"),
        ('door = "user:secret@host"', "door is a URL like http://x"),
        ('door = ["http://secret"]', "door is a URL like http://x"),
        ('door = "secret', "cannot be read"),
        ("x = " + "[" * 3000, "cannot be read"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_a_password_is_not(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        read_toml(file, House)
    told = str(error.value)
    assert told.startswith(str(file)) and words in told and "\n" not in told and "secret" not in told
    assert "secret" not in repr(House(door="http://secret"))


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    for make in (lambda: None, lambda: file.write_bytes(b"\xff"), lambda: (file.unlink(), file.mkdir())):
        make()
        with pytest.raises(SettingsError, match=r"house\.toml cannot be read"):
            read_toml(file, House)
