"""Hostile inputs by kind: valid files, changed by chance, and files made to do harm."""

import hashlib
import io
import json
import os
import pickle
import random
import shutil
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
        Image.fromarray(np.full((SIDE, SIDE, 3), SECRET, np.uint8)).save(self.canary / "secret.png")
        (self.canary / "secret.csv").write_text("place,region\nSECRETWORD,1\n")
        (self.canary / "secret.json").write_text('{"IMG_000001": {"camera": "SECRETWORD"}}')

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
        return "SECRETWORD" in told or f"pixels {SECRET}" in told


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


def geotiff(place: Place, folder: Path, rng: random.Random) -> None:
    """``image.tif`` of three bands."""
    path = folder / "image.tif"
    compress = rng.choice(("deflate", "lzw", "packbits", "none", "zstd", "jpeg"))
    write_tiff(path, _image(rng), compress=compress, tiled=rng.random() < 0.3, blockxsize=16, blockysize=16)
    if rng.random() < 0.3:  # side files that GDAL would look for
        where = rng.choice(_addresses(place))
        item = f'<MDI key="OVERVIEW_FILE">{where}</MDI>'
        (folder / "image.tif.aux.xml").write_text(
            f'<PAMDataset><Metadata domain="OVERVIEWS">{item}</Metadata></PAMDataset>'
        )
        (folder / "image.tif.ovr").write_text(_vrt(where))
        (folder / "image.tif.msk").write_text(_vrt(where))
    if rng.random() < 0.3:
        path.write_bytes(_absurd_tiff(rng))
    else:
        path.write_bytes(changed(path.read_bytes(), rng))


def mask(place: Place, folder: Path, rng: random.Random) -> None:
    """``mask.png``."""
    path = folder / "mask.png"
    kind = rng.choice(("PNG", "PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP"))
    Image.fromarray(_image(rng, 1)[0]).save(path, kind)
    content = path.read_bytes()
    if rng.random() < 0.2:
        content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n"
        content += f"({place.sentinel}) (w) file closefile showpage\n".encode()
    if kind == "PNG" and rng.random() < 0.3:  # the size in the header
        content = content[:16] + struct.pack(">II", *rng.choices((1, 65_000, 1 << 30), k=2)) + content[24:]
    path.write_bytes(changed(content, rng) if rng.random() < 0.7 else content)


def posing(place: Place, folder: Path, rng: random.Random) -> None:
    """``paths.txt``: XML named .tif, addresses and links, as paths of images."""
    (folder / "image.tif").write_text(_vrt(rng.choice([str(place.canary / "secret.tif"), *_addresses(place)])))
    paths = [str(folder / "image.tif"), *_addresses(place)]
    (folder / "paths.txt").write_text(rng.choice(paths))


PROTOCOL = """
name = "mine"
version = 1
dataset = "flair1"
title = "Places"
description = "Held out."
confounds = "Times."
hold_out = ["place"]
tables = ["t.csv"]
[split]
few = 1
gap = 2.5
[pinned]
smallest_distance = 1.0
[pinned.folds]
"D004" = [1, 2, 3, 4]
"""
WORDS = (
    b'"../../outside/secret.csv"', b'"/etc/passwd"', b"[" * 5000, b"{", b"9" * 5000, b"-1", b"1e999", b"nan", b"true",
    b'"\\u001b[31m"', b'"[red]x"', b'"<script>"', b'"a|b"', b'"' + b"x" * 100_000 + b'"', b"null", b"1979-05-27",
    b"2021-13-45", b'"../.."', b'"\\u0000"', b'["../../outside/secret.csv"]', b'"{a}{a}"', b"\xff\xfe", b"[[", b"]]",
)  # fmt: skip


