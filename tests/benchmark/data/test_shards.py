"""Building the store: each file decoded once, whole shards or none, whatever ends the call and whoever else builds."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import tracemalloc
from collections import Counter, defaultdict, namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from benchmark.common.errors import DataError
from benchmark.data import shards
from benchmark.data import store as store_module
from benchmark.data.archives import source_file
from benchmark.data.catalog import Catalog
from benchmark.data.flair import read_flair
from benchmark.data.folder import read_folder
from benchmark.data.shards import plan_shards
from benchmark.data.store import open_store
from benchmark.data.synthetic import World, generate

CORES = 2
AT_ONCE = 2 * CORES + 1  # files that may be decoded ahead of the one that is written

# Opens a store in a process of its own: catalog, folder, log of decoded files, at which file to die.
OPEN = """
import os, pickle, signal, sys, time
from pathlib import Path
from benchmark.data import shards
from benchmark.data.store import open_store

catalog = pickle.loads(Path(sys.argv[1]).read_bytes())
read, log, deadly = shards.read_patches, Path(sys.argv[3]), sys.argv[4]
shards.SHARD_PATCHES = 2

def noted(catalog, rows):
    with log.open("a") as file:
        file.write(rows["id"].iloc[0] + "\\n")
    time.sleep(0.02)
    if rows["id"].iloc[0] == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(catalog, rows)

shards.read_patches = noted
print(open_store(catalog, Path(sys.argv[2])).digest)
"""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Two shards of two patches in each of the four domains."""
    monkeypatch.setattr(shards, "SHARD_PATCHES", 2)


@pytest.fixture
def decoded(monkeypatch):
    """Counts how often each patch is decoded from here on."""
    count = Counter()
    read = shards.read_patches

    def counted(catalog, rows):
        count.update(rows["id"])
        return read(catalog, rows)

    monkeypatch.setattr(shards, "read_patches", counted)
    return count


@pytest.fixture
def own_catalog(tmp_path):
    """The catalog of a world whose files a test may change."""
    generate(World(places=1, times=2, zones=4, zone_side=1, patch_size=16), tmp_path / "world")
    return read_flair(tmp_path / "world", name="own")


def _names(folder):
    """Finished shards, and whatever is half-written; locks stay."""
    return {path.name for path in folder.glob("*/*") if path.suffix != ".lock"}


def _fail_at(monkeypatch, number, error):
    """Let the reading of the `number`-th file fail, one file at a time."""
    calls = []
    read = shards.read_patches

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise error
        return read(*arguments)

    monkeypatch.setattr(shards, "read_patches", failing)


def _patches(plans):
    return {patch for plan in plans for patch in plan.rows["id"]}


def test_shards_are_whole_files_of_one_domain(catalog, patches, tmp_path, write_tiff):
    plans = plan_shards(catalog)
    assert [len(plan.rows) for plan in plans] == [2] * 8
    assert _patches(plans) == set(catalog.patches["id"])
    domains = dict(zip(catalog.patches["id"], catalog.domain, strict=True))
    assert all(domains[patch] == plan.domain for plan in plans for patch in _patches([plan]))

    path = write_tiff(tmp_path / "a.tif", np.zeros((3, 4, 12), np.uint8))
    windows = patches.iloc[[1, 1, 1]].assign(id=["a", "b", "c"], image=str(path), column=[0, 4, 8])
    (plan,) = plan_shards(Catalog("wide", catalog.classes, ("r", "g", "b"), 4, windows))
    assert len(plan.rows) == 3, "a file with more windows than a shard takes is not cut"


def test_files_are_decoded_once(catalog, tmp_path, decoded):
    first = open_store(catalog, tmp_path)
    again = open_store(catalog, tmp_path, progress=lambda done, files: pytest.fail("nothing is left to do"))
    assert again.digest == first.digest
    assert decoded == Counter(catalog.patches["id"])


