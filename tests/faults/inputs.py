"""Hostile inputs by kind: valid files, changed by chance, and files made to do harm."""

import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import sqlite3
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from PIL import Image
from safetensors.torch import save

SIDE = 16
SECRET = 0x5A  # every pixel of the image outside; a checksum of it would give it away


class Place:
    """A folder with inputs, and beside them what no input may reach: a secret, a canary, a sentinel."""

    def __init__(self, base: Path) -> None:
        self.base, self.port = base, 0
        self.canary = base / "outside"
        self.canary.mkdir()
        self.sentinel = base / "sentinel"
        (base / "inputs").mkdir()
        write_tiff(self.canary / "secret.tif", np.full((3, SIDE, SIDE), SECRET, np.uint8))
        write_tiff(self.canary / "secret5.tif", np.full((5, SIDE, SIDE), SECRET, np.uint8))

    def fresh(self, number: int) -> Path:
        """An empty folder."""
        folder = self.base / "inputs" / f"{number:06d}"
        folder.mkdir()
        return folder

    def remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def outside(self) -> str:
        """Digest of everything outside of the inputs, names and content."""
        digest = hashlib.sha256()
        for path in sorted([*self.canary.rglob("*"), *self.base.glob("*"), *(self.base / "inputs").glob("*")]):
            digest.update(f"{path} {path.lstat().st_mode}".encode())
            digest.update(path.read_bytes() if path.is_file() and self.canary in path.parents else b"")
        return digest.hexdigest()

    def secret_in(self, told: str) -> bool:
        """Whether what a reader told shows that it has read the secret."""
        return f"pixels {SECRET}" in told


def write_tiff(path: Path, array: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = array.shape
    kind = {"count": count, "height": height, "width": width, "dtype": array.dtype}
    with rasterio.open(path, "w", **{"driver": "GTiff", "compress": "deflate"} | kind | options) as file:
        file.write(array)


def changed(content: bytes, rng: random.Random, words: tuple[bytes, ...] = ()) -> bytes:
    """Bits flipped, pieces lost, doubled, cut off, put elsewhere or made absurd."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        if not data:
            break
        start = rng.randrange(len(data))
        end = min(len(data), start + rng.choice((1, 2, 4, 8, 50)))
        match rng.randrange(6):
            case 0:
                data[start] ^= 1 << rng.randrange(8)
            case 1:
                data[start:end] = b""
            case 2:
                data[start:end] = data[start:end] * 2
            case 3:
                data[start:end] = rng.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x80"))
            case 4:
                data = data[: rng.randrange(len(data))] if rng.random() < 0.5 else data
            case _:
                data[start:end] = rng.choice(words or (rng.randbytes(8),))
    return bytes(data)


class Payload:
    """Makes the sentinel when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sentinel),)


def _vrt(target: str) -> str:
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="0">{target}'
        f"</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    return f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}">{bands}</VRTDataset>'


def _addresses(place: Place) -> list[str]:
    home, secret = f"http://127.0.0.1:{place.port}", place.canary / "secret.tif"
    return [
        f"/vsicurl/{home}/x.tif",
        f"{home}/x.tif",
        f"/vsizip//vsicurl/{home}/x.zip/x.tif",
        f"GTIFF_DIR:1:{secret}",
        f"/vsisubfile/0_1000,{secret}",
        f"/vsizip/{{{secret}}}/x.tif",
        f"zip+{home}/x.zip!x.tif",
    ]


def _absurd_tiff(rng: random.Random) -> bytes:
    """A header of a huge image, of which nothing is there."""
    side, bands = rng.choice((100_000, 65_000, 2_000_000_000, 40_000)), rng.choice((1, 3, 5, 500, 65_535))
    kind = rng.choice(("tile", "strip"))
    entries = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, bands)]
    if kind == "tile":
        tile = rng.choice((16, 4096, 65_520, 1 << 30))
        entries += [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, 0), (325, 4, 1, 0)]
    else:
        entries += [(273, 4, 1, 8), (278, 4, 1, rng.choice((1, side))), (279, 4, 1, rng.choice((0, 1 << 31)))]
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + b"\0\0\0\0"