def _values_swapped(text: str, rng: random.Random) -> bytes:
    """Some values of a file of ``key = value`` lines changed for words."""
    lines = text.strip().encode().split(b"\n")
    for _ in range(rng.randint(0, 2)):
        index = rng.randrange(len(lines))
        key, equals, _ = lines[index].partition(b" = ")
        lines[index] = key + equals + rng.choice(WORDS) if equals else rng.choice((lines[index] * 2, b"[split"))
    return b"\n".join(lines)


def protocol(place: Place, folder: Path, rng: random.Random) -> None:
    """``protocol.toml`` with its table ``t.csv``."""
    (folder / "t.csv").write_bytes(_table(b"place,region\nD004,south\nD012,north\n", rng))
    text = _values_swapped(PROTOCOL, rng)
    (folder / "protocol.toml").write_bytes(changed(text, rng, WORDS) if rng.random() < 0.4 else text)
    if rng.random() < 0.1:
        (folder / "t.csv").unlink()
        (folder / "t.csv").symlink_to(place.canary / "secret.csv")


def _table(content: bytes, rng: random.Random) -> bytes:
    words = (b'"', b"\0", b",,,,", b"\xff", b"\r", b"x" * 200_000, b"=cmd()", b"\x1b[31m", b"../../x")
    return changed(content, rng, words) if rng.random() < 0.6 else content


DESCRIPTION = """
name = "tiny"
root = "."
bands = ["red", "green", "blue"]
patch_size = 8
scale = 1.0
maximum = 255
image = "{tile}/images/{part}.png"
mask = "{tile}/masks/{part}.png"
place = "{tile}"
zone = "{tile}/{part}"
time = "{year}"
date = "{day}"
x = "{east}"
table = "manifest.csv"
ignore = ["#9b9b9b"]
unknown_share = 1.0
[[classes]]
name = "building"
color = "#3c1098"
[[classes]]
name = "land"
color = "#8429F6"
"""


def description(place: Place, folder: Path, rng: random.Random) -> None:
    """``data.toml`` of images, masks and a table; perhaps with links and ``..``."""
    for tile in ("t1", "t2"):
        for kind in ("images", "masks"):
            (folder / tile / kind).mkdir(parents=True)
            Image.fromarray(_image(rng).transpose(1, 2, 0)).save(folder / tile / kind / f"{tile}.png")
    table = b"stem,year,day,east\nt1,2020,2020-01-01,1\nt2,2021,2021-01-01,2.5\n"
    (folder / "manifest.csv").write_bytes(_table(table, rng))
    text = DESCRIPTION.encode()
    up = "../../outside"
    match rng.randrange(6):
        case 0:
            text = text.replace(b'"{tile}/masks/{part}.png"', f'"{rng.choice((up, place.canary))}/secret.png"'.encode())
        case 1:
            text = text.replace(b'"manifest.csv"', f'"{rng.choice((up, place.canary))}/secret.csv"'.encode())
        case 2:
            path = folder / rng.choice(("t1/images", "t1/masks")) / "t1.png"
            path.unlink()
            path.symlink_to(place.canary / "secret.png")
        case 3:
            shutil.rmtree(folder / "t2")
            (folder / "t2").mkdir()
            (place.canary / "images").mkdir(exist_ok=True)
            shutil.copy(place.canary / "secret.png", place.canary / "images")
            (folder / "t2/images").symlink_to(place.canary / "images")
        case _:
            text = _values_swapped(DESCRIPTION, rng)
            text = changed(text, rng, WORDS) if rng.random() < 0.3 else text
    (folder / "data.toml").write_bytes(text)


def _flair(folder: Path, rng: random.Random) -> dict[str, Any]:
    """Two patches with masks; their metadata."""
    entries = {}
    for number, domain in (("000001", "D004_2021"), ("000002", "D012_2019")):
        write_tiff(folder / f"{domain}/Z1_AU/img/IMG_{number}.tif", _image(rng, 5))
        write_tiff(folder / f"{domain}/Z1_AU/msk/MSK_{number}.tif", _image(rng, 1) % 19 + 1)
        entries[f"IMG_{number}"] = {
            "domain": domain, "zone": "Z1_AU", "date": f"{domain[5:]}-07-09", "time": "9h05",
            "patch_centroid_x": 961488.0, "patch_centroid_y": 6329211.2, "camera": "CAMERA#017",
        }  # fmt: skip
    return entries