def test_a_folder_says_what_is_in_it(catalog, tmp_path):
    store = open_store(catalog, tmp_path)
    about = json.loads((store.shards[0].place / "shard.json").read_text())
    assert about["dataset"] == "tiny-world" and about["domain"] == catalog.domain.iloc[0]
    assert [row[0] for row in about["patches"]] == list(store.shards[0].ids)
    assert store.shards[0].place.parent == tmp_path / "tiny-world"


def test_an_interrupted_build_goes_on_after_its_last_whole_shard(catalog, tmp_path, decoded, monkeypatch):
    with monkeypatch.context() as once:
        once.setattr(shards.os, "sched_getaffinity", lambda _: {0}, raising=False)
        _fail_at(once, 5, KeyboardInterrupt())  # the first file of the third shard
        with pytest.raises(KeyboardInterrupt):
            open_store(catalog, tmp_path)
    finished = plan_shards(catalog)[:2]
    assert _names(tmp_path) == {plan.name for plan in finished}
    decoded.clear()

    seen = []
    open_store(catalog, tmp_path, progress=lambda done, files: seen.append((done, files)))
    assert decoded == Counter(set(catalog.patches["id"]) - _patches(finished))
    assert seen == [(done, 16) for done in range(4, 17)], "the files of finished shards count as done"


def _open_elsewhere(catalog, folder, log, deadly=""):
    (folder / "catalog").write_bytes(pickle.dumps(catalog))
    command = [sys.executable, "-c", OPEN, str(folder / "catalog"), str(folder / "stores"), str(log), deadly]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_build_is_taken_up(catalog, tmp_path, decoded):
    plans = plan_shards(catalog)
    killed = _open_elsewhere(catalog, tmp_path, tmp_path / "log", deadly=next(plans[4].files())["id"].iloc[0])
    assert killed.wait(60) == -signal.SIGKILL
    left = _names(tmp_path / "stores")
    half = {name for name in left if name.endswith(".half")}
    assert {plan.name for plan in plans[:4]} == left - half and half == {f".{plans[4].name}.half"}

    open_store(catalog, tmp_path / "stores")
    assert decoded == Counter(_patches(plans[4:]))
    assert _names(tmp_path / "stores") == {plan.name for plan in plans}


def test_what_a_killed_build_left_is_removed_even_if_it_is_never_asked_for_again(catalog, tmp_path):
    for name in ("dead", "living"):
        (tmp_path / f"tiny-world/.{name}.half").mkdir(parents=True)
    with FileLock(tmp_path / "tiny-world/.living.lock"):
        open_store(catalog, tmp_path)
    assert {name for name in _names(tmp_path) if name.startswith(".")} == {".living.half"}


def test_two_processes_at_once_decode_each_file_once(catalog, store, tmp_path):
    logs = [tmp_path / "log 0", tmp_path / "log 1"]
    processes = [_open_elsewhere(catalog, tmp_path, log) for log in logs]
    digests = {process.communicate(timeout=60)[0].strip() for process in processes}
    lines = [line for log in logs if log.exists() for line in log.read_text().splitlines()]
    assert digests == {store.digest}
    assert sorted(lines) == sorted(catalog.patches["id"])


@pytest.mark.parametrize("end", ["finished", "dead"])
def test_a_shard_that_another_process_builds_is_waited_for(catalog, tmp_path, decoded, monkeypatch, end):
    """Meanwhile the others are built. Then it is found whole, or taken up if the other process died."""
    busy, place = plan_shards(catalog)[0], tmp_path / "tiny-world"
    place.mkdir()
    lock = FileLock(place / f".{busy.name}.lock")
    lock.acquire()
    build = store_module._build_one

    def other_process_ends(catalog_, plan, folder, timeout, progress):
        if timeout != 0 and lock.is_locked:
            assert set(decoded) == set(catalog.patches["id"]) - _patches([busy])
            if end == "finished":
                open_store(catalog.select(_patches([busy])), tmp_path / "other")
                (tmp_path / "other/tiny-world" / busy.name).rename(place / busy.name)
            else:
                (place / f".{busy.name}.half").mkdir()
            decoded.clear()
            lock.release()
        build(catalog_, plan, folder, timeout, progress)

    monkeypatch.setattr(store_module, "_build_one", other_process_ends)
    seen = []
    open_store(catalog, tmp_path, progress=lambda done, files: seen.append(done))
    assert set(decoded) == (set() if end == "finished" else _patches([busy]))
    assert seen[-1] == 16


