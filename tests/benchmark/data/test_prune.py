"""Old shards: which are found, and that all others are left alone."""

import json
import shutil
from pathlib import Path

import pytest

from benchmark.cli.app import main
from benchmark.data.flair import read_flair
from benchmark.data.prune import old_shards
from benchmark.data.store import is_decoded, open_store


@pytest.fixture
def stored(world, tmp_path):
    shutil.copytree(world, tmp_path / "data")
    catalog = read_flair(tmp_path / "data", name="world")
    open_store(catalog, tmp_path / "stores")
    return catalog, tmp_path / "stores"


def test_present_shards_and_strange_folders_are_left_alone(stored):
    catalog, stores = stored
    for name in ("notes", "half"):
        (stores / "world" / name).mkdir()
    (stores / "world" / "notes" / "shard.json").write_text('{"mine": 1}')
    (stores / "world" / "half" / "shard.json").write_text("{")
    assert old_shards(stores) == [] and old_shards(stores / "nowhere") == []
    assert is_decoded(catalog, stores)


def test_shards_of_changed_and_missing_files_and_of_another_format_are_old(stored):
    stores = stored[1]
    shards = sorted(path.parent for path in stores.glob("*/*/shard.json"))
    about = json.loads((shards[0] / "shard.json").read_text())
    (shards[0] / "shard.json").write_text(json.dumps(about | {"format": 1}))
    for shard, change in ((shards[1], "change"), (shards[2], "remove")):
        source = next(path for path in json.loads((shard / "shard.json").read_text())["sources"])
        if change == "remove":
            Path(source).unlink()
        else:
            with Path(source).open("ab") as file:
                file.write(b"more")
    old = old_shards(stores)
    assert [shard.place for shard in old] == shards[:3]
    reasons = ("of format 1, where this landshift", "of files that were changed since", "of files that are gone")
    assert all(shard.reason.startswith(reason) for shard, reason in zip(old, reasons, strict=True))
    assert all(shard.bytes > about["bytes"]["images.npy"] for shard in old)


def test_the_command_shows_them_and_removes_them_only_when_told(stored, monkeypatch, capsys):
    stores = stored[1]
    assert main(["data", "prune", "--stores", str(stores)]) == 0
    assert "can still be used" in capsys.readouterr().out
    shards = sorted(stores.glob("*/*/shard.json"))
    about = json.loads(shards[0].read_text())
    shards[0].write_text(json.dumps(about | {"format": 1}))
    assert main(["data", "prune", "--stores", str(stores), "--dry-run"]) == 0
    assert "world: 1 shards of format 1" in (said := capsys.readouterr().out) and " MB\n" in said
    assert main(["data", "prune", "--stores", str(stores)]) == 1
    assert "--yes removes them" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert main(["data", "prune", "--stores", str(stores)]) == 1 and shards[0].exists()
    assert main(["data", "prune", "--stores", str(stores), "--yes"]) == 0
    assert not shards[0].parent.exists() and shards[1].exists()
    assert main(["data", "prune", "mine.toml"]) == 1 and main(["data", "stats"]) == 1
    assert "takes no folder" in (said := capsys.readouterr().err) and "data stats needs a folder" in said