def metadata(place: Place, folder: Path, rng: random.Random) -> None:
    """FLAIR's layout with metadata that were changed."""
    content = json.dumps(_flair(folder, rng)).encode()
    words = (
        b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b"1e999", b"NaN", b"null", b'"\\u001b[31m"', b'"\\ud800"',
        b'"' + b"x" * 500_000 + b'"', b"true", b"[]", b"{}", b'"<img src=x>"', b"\0",
    )  # fmt: skip
    match rng.randrange(4):
        case 0:
            key = rng.choice([b'"CAMERA#017"', b'"9h05"', b"961488.0", b'"Z1_AU"', b'"2021-07-09"'])
            content = content.replace(key, rng.choice(words), 1)
        case 1:
            content = rng.choice(words)
        case _:
            content = changed(content, rng, words)
    (folder / "flair_metadata.json").write_bytes(content)


def flair_links(place: Place, folder: Path, rng: random.Random) -> None:
    """FLAIR's layout with links that lead out of it, or in circles; and pipes."""
    (folder / "flair_metadata.json").write_text(json.dumps(_flair(folder, rng)))
    image = folder / "D004_2021/Z1_AU/img/IMG_000001.tif"
    match rng.randrange(6):
        case 0:
            image.unlink()
            image.symlink_to(place.canary / "secret5.tif")
        case 1:
            (folder / "flair_metadata.json").unlink()
            (folder / "flair_metadata.json").symlink_to(place.canary / "secret.json")
        case 2:
            (folder / "more").symlink_to(place.canary)
        case 3:
            for name in ("a", "b", "c"):
                (folder / name).symlink_to(folder)
        case 4:
            image.unlink()
            os.mkfifo(image)
        case _:
            os.mkfifo(folder / "x_metadata.json")


def archive(place: Place, folder: Path, rng: random.Random) -> None:
    """A zip archive of a domain, with names that lead out of it, links, bombs, members twice or changed bytes."""
    _flair(folder / "files", rng)
    path = folder / "D004_2021.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        for file in sorted((folder / "files/D004_2021").rglob("*.tif")):
            content.write(file, f"aerial/{file.relative_to(folder / 'files/D004_2021')}")
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


def store(place: Place, folder: Path, rng: random.Random) -> None:
    """A shard of decoded patches, one file of which was changed or is a pickle."""
    count, bands = 2, 3
    masks = _image(rng, count) % 2
    arrays = {"images": np.stack([_image(rng, bands) for _ in range(count)]), "masks": masks}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    statistics: dict[str, Any] = {
        "sums": np.zeros((count, bands)), "square_sums": np.zeros((count, bands)),
        "class_counts": np.zeros((count, 3), np.int64), "histogram": np.zeros((bands, 256), np.int64),
        "digests": np.zeros((count, 32), np.uint8),
    }  # fmt: skip
    name = rng.choice(("images.npy", "masks.npy", "statistics.npz", "shard.json"))
    poison = np.array([Payload(place.sentinel)], dtype=object)
    if rng.random() < 0.25 and name == "statistics.npz":
        statistics[rng.choice(list(statistics))] = rng.choice((poison, np.zeros(3), np.array("x")))
    np.savez(folder / "statistics.npz", **statistics)
    if rng.random() < 0.3 and name.endswith(".npy"):
        np.save(folder / name, poison if rng.random() < 0.5 else np.zeros((1, 2), rng.choice(("u1", "f8", "U3"))))
    elif name.endswith(".npy") or (rng.random() < 0.7 and name == "statistics.npz"):
        (folder / name).write_bytes(changed((folder / name).read_bytes(), rng, (b"(999999999999,", b"'|O'", b"(" * 90)))
    names = ("images.npy", "masks.npy", "statistics.npz")
    about: dict[str, Any] = {
        "format": 2, "dataset": "tiny", "domain": "a@b", "unknown": {}, "columns": ["id"], "patches": [["p0"], ["p1"]],
        "bytes": {each: (folder / each).stat().st_size for each in names},
    }  # fmt: skip
    if name == "shard.json":
        about[rng.choice(list(about))] = rng.choice(([], {}, None, "x", [[]], [["a"]] * 9, {"../../x": 1}, {"x": "y"}))
    text = json.dumps(about).encode()
    (folder / "shard.json").write_bytes(
        changed(text, rng, (b"[" * 50_000, b"9" * 5000)) if rng.random() < 0.2 else text
    )