@pytest.mark.parametrize("column", ["image", "mask"])
def test_a_changed_file_rebuilds_only_its_shard(own_catalog, tmp_path, decoded, column):
    open_store(own_catalog, tmp_path)
    decoded.clear()
    os.utime(own_catalog.patches[column].iloc[3], ns=(1, 1))
    open_store(own_catalog, tmp_path)
    changed = own_catalog.patches["id"].iloc[3]
    (shard,) = [plan for plan in plan_shards(own_catalog) if changed in _patches([plan])]
    assert decoded == Counter(_patches([shard]))


@pytest.mark.parametrize("change", [{"scale": 0.5}, {"unknown_share": 0.5}, {"bands": tuple("vwxyz")}])
def test_another_way_of_reading_gives_other_shards(catalog, change):
    before, after = ({plan.name for plan in plan_shards(c)} for c in (catalog, replace(catalog, **change)))
    assert not before & after


def test_catalogs_share_the_shards_of_the_domains_they_have_in_common(catalog, tmp_path, decoded):
    domains = sorted(catalog.domain.unique())
    two, three = (catalog.select(catalog.patches["id"][catalog.domain.isin(domains[:n])]) for n in (2, 3))
    open_store(two, tmp_path)
    assert set(decoded) == set(two.patches["id"])
    store = open_store(three, tmp_path)
    assert store.ids == tuple(three.patches["id"])
    assert decoded == Counter(three.patches["id"])


@pytest.mark.parametrize("name", ["images.npy", "masks.npy", "statistics.npz", "shard.json"])
@pytest.mark.parametrize("damage", ["shorter", "longer", "gone"])
def test_a_damaged_shard_is_found_and_rebuilt(catalog, tmp_path, decoded, name, damage, caplog):
    first = open_store(catalog, tmp_path)
    shard, decoded_again = first.shards[2], decoded
    decoded_again.clear()
    file = shard.place / name
    if damage == "gone":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[:-1] if damage == "shorter" else content + b"x")
    assert open_store(catalog, tmp_path).digest == first.digest
    assert decoded_again == Counter(shard.ids)
    assert str(shard.place) in caplog.text and "damaged" in caplog.text


def test_too_little_space_is_told_before_anything_is_decoded(catalog, tmp_path, decoded, monkeypatch):
    usage = namedtuple("usage", "total used free")
    needed = 16 * 6 * 32 * 32
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: usage(10, 10, needed - 1))
    with pytest.raises(DataError, match=rf"the disk is full: the store needs 0\.1 MB in {tmp_path}"):
        open_store(catalog, tmp_path)
    assert not decoded and not _names(tmp_path)
    domain = catalog.select(catalog.patches["id"][catalog.domain == catalog.domain.iloc[0]])
    open_store(domain, tmp_path)
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: usage(10, 10, needed * 3 / 4))
    open_store(catalog, tmp_path)  # what is there needs no space


def test_a_disk_that_fills_up_meanwhile_keeps_whole_shards_only(catalog, tmp_path, decoded, monkeypatch):
    write, written = np.savez, []

    def full(path, **arrays):
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, **arrays)

    monkeypatch.setattr(shards.np, "savez", full)
    with pytest.raises(DataError, match=f"disk is full.*{tmp_path}"):
        open_store(catalog, tmp_path)
    assert _names(tmp_path) == {plan.name for plan in plan_shards(catalog)[:2]}


def test_a_wrong_file_is_named_and_finished_shards_are_kept(own_catalog, tmp_path):
    plans = plan_shards(own_catalog)
    wrong = Path(next(plans[1].files())["image"].iloc[0])
    wrong.write_bytes(wrong.read_bytes()[:100])
    with pytest.raises(DataError, match=wrong.name):
        open_store(own_catalog, tmp_path / "stores")
    assert _names(tmp_path / "stores") == {plans[0].name}


