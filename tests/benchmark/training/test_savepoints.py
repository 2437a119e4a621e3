"""Files that are whole or not there, and what is gone on from."""

import os
import pickle
import time
from pathlib import Path

import pytest
import torch

from benchmark.common.errors import DataError
from benchmark.training.savepoints import Savepoints, read, write


@pytest.fixture
def points(tmp_path):
    return Savepoints(tmp_path, {"identity": "a"}, every=0)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_what_is_written_is_read(tmp_path):
    path = write(tmp_path / "new", "x", {"a": torch.arange(3), "b": [1.5, "text"]})
    found = read(path)
    assert torch.equal(found["a"], torch.arange(3)) and found["b"] == [1.5, "text"]
    assert [file.name for file in path.parent.iterdir()] == [path.name], "nothing else is left"


@pytest.mark.parametrize("damage", [_flip, lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_a_damaged_file_is_known_for_it(tmp_path, damage):
    path = write(tmp_path, "x", torch.arange(300))
    damage(path)
    with pytest.raises(DataError, match="x-"):
        read(path)


class _Trap:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return os.mkdir, (str(self.sentinel),)


def test_no_code_of_a_file_is_run(tmp_path):
    """Even where the digest fits: who can write the file can name it."""
    for stem, save in (("zip", torch.save), ("bare", lambda what, path: path.write_bytes(pickle.dumps(what)))):
        path = write(tmp_path, stem, 0)
        save(_Trap(tmp_path / "run"), path)
        from benchmark.training.savepoints import _digest

        trap = path.rename(tmp_path / f"{stem}-{_digest(path)}.pt")
        with pytest.raises(DataError, match="cannot be read"):
            read(trap)
    assert not (tmp_path / "run").exists()


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(content, file):
        file.write(b"some")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path, "x", 0)
    assert not list(tmp_path.iterdir())


def test_a_training_goes_on_where_it_cannot_be_saved(points, caplog):
    points.save(1, {"step": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.training.savepoints.write", _full)
        points.save(2, {"step": 2})
    assert "cannot be saved" in caplog.text and points.newest() == {"step": 1}


def _full(*what):
    raise OSError("no space left on device")


def test_the_newest_is_taken_and_two_are_kept(points):
    for step in (9, 10, 100):
        points.save(step, {"step": step})
    assert points.newest() == {"step": 100}
    assert len(list(points.folder.iterdir())) == 2


def test_the_one_before_a_damaged_one_is_taken(points, caplog):
    for step in (1, 2):
        points.save(step, {"step": step})
    _flip(max(points.folder.iterdir()))
    assert points.newest() == {"step": 1} and "damaged" in caplog.text
    _flip(min(points.folder.iterdir()))
    assert points.newest() is None


def test_one_is_taken_only_with_the_files_it_names(points):
    points.save(1, {"step": 1, "files": []})
    beside = write(points.folder, "weights", torch.zeros(3))
    points.save(2, {"step": 2, "files": [beside.name]})
    assert points.newest()["step"] == 2
    _flip(beside)
    assert points.newest()["step"] == 1


def test_of_another_key_nothing_is_taken(points, caplog):
    points.save(1, {"step": 1})
    assert Savepoints(points.folder, {"identity": "b"}, 0).newest() is None and "starts again" in caplog.text


def test_those_of_another_key_do_not_count_as_the_newest_though_they_came_further(points):
    """Of older code, or of another kind of device: each training goes on from its own."""
    for step in (900, 1000):
        points.save(step, {"step": step, "files": [write(points.folder, "weights-000000500", torch.ones(3)).name]})
    other = Savepoints(points.folder, {"identity": "b"}, 0)
    assert other.newest() is None
    for step in (100, 200, 300):
        other.save(step, {"step": step, "files": [write(points.folder, "weights-000000500", torch.zeros(3)).name]})
        assert other.newest()["step"] == step
    assert torch.equal(read(points.folder / other.newest()["files"][0]), torch.zeros(3))
    assert torch.equal(read(points.folder / points.newest()["files"][0]), torch.ones(3))
    assert points.newest()["step"] == 1000
    assert len(list(points.folder.glob("step-*"))) == 4, "two of each"


def test_damaged_ones_of_later_steps_do_not_count_as_the_newest(points):
    for step in (900, 1000):
        points.save(step, {"step": step})
    for path in points.folder.iterdir():
        _flip(path)
    assert points.newest() is None
    for step in (100, 200, 300):
        points.save(step, {"step": step})
        assert points.newest()["step"] == step
    assert len(list(points.folder.iterdir())) == 2


def test_writing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    points = Savepoints(tmp_path, {}, every=0)
    clock = iter([0.0, 0.5, 1.0, 20.0, 30.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    points.save(1, {})  # takes half a second: 2 % of 25 seconds
    assert not points.due and not points.due and points.due


def test_removed_is_gone(points):
    points.save(1, {})
    points.remove()
    assert not points.folder.exists()
    points.remove()
