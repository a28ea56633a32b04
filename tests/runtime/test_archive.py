"""Packing, unpacking, and archives that mean harm: each is refused in one sentence and leaves no folder."""

from __future__ import annotations

import gzip
import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compressor.errors import BundleError, DiskFullError
from compressor.files import sha256_file
from compressor.runtime.archive import pack, unpack
from compressor.runtime.bundle import Bundle
from compressor.runtime.schema import MANIFEST
from compressor.runtime.verify import verify_bundle
from tests.runtime.tampering import edit

FORMATS = ["bundle.tar.gz", "bundle.tgz", "bundle.zip"]
Files = dict[str, bytes]
Tar = Callable[[tarfile.TarFile, Files], object]


@pytest.fixture(scope="module")
def packed(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy bundle in every format."""
    folder = tmp_path_factory.mktemp("packed")
    for name in FORMATS:
        pack(exported, folder / name)
    return folder


@pytest.fixture
def files(exported: Path) -> Files:
    names = [path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()]
    return {name: (exported / name).read_bytes() for name in sorted(names, key=lambda name: name != MANIFEST)}


def refused(archive: Path, why: str) -> None:
    target = archive.parent / "target"
    with pytest.raises(BundleError, match=why) as caught:
        unpack(archive, target)
    assert "\n" not in str(caught.value)
    assert ".tmp-" not in str(caught.value)
    assert not target.exists()
    assert not [path for path in archive.parent.iterdir() if ".tmp-" in path.name]


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_packed_is_unpacked(packed: Path, exported: Path, tmp_path: Path, name: str) -> None:
    found = unpack(packed / name, tmp_path / "new" / "bundle")
    here, there = exported, tmp_path / "new" / "bundle"
    assert found.files == 7
    for path in (path for path in here.rglob("*") if path.is_file()):
        assert (there / path.relative_to(here)).read_bytes() == path.read_bytes()
    assert Bundle.open(there, threads=1).encode_texts(["a red star"]).shape == (1, 24)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_bundle_gives_the_same_bytes(
    packed: Path, exported: Path, tmp_path: Path, name: str
) -> None:
    copy = shutil.copytree(exported, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    (copy / "fp32").chmod(0o700)
    pack(copy, tmp_path / name)
    assert sha256_file(tmp_path / name) == sha256_file(packed / name)


def test_ordinary_programs_read_what_was_packed(packed: Path, files: Files) -> None:
    with tarfile.open(packed / "bundle.tar.gz") as tar:
        assert tar.getnames() == [MANIFEST, *sorted(set(files) - {MANIFEST})]
    with zipfile.ZipFile(packed / "bundle.zip") as archive:
        assert archive.testzip() is None
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}


def test_a_damaged_bundle_is_not_packed(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match=r"'tokenizer\.json' has 2 bytes"):
        pack(folder, tmp_path / "bundle.zip")
    assert not (tmp_path / "bundle.zip").exists()


def test_an_archive_that_is_there_is_not_replaced(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_bytes(b"old")
    with pytest.raises(
        BundleError, match=r"bundle\.zip: is there already; name a file that is not, or remove"
    ):
        pack(exported, tmp_path / "bundle.zip")
    assert (tmp_path / "bundle.zip").read_bytes() == b"old"


def test_a_full_disk_leaves_no_archive(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFullError, match="no space left"):
        pack(exported, tmp_path / "bundle.zip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["bundle.rar", "bundle", "bundle.tar"])
def test_another_suffix_is_refused(exported: Path, tmp_path: Path, name: str) -> None:
    for call in (lambda: pack(exported, tmp_path / name), lambda: unpack(tmp_path / name, tmp_path / "x")):
        with pytest.raises(BundleError, match=r"ends in \.tar\.gz, \.tgz, \.zip"):
            call()


def test_a_folder_in_the_place_of_an_archive_is_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    refused(tmp_path / "folder.zip", "is a folder; name the packed file")
    with pytest.raises(BundleError, match=r"folder\.zip: is a folder; name the file to write"):
        pack(exported, tmp_path / "folder.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.zip"]


def test_an_archive_is_not_written_into_its_own_bundle(folder: Path) -> None:
    with pytest.raises(BundleError, match="lies in the bundle, which would not be whole"):
        pack(folder, folder / "fp32" / "bundle.zip")
    verify_bundle(folder)


def test_a_folder_that_is_there_is_not_touched(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(BundleError, match="is there already"):
        unpack(packed / "bundle.zip", tmp_path / "mine")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(BundleError, match="is there already"):
        unpack(packed / "bundle.zip", tmp_path / "link")


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    for name in FORMATS:
        refused(tmp_path / name, "there is no such file")


@pytest.mark.parametrize("name", FORMATS)
def test_an_archive_that_is_cut_off_anywhere_is_refused(packed: Path, tmp_path: Path, name: str) -> None:
    whole = (packed / name).read_bytes()
    for share in (0, 0.01, 0.3, 0.7, 0.99, 1):
        (tmp_path / name).write_bytes(whole[: min(int(share * len(whole)), len(whole) - 1)])
        refused(tmp_path / name, r"damaged, cut off|is not bundle\.json|not an archive")


@pytest.mark.parametrize("name", ["bundle.tar.gz", "bundle.zip"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**7), bits=st.integers(1, 255))
def test_no_damage_to_an_archive_gets_through(
    packed: Path, exported: Path, tmp_path: Path, name: str, at: int, bits: int
) -> None:
    """Refused in a sentence, or, where the byte means nothing, unpacked to the very same bundle."""
    content = bytearray((packed / name).read_bytes())
    content[at % len(content)] ^= bits
    (tmp_path / name).write_bytes(content)
    target, told = tmp_path / "target", "unpacked"
    try:
        unpack(tmp_path / name, target)
    except BundleError as error:
        told = str(error)
        assert not target.exists()
    else:
        for path in (path for path in exported.rglob("*") if path.is_file()):
            assert (target / path.relative_to(exported)).read_bytes() == path.read_bytes()
        shutil.rmtree(target)
    assert "\n" not in told


def entry(name: str, size: int = 0, **changed: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in changed.items():
        setattr(info, key, value)
    return info


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **changed: object) -> None:
    tar.addfile(entry(name, len(data), **changed), io.BytesIO(data))


HARMFUL: list[tuple[str, Tar]] = [
    ("'../outside', which is not a path inside", lambda tar, files: add(tar, "../outside", b"x")),
    ("'/tmp/outside', which is not a path inside", lambda tar, files: add(tar, "/tmp/outside", b"x")),
    (r"fp32.*outside', which is not a path", lambda tar, files: add(tar, "fp32/../../outside", b"x")),
    ("which is a link", lambda tar, files: add(tar, "fp32", type=tarfile.SYMTYPE, linkname="/tmp")),
    ("which is a link", lambda tar, files: add(tar, "x", type=tarfile.LNKTYPE, linkname="/etc/passwd")),
    ("no plain file", lambda tar, files: add(tar, "fp32", type=tarfile.DIRTYPE)),
    ("no plain file", lambda tar, files: add(tar, "null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
    ("no plain file", lambda tar, files: add(tar, "pipe", type=tarfile.FIFOTYPE)),
    ("'extra' twice, or it is not listed", lambda tar, files: add(tar, "extra", b"x")),
    ("'bundle.json' twice", lambda tar, files: add(tar, MANIFEST, files[MANIFEST])),
    (
        r"'tokenizer\.json' has 3 bytes, bundle\.json says",
        lambda tar, files: add(tar, "tokenizer.json", b"xyz"),
    ),
]


@pytest.mark.parametrize(("why", "change"), HARMFUL, ids=range(len(HARMFUL)))
def test_a_tar_with_something_else_in_it_is_refused(
    files: Files, tmp_path: Path, why: str, change: Tar
) -> None:
    with tarfile.open(tmp_path / "bundle.tar.gz", "w:gz", format=tarfile.USTAR_FORMAT) as tar:
        add(tar, MANIFEST, files[MANIFEST])
        change(tar, files)
    refused(tmp_path / "bundle.tar.gz", why)
    assert not (tmp_path / "outside").exists()


def test_an_extended_header_of_terabytes_is_refused_unread(files: Files, tmp_path: Path) -> None:
    """The standard library would read it whole into memory."""
    header = entry("./PaxHeaders/x", 1 << 40, type=tarfile.XHDTYPE)
    with gzip.open(tmp_path / "bundle.tar.gz", "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096)
    refused(tmp_path / "bundle.tar.gz", "no plain file")


def test_a_tar_whose_first_file_is_not_the_manifest_is_refused(files: Files, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bundle.tar.gz", "w:gz", format=tarfile.USTAR_FORMAT) as tar:
        add(tar, "tokenizer.json", files["tokenizer.json"])
    refused(tmp_path / "bundle.tar.gz", r"its first file is not bundle\.json")


def test_a_tar_with_something_behind_its_end_is_refused(packed: Path, tmp_path: Path) -> None:
    content = gzip.decompress((packed / "bundle.tar.gz").read_bytes())
    (tmp_path / "bundle.tar.gz").write_bytes(gzip.compress(content + b"more"))
    refused(tmp_path / "bundle.tar.gz", "something follows the end")


def zipped(path: Path, files: Files, extra: zipfile.ZipInfo | None = None, data: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if extra is not None:
            archive.writestr(extra, data)
    return path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../outside", "not a path inside"),
        ("/outside", "not a path inside"),
        ("C:\\outside", "not a path inside"),
        ("fp32/", "a folder"),
        ("extra", "twice, or it is not listed"),
    ],
)
def test_a_zip_with_something_else_in_it_is_refused(
    files: Files, tmp_path: Path, name: str, why: str
) -> None:
    refused(zipped(tmp_path / "bundle.zip", files, zipfile.ZipInfo(name), b""), why)
    assert not (tmp_path / "outside").exists()


def test_a_link_in_a_zip_is_refused(files: Files, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("tokenizer.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    del files["tokenizer.json"]
    refused(zipped(tmp_path / "bundle.zip", files, link, b"/etc/passwd"), "which is a link")


def test_a_missing_file_is_refused(files: Files, tmp_path: Path) -> None:
    del files["int8/text.onnx"]
    refused(zipped(tmp_path / "bundle.zip", files), r"'int8/text\.onnx' is missing")


def test_another_file_under_the_right_name_and_size_is_refused(files: Files, tmp_path: Path) -> None:
    files["tokenizer.json"] = b" " * len(files["tokenizer.json"])
    refused(
        zipped(tmp_path / "bundle.zip", files), r"bundle\.zip: 'tokenizer\.json' is not the file that was"
    )


def test_a_file_that_inflates_beyond_what_it_declares_is_not_read_on(files: Files, tmp_path: Path) -> None:
    """A bomb: the manifest would have to declare its real size, which is compared with the disk first."""
    files["tokenizer.json"] = b"0" * (64 << 20)
    archive = zipped(tmp_path / "bundle.zip", files)
    assert archive.stat().st_size < 1 << 20
    refused(archive, r"'tokenizer\.json' has 67108864 bytes, bundle\.json says")


def test_more_than_the_disk_holds_is_refused_before_it_is_written(folder: Path, tmp_path: Path) -> None:
    edit(folder, lambda content: content["tokenizer"].update(bytes=2**50))
    files = {MANIFEST: (folder / MANIFEST).read_bytes()}
    (tmp_path / "at").mkdir()
    refused(
        zipped(tmp_path / "at" / "bundle.zip", files), r"declares 1073741\d* MB of files, and the disk has"
    )


def test_a_zip_in_an_unusual_method_is_refused(files: Files, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_LZMA) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    refused(tmp_path / "bundle.zip", "not an archive that `bundle pack` wrote")