def test_a_missing_file_is_named(catalog, tmp_path):
    patches = catalog.patches.copy()
    patches.loc[3, "image"] = "/nowhere/IMG_000004.tif"
    with pytest.raises(DataError, match=r"/nowhere/IMG_000004\.tif"):
        open_store(replace(catalog, patches=patches), tmp_path)


def test_a_member_of_a_zip_file_changes_with_the_zip_file(catalog, tmp_path):
    assert source_file("/a/x.zip!/b/c.tif") == "/a/x.zip" and source_file("/a/c.tif") == "/a/c.tif"
    archive = tmp_path / "x.zip"
    archive.write_bytes(b"x")
    members = {"image": f"{archive}!/" + catalog.patches["id"], "mask": ""}
    zipped = replace(catalog, patches=catalog.patches.assign(**members))
    before = {plan.name for plan in plan_shards(zipped)}
    os.utime(archive, ns=(1, 1))
    assert not before & {plan.name for plan in plan_shards(zipped)}


def test_unknown_mask_values_of_all_shards_are_told_once(folder, tmp_path, write_picture, caplog):
    """Also where some shards were there already."""
    catalog = read_folder(folder)
    for path in catalog.patches["mask"].unique():
        mask = np.full((12, 16, 3), (0x3C, 0x10, 0x98), np.uint8)
        mask[0, 0] = (1, 2, 3)
        write_picture(Path(path), mask)
    open_store(catalog.select(catalog.patches["id"][catalog.domain == catalog.domain.iloc[0]]), tmp_path / "stores")
    assert "#010203 (1 pixels)" in caplog.text
    caplog.clear()
    open_store(catalog, tmp_path / "stores")
    assert "#010203 (2 pixels)" in caplog.text and len(caplog.records) == 1


def test_files_ahead_of_the_writer_are_few(monkeypatch):
    monkeypatch.setattr(shards.os, "sched_getaffinity", lambda _: set(range(CORES)), raising=False)
    items = iter(range(100))
    results = shards._in_threads(lambda item: item, items)
    assert next(results) == 0 and next(items) == AT_ONCE
    assert list(results) == [*range(1, AT_ONCE), *range(AT_ONCE + 1, 100)], "results come in order"


def test_planning_keeps_little_of_each_patch(catalog, monkeypatch):
    """A table a file, kept until all are decoded, is 10 kB a patch: a gigabyte for a hundred thousand."""
    monkeypatch.setattr(shards, "stamps_of", lambda paths: defaultdict(tuple))

    def kept(count: int) -> int:
        rows = pd.concat([catalog.patches] * (count // len(catalog.patches)), ignore_index=True)
        names = pd.Series(range(len(rows))).astype(str)
        many = replace(catalog, patches=rows.assign(id="IMG_" + names, image="/" + names + ".tif"))
        tracemalloc.start()
        plans = plan_shards(many)
        for plan in plans:
            assert sum(len(file) for file in plan.files()) == len(plan.rows)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size

    monkeypatch.setattr(shards, "SHARD_PATCHES", 500)
    assert (kept(4096) - kept(1024)) / 3072 < 2000


@pytest.mark.parametrize("name", ["images.npy", "masks.npy", "statistics.npz"])
def test_an_array_of_another_kind_or_a_pickle_is_damage(catalog, tmp_path, name):
    store = open_store(catalog, tmp_path / "stores")
    place = store.shards[0].place
    kept, about = (place / name).read_bytes(), json.loads((place / "shard.json").read_text())
    for array in (np.array([print], dtype=object), np.zeros((1, 2, 3))):
        if name.endswith("npy"):
            np.save(place / name, array)
        else:
            np.savez(place / name, **{**np.load(place / name), "digests": array})
        about["bytes"][name] = (place / name).stat().st_size
        (place / "shard.json").write_text(json.dumps(about))
        assert shards.open_shard(place) is None
        (place / name).write_bytes(kept)
    about["bytes"][name] = len(kept)
    (place / "shard.json").write_text(json.dumps(about))
    assert shards.open_shard(place) is not None