def _image(rng: random.Random, bands: int = 3) -> np.ndarray:
    return np.random.default_rng(rng.randrange(1 << 30)).integers(0, 90, (bands, SIDE, SIDE), dtype=np.uint8)


def image(place: Place, folder: Path, rng: random.Random) -> None:
    """``path.txt`` with the path of an image of three bands: changed, absurd, with side files, or no image at all."""
    path = folder / "image.tif"
    (folder / "path.txt").write_text(str(path))
    where = rng.choice([str(place.canary / "secret.tif"), *_addresses(place)])
    match rng.randrange(6):
        case 0:
            path.write_text(_vrt(where))
        case 1:
            (folder / "path.txt").write_text(where if where in _addresses(place) else _addresses(place)[0])
        case 2:
            path.write_bytes(_absurd_tiff(rng))
        case 3:  # the size in the header of a PNG
            content = io.BytesIO()
            Image.fromarray(_image(rng).transpose(1, 2, 0)).save(content, "PNG")
            size = struct.pack(">II", *rng.choices((1, 65_000, 1 << 30), k=2))
            (folder / "image.png").write_bytes(content.getvalue()[:16] + size + content.getvalue()[24:])
            (folder / "path.txt").write_text(str(folder / "image.png"))
        case _:
            compress = rng.choice(("deflate", "lzw", "packbits", "none", "zstd", "jpeg"))
            write_tiff(path, _image(rng), compress=compress, tiled=rng.random() < 0.3, blockxsize=16, blockysize=16)
            path.write_bytes(changed(path.read_bytes(), rng))
            if rng.random() < 0.5:  # side files that GDAL would look for
                item = f'<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{where}</MDI></Metadata>'
                (folder / "image.tif.aux.xml").write_text(f"<PAMDataset>{item}</PAMDataset>")
                (folder / "image.tif.ovr").write_text(_vrt(where))
                (folder / "image.tif.msk").write_text(_vrt(where))


