"""Protocol files: those shipped are whole, and a wrong one is named with its key."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from protocols import files
from protocols.base import PARTS, Fold, ProtocolError, fingerprint

GOOD = """
name = "mine"
version = 2
dataset = "world"
title = "t"
description = "d"
confounds = "c"
hold_out = ["place"]
"""
NAMED = GOOD.replace('hold_out = ["place"]', "")


@pytest.mark.parametrize("name", files.names())
def test_every_shipped_protocol_can_be_read(name):
    protocol = files.load(name)
    assert protocol.name == name and protocol.version >= 1
    assert protocol.title and protocol.description and protocol.confounds
    assert len(protocol.fingerprint) == 64 or protocol.dataset in ("flair1", "flair2", "flairhub")


def test_a_file_of_ones_own_is_read_and_pinned(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert files.load(str(path)).label == "mine-v2"
    for name, distance in (("north", 5.25), ('a "b"', float("nan"))):
        path.write_text(re.sub("(?m)^fingerprint = .*\n", "", path.read_text()))
        fold = Fold(name, {}, dict.fromkeys(PARTS, ("a", "b")))
        digest = files.pin(path, [fold], distance)
        protocol = files.load(str(path))
        assert protocol.fingerprint == digest == fingerprint([fold])
        assert protocol.sizes == {name: (2, 2, 2, 2)}
        assert str(protocol.smallest_distance) == ("5.2" if name == "north" else "nan")
    assert path.read_text().count("[pinned]") == 1
    with pytest.raises(ProtocolError, match="version 2 is pinned to other folds"):
        files.pin(path, [replace(fold, name="c")], 1.0)


def test_a_description_is_looked_for_beside_the_protocol(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(re.sub("dataset = .*", 'dataset = "data.toml"', GOOD))
    assert files.load(str(path)).dataset == "data.toml"
    (tmp_path / "data.toml").touch()
    assert files.load(str(path)).dataset == str(tmp_path / "data.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("title", "titel"), "lacks title"),
        (GOOD + "speed = 3\n", "has speed; allowed are"),
        (GOOD.replace('"place"', '"colour"'), "hold_out takes"),
        (GOOD.replace("hold_out", "# hold_out"), "either hold_out"),
        (GOOD + "[split]\nadapt = 0.5\n", r"\[split\] has adapt"),
        (GOOD + "=", "not valid TOML"),
        (GOOD.replace("version = 2", "version = true"), "version takes a int, not True"),
        (GOOD + "forecast = 1\n", "forecast takes a bool"),
        (GOOD + "tables = [3]\n", "tables takes texts"),
        (GOOD + "[split]\nfew = 2.5\n", "few is a whole number"),
        (GOOD + "[split]\ngap = nan\n", "gap is nan"),
        (GOOD + "[pinned.folds]\na = [1, 2]\n", "takes 4 numbers a fold"),
        (NAMED + "fold = [3]\n", r"each \[\[fold\]\]"),
        (GOOD.replace('["place"]', "[]"), "hold_out takes"),
        (GOOD + "[split]\nadapt_share = 1.5\n", "a share is in 0 to 1"),
        (NAMED + '[[fold]]\nname = "a"\ntarget = {place = "D012"}\n', "takes a list"),
        (NAMED + '[[fold]]\nname = "a"\ntarget = {colour = ["red"]}\n', "has colour; allowed are place, time"),
        (NAMED + 2 * '[[fold]]\nname = "a"\ntarget = {place = ["b"]}\n', "a name of its own"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ProtocolError, match=message) as caught:
        files.load(str(path))
    assert "mine.toml" in str(caught.value)


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(ProtocolError, match="world-leave-times-out"):
        files.load("world-leave-nothing-out")


@pytest.mark.parametrize("name", ["../x", "..", ".x", "a/b", "", "x" * 101, "a b"])
def test_a_name_names_a_folder_below_the_results(tmp_path, name):
    (tmp_path / "p.toml").write_text(GOOD.replace('"mine"', f'"{name}"'))
    with pytest.raises(ProtocolError, match="a name is of 1 to 100 letters"):
        files.load(str(tmp_path / "p.toml"))


@pytest.mark.parametrize("line", ["x = " + "[" * 5000, "version = " + "9" * 5000, 'title = "\\u001b[31m"'])
def test_absurd_content_is_one_line(tmp_path, line):
    key = line.partition(" ")[0]
    lines = [old for old in GOOD.splitlines() if not old.startswith(f"{key} ")]
    (tmp_path / "p.toml").write_text("\n".join([line, *lines]))
    with pytest.raises(ProtocolError, match=r"p\.toml") as caught:
        files.load(str(tmp_path / "p.toml"))
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("table", ["../t.csv", "/etc/passwd", "link.csv"])
def test_tables_lie_beside_the_protocol(tmp_path, table):
    (tmp_path / "mine").mkdir()
    (tmp_path / "t.csv").write_text("place,region\nSECRET,1\n")
    (tmp_path / "mine/link.csv").symlink_to(tmp_path / "t.csv")
    (tmp_path / "mine/p.toml").write_text(f'{GOOD}tables = ["{table}"]\n')
    with pytest.raises(ProtocolError, match="is elsewhere than beside the protocol") as caught:
        files.load(str(tmp_path / "mine/p.toml"))
    assert "SECRET" not in str(caught.value)


def test_a_file_of_the_working_folder_is_proposed_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").touch()
    with pytest.raises(ProtocolError, match=r"there is no protocol 'mine'; did you mean mine\.toml"):
        files.load("mine")


def test_a_description_of_data_is_no_protocol(tmp_path):
    (tmp_path / "mine.toml").write_text('name = "mine"\nimage = "{a}.png"\nbands = ["red"]\n')
    with pytest.raises(ProtocolError, match=r"mine\.toml: describes data, and says nothing of what is held out"):
        files.load(str(tmp_path / "mine.toml"))
