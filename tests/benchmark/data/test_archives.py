"""Files in zip archives are named, read and refused like those on disk."""

import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.common.errors import DataError
from benchmark.data.archives import gdal_path, members, read_bytes, source_file
from benchmark.data.flair_files import read_metadata
from benchmark.data.raster import read_image


@pytest.fixture
def archive(tmp_path: Path, write_tiff: Callable[..., Path]) -> Path:
    """An image, a text and an empty folder."""
    path = tmp_path / "D004_2021.zip"
    image = write_tiff(tmp_path / "image.tif", np.arange(5 * 16 * 16, dtype=np.uint8).reshape(5, 16, 16))
    with zipfile.ZipFile(path, "w") as content:
        content.write(image, "a#1/image.tif")
        content.writestr("metadata.json", '{"IMG_000001": {}}')
        content.mkdir("empty")
    return path


def test_members_are_the_files_and_no_folders(archive: Path) -> None:
    assert list(members(str(archive))) == [f"{archive}!/a#1/image.tif", f"{archive}!/metadata.json"]


def test_a_member_is_read_where_it_lies(archive: Path) -> None:
    image, text = members(str(archive))
    assert read_bytes(text) == b'{"IMG_000001": {}}'
    assert read_bytes(image) == (archive.parent / "image.tif").read_bytes()
    np.testing.assert_array_equal(read_image(Path(image), 5), read_image(archive.parent / "image.tif", 5))


def test_a_file_of_its_own_stays_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x")
    assert (read_bytes(str(path)), source_file(str(path)), gdal_path(str(path))) == (b"x", str(path), str(path))


def test_a_member_lies_in_its_archive_file(archive: Path) -> None:
    assert [source_file(path) for path in members(str(archive))] == [str(archive)] * 2


def test_a_folder_that_ends_in_an_exclamation_mark_is_no_archive(archive: Path) -> None:
    folder = archive.parent / "mine!"
    folder.mkdir()
    inside = archive.rename(folder / archive.name)
    plain = (archive.parent / "image.tif").rename(folder / "image.tif")
    assert source_file(str(plain)) == gdal_path(str(plain)) == str(plain)
    for path in members(str(inside)):
        assert source_file(path) == str(inside) and read_bytes(path)
    np.testing.assert_array_equal(read_image(Path(f"{inside}!/a#1/image.tif"), 5), read_image(plain, 5))


def test_a_truncated_archive_is_named(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"D004_2021.zip: no readable zip archive, perhaps truncated"):
        members(str(archive))


def test_a_damaged_member_is_named(archive: Path) -> None:
    """The list of names, at the end of an archive, is whole; what lies before it is not."""
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b'{"IMG_000001": {}}', b'{"IMG_000002": {}}').replace(b"II*", b"xx*"))
    image, text = members(str(archive))
    with pytest.raises(DataError, match=r"D004_2021.zip!/metadata.json: cannot be read from the archive"):
        read_metadata([text])
    with pytest.raises(DataError, match=r"D004_2021.zip!/a#1/image.tif: cannot be read"):
        read_image(Path(image), 5)


def test_a_member_that_is_not_there_is_named(archive: Path) -> None:
    with pytest.raises(DataError, match=r"D004_2021.zip!/b.json: cannot be read from the archive"):
        read_bytes(f"{archive}!/b.json")


@pytest.mark.parametrize(
    "name",
    ["../x.tif", "a/../../x.tif", "/etc/x.tif", "..\\x.tif", "C:/x.tif"],
    ids=["up", "over", "root", "back", "disk"],
)
def test_a_name_that_leads_out_is_refused(archive: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr(name, b"x")
    with pytest.raises(DataError, match=r"D004_2021\.zip: the member .* leads out of the archive"):
        members(str(archive))


def test_a_link_in_an_archive_is_refused(archive: Path) -> None:
    link = zipfile.ZipInfo("img/IMG_000001.tif")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="is a symbolic link"):
        members(str(archive))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr("a#1/image.tif", b"x")
    with pytest.raises(DataError, match="is there twice"):
        members(str(archive))


def test_a_bomb_is_not_unpacked(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as content:
        content.writestr("bomb.json", b"[" * 50_000_000)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"bomb\.json has 50,000,000 bytes; at most 1,000,000 are read"):
        read_bytes(f"{archive}!/bomb.json", 1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