def archive(place: Place, folder: Path, rng: random.Random) -> None:
    """A zip archive of a domain, with names that lead out of it, links, bombs, members twice or changed bytes."""
    domain, path = folder / "files/D004_2021", folder / "D004_2021.zip"
    write_tiff(domain / "Z1_AU/img/IMG_000001.tif", _image(rng, 5))
    write_tiff(domain / "Z1_AU/msk/MSK_000001.tif", _image(rng, 1) % 19 + 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        for file in sorted(domain.rglob("*.tif")):
            content.write(file, f"aerial/{file.relative_to(domain)}")
        trick = rng.randrange(8)
        bad = rng.choice(("../../outside/new.tif", "/etc/x.tif", "..\\..\\x.tif", "a/../../x.tif", "C:/x.tif"))
        if trick == 0:
            content.writestr(f"{bad}", b"x")
        elif trick == 1:
            link = zipfile.ZipInfo("aerial/Z1_AU/img/IMG_000009.tif")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            content.writestr(link, str(place.canary / "secret5.tif"))
        elif trick == 2:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a name that is there
                content.writestr("aerial/Z1_AU/img/IMG_000001.tif", b"other")
        elif trick == 3:
            content.writestr("x_metadata.json", b"[" * 5_000_000)
        elif trick == 4:
            content.writestr("x_metadata.json", rng.choice((b"{}", b"[1]", b'{"IMG_000001": {"time": 5}}', b"\xff")))
    data = path.read_bytes()
    if trick == 5:  # sizes in the central directory
        at = data.rindex(b"PK\x01\x02")
        data = data[: at + 20] + struct.pack("<II", *rng.choices((0, 1, 0x7FFFFFFF, 0xFFFFFFF0), k=2)) + data[at + 28 :]
    elif trick == 6:
        at = data.rindex(b"PK\x01\x02")
        data = data[: at + 8] + struct.pack("<H", 1) + data[at + 10 :]  # encrypted
    elif trick == 7:
        tail = len(data) // 2
        data = data[:tail] + changed(data[tail:], rng)
    path.write_bytes(data)
    shutil.rmtree(folder / "files")


def weights(place: Place, folder: Path, rng: random.Random) -> None:
    """``weights.pth`` or ``weights.safetensors``, some of which are pickles."""
    state: dict[str, Any] = {"conv1.weight": torch.zeros(4, 3, 3, 3), "bn1.bias": torch.ones(4)}
    file = io.BytesIO()
    match rng.randrange(7):
        case 0:
            pickle.dump(Payload(place.sentinel), file)
        case 1:
            torch.save({"state_dict": Payload(place.sentinel)}, file)
        case 2:
            torch.save(rng.choice([[1], {1: 2}, torch.zeros(2), {"state_dict": 3}, {"a": "b"}, "x"]), file)
        case 3:
            torch.save(state, file)
            packed = io.BytesIO()
            with zipfile.ZipFile(file) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
                for name in old.namelist():
                    new.writestr(name, old.read(name) if "data/0" not in name else b"\0" * 5_000_000)
            file = packed
        case 4:
            torch.save(state, file, _use_new_zipfile_serialization=False)
            file = io.BytesIO(changed(file.getvalue(), rng))
        case 5:
            torch.save(state, file)
            file = io.BytesIO(changed(file.getvalue(), rng))
        case _:
            content = save(state)
            if rng.random() < 0.3:
                content = struct.pack("<Q", rng.choice((1 << 62, 1 << 31, 0, 5))) + content[8:]
            file = io.BytesIO(changed(content, rng))
    suffix = rng.choice((".pth", ".pt", ".bin", ".safetensors", ".safetensors"))
    (folder / f"weights{suffix}").write_bytes(file.getvalue())


def _table(content: bytes, rng: random.Random) -> bytes:
    words = (b'"', b"\0", b",,,,", b"\xff", b"\r", b"x" * 200_000, b"=cmd()", b"\x1b[31m", b"../../x")
    return changed(content, rng, words) if rng.random() < 0.6 else content


JSON_WORDS = (b"[" * 50_000, b"9" * 5000, b"null", b"[]", b'"x"', b"{}", b"1e999", b"-1", b"NaN", b"true")


def _json(content: Any, rng: random.Random) -> bytes:
    """JSON, perhaps with a value or with bytes changed."""
    text = json.dumps(content).encode()
    if rng.random() < 0.4:
        parts = text.split(b": ")
        parts[rng.randrange(1, len(parts))] = rng.choice(JSON_WORDS) + rng.choice((b', "a"', b"}", b"]", b""))
        text = b": ".join(parts) if rng.random() < 0.5 else changed(text, rng, JSON_WORDS)
    return text


def run_files(place: Place, folder: Path, rng: random.Random) -> None:
    """What a run leaves in a results folder, and a published table, one file of which was changed or is a pickle."""
    matrices, zones = np.ones((2, 3, 2), np.int64), np.array(["a|z", "b|z"])
    poison = np.array([Payload(place.sentinel)], dtype=object)
    odd = rng.choice((matrices, matrices, poison, np.zeros((2, 2)), np.array("x"), np.zeros(0)))
    np.savez_compressed(folder / "confusions.npz", **{"zones/target_test": zones, "4/target_test": odd})
    files: dict[str, Any] = {
        "curve.json": [[0, {"train/loss": 1.5}], [4, {"train/loss": 0.5}]],
        "run.json": {
            "status": "FINISHED", "name": "m", "facts": {"method": "m"}, "tags": {}, "started": 1.5, "end_tags": {},
            "dataset": {"name": "d", "digest": "e", "source": "/s", "patches": {"a": 4}, "context": "c"},
        },
        "checkpoints.json": [{"step": 4, "source_val_miou": 0.5, "target_miou": 0.4, "scores": {"entropy": 0.1}}],
        "settings.json": {
            "classes": ["a", "b"],
            "recipe": {"steps": 4, "network": {"encoder": "x", "decoder_channels": [8]}, "crop": 3},
        },
        "comparison.json": {
            **dict.fromkeys(("protocol", "protocol_version", "fingerprint", "dataset", "dataset_digest"), "x"),
            "comparison": "k", "shared": {"recipe": {"network": {}}}, "environments": [{"device": "cpu"}],
            "cells": [{
                "method": "m", "fold": "f", "seed": 0, "setting": "payload_module:Evil", "run": "r", "identity": "i",
                "method_digest": "d", "code_version": "v", "step": 4, "source_val_miou": 0.5, "target_miou": 0.4,
            }],
        },
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_bytes(_json(content, rng))
    (folder / "cells.csv").write_bytes(_table(b"method,fold,seed,status,reason,target/miou\nm,f,0,done,,0.4\n", rng))
    rows = b"# t\n\n| method | sees | target mIoU | x |\n|---|---|--:|--:|\n| m | s | 40.0 | 1 |\n"
    (folder / "comparison.md").write_bytes(_table(rows, rng))
    tensors = save({"network.a": torch.zeros(3)})
    (folder / "weights.safetensors").write_bytes(changed(tensors, rng) if rng.random() < 0.3 else tensors)
    (folder / "payload_module.py").write_text(f"import os\nos.mkdir({str(place.sentinel)!r})\n")
    if rng.random() < 0.3:
        (folder / "confusions.npz").write_bytes(changed((folder / "confusions.npz").read_bytes(), rng))


FACTS = {
    "method": "m", "fold": "f", "seed": "0", "comparison": "k", "code_version": "v", "method_digest": "d",
    "fingerprint": "x", "dataset": "d", "dataset_digest": "e", "network": "n", "steps": "4", "batch_size": "2",
}  # fmt: skip


def job_database(place: Place, folder: Path, rng: random.Random) -> None:
    """A results folder whose jobs, documents, tables or bytes were changed."""
    from benchmark.experiments.queue import Entry
    from benchmark.experiments.results import ResultsFolder

    results = ResultsFolder(folder)
    results.queue.add([Entry(key, "", {"plan": {}}, FACTS | {"fold": key}) for key in ("a" * 64, "b" * 64)], "x-v1")
    claim = results.queue.claim("host:1:2/0")
    assert claim is not None
    results.queue.finish(claim, claim.facts, {"device": "cpu"}, {"target/miou": 0.5, "selected/step": 4.0})
    results.describe("x-v1", "A note.", {"protocol": "x", "fingerprint": "x"})
    documents = {
        "comparison/k": {
            "methods": {"m": {"needs": "source labels", "control": True}}, "folds": ["a" * 64, "b" * 64], "seeds": [0],
            "skipped": {}, "facts": FACTS, "blocks": [[["m"], ["a" * 64], [0]]],
        },
        "summaries": {"m": {"run": "r", "digest": "d", "facts": {"method": "m"}}}, "methods": ["m"],
    }  # fmt: skip
    for name, content in documents.items():
        results.database.edit("x-v1", name, lambda old, new=content: new)  # type: ignore[misc]
    path = folder / "jobs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        jobs, texts = "landshift_jobs", ("facts", "tags", "metrics", "error", "state", "started", "kills", "position")
        match rng.randrange(7):
            case 0 | 1:
                (text,) = connection.execute(f"SELECT facts FROM {jobs}").fetchone()
                connection.execute(f"UPDATE {jobs} SET facts = ?", (_json(json.loads(text), rng).decode("latin1"),))
            case 2:
                word = rng.choice((*(word.decode() for word in JSON_WORDS), b"\xff\xfe", -(2**60), "\x1b[31m"))
                connection.execute(f"UPDATE {jobs} SET {rng.choice(texts)} = ?", (word,))
            case 3:
                name = rng.choice(list(documents))
                change = "UPDATE landshift_documents SET content = ? WHERE name = ?"
                connection.execute(change, (_json({"a": documents[name]}, rng)[6:-1].decode("latin1"), name))
            case 4:
                table = rng.choice((jobs, "landshift_publications", "landshift_documents"))
                connection.execute(f"ALTER TABLE {table} RENAME TO other")
                if rng.random() < 0.5:
                    connection.execute(f"CREATE VIEW {table} AS SELECT * FROM other")
            case 5:
                connection.execute(
                    "UPDATE landshift_publications SET key = '../../outside/' || key, run = '../x', tags = '[1]'"
                )
            case _:
                pass
    if rng.random() < 0.3:
        path.write_bytes(changed(path.read_bytes(), rng))


KINDS: dict[str, Callable[[Place, Path, random.Random], None]] = {
    "image": image,
    "zip archive": archive,
    "weights": weights,
    "files of runs and tables": run_files,
    "job database": job_database,
}