def run_files(place: Place, folder: Path, rng: random.Random) -> None:
    """What a run leaves in a results folder, and a published table, one file of which was changed or is a pickle."""
    matrix = np.ones((3, 2), np.int64)
    poison = np.array([Payload(place.sentinel)], dtype=object)
    odd = rng.choice((matrix, matrix, poison, np.zeros((2, 2)), np.array("x"), np.zeros(0)))
    np.savez_compressed(folder / "confusions.npz", **{"4/target_test/a|z": matrix, "4/target_test/b|z": odd})
    files = {
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
    words = (b"[" * 50_000, b"9" * 5000, b"null", b"[]", b'"x"', b"{}", b"1e999", b"-1", b"NaN")
    for name, content in files.items():
        text = json.dumps(content).encode()
        if rng.random() < 0.4:
            parts = text.split(b": ")
            parts[rng.randrange(1, len(parts))] = rng.choice(words) + rng.choice((b', "a"', b"}", b"]", b""))
            text = b": ".join(parts) if rng.random() < 0.5 else changed(text, rng, words)
        (folder / name).write_bytes(text)
    (folder / "cells.csv").write_bytes(_table(b"method,fold,seed,status,reason,target/miou\nm,f,0,done,,0.4\n", rng))
    rows = b"# t\n\n| method | sees | target mIoU | x |\n|---|---|--:|--:|\n| m | s | 40.0 | 1 |\n"
    (folder / "comparison.md").write_bytes(_table(rows, rng))
    tensors = save({"network.a": torch.zeros(3)})
    (folder / "weights.safetensors").write_bytes(changed(tensors, rng) if rng.random() < 0.3 else tensors)
    (folder / "payload_module.py").write_text(f"import os\nos.mkdir({str(place.sentinel)!r})\n")
    if rng.random() < 0.3:
        (folder / "confusions.npz").write_bytes(changed((folder / "confusions.npz").read_bytes(), rng))


def catalog_cache(place: Place, folder: Path, rng: random.Random) -> None:
    """The kept table of a catalog, changed."""
    import pandas as pd

    table = pd.DataFrame({"id": ["a", "b"], "image": ["/x.tif", "/y.tif"], "x": [1.0, 2.0]})
    table.to_feather(folder / "table.feather", compression="uncompressed")
    content = (folder / "table.feather").read_bytes()
    if rng.random() < 0.2:
        content = pickle.dumps(Payload(place.sentinel))
    (folder / "table.feather").write_bytes(changed(content, rng) if rng.random() < 0.8 else content)
    text = json.dumps({"patch_size": 16, "stamps": {}}).encode()
    (folder / "table.json").write_bytes(changed(text, rng, (b"[" * 50_000,)) if rng.random() < 0.4 else text)


KINDS: dict[str, Callable[[Place, Path, random.Random], None]] = {
    "GeoTIFF": geotiff,
    "mask": mask,
    "XML, address or link as an image": posing,
    "protocol and its table": protocol,
    "description of a data set": description,
    "metadata": metadata,
    "links and pipes in a folder": flair_links,
    "zip archive": archive,
    "weights": weights,
    "decoded patches": store,
    "files of runs and tables": run_files,
    "kept catalog": catalog_cache,
}
