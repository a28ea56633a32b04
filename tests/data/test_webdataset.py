"""WebDataset shards: written by tar or by the webdataset library, read at random."""

from __future__ import annotations

import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import webdataset

from compressor.data import RawPairSet, missing_data, open_pairs
from compressor.errors import BadImageError, DataError, MissingResourceError
from compressor.recipe.data import WebDatasetData
from tests.data.helpers import image_bytes, shade


def write_shard(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def section(root: Path, pattern: str = "train-{000..001}.tar", **more: Any) -> WebDatasetData:
    return WebDatasetData(kind="webdataset", root=str(root), shards={"train": pattern}, **more)


def sample(number: int, captions: str = "") -> list[tuple[str, bytes]]:
    text = captions or f"caption {number}"
    return [(f"{number:05d}.png", image_bytes(number)), (f"{number:05d}.txt", text.encode())]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shard(tmp_path / "train-000.tar", [*sample(0), *sample(1, " a \n\nb\n")])
    write_shard(tmp_path / "train-001.tar", sample(2))
    return tmp_path


def test_samples_are_read_in_any_order(shards: Path) -> None:
    pairs = open_pairs(section(shards), "train")
    assert [(row.id, row.captions) for row in pairs.rows] == [
        ("train-000/00000", ("caption 0",)),
        ("train-000/00001", ("a", "b")),
        ("train-001/00002", ("caption 2",)),
    ]
    assert pairs.rows[1].caption_ids == ("train-000/00001#0", "train-000/00001#1")
    assert [shade(pairs.image(index)) for index in (2, 0, 1)] == [2, 0, 1]
    assert isinstance(pairs, RawPairSet)
    assert pairs.image_bytes(2) == image_bytes(2)


def test_threads_do_not_disturb_each_other(shards: Path) -> None:
    pairs = open_pairs(section(shards), "train")
    order = [0, 1, 2] * 30
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda index: shade(pairs.image(index)), order)) == order


@pytest.mark.parametrize(
    "pattern", ["train-*.tar", "train-{000,001}.tar", "{train}-00{0..1}.tar", "train-00[01].tar"]
)
def test_patterns(shards: Path, pattern: str) -> None:
    assert len(open_pairs(section(shards, pattern), "train").rows) == 3


def test_shards_of_the_webdataset_library_with_json_captions(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as sink:
        for number, captions in enumerate((["one", "two"], "single")):
            sink.write({"__key__": f"x/{number}", "png": image_bytes(number), "json": {"captions": captions}})
    pairs = open_pairs(section(tmp_path, "a.tar", caption_key="json"), "train")
    assert [(row.id, row.captions) for row in pairs.rows] == [
        ("a/x/0", ("one", "two")),
        ("a/x/1", ("single",)),
    ]
    assert shade(pairs.image(1)) == 1


def test_an_image_without_captions_is_a_row(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [("0.jpg", image_bytes(0, "JPEG")), ("0.cls", b"7"), *sample(1)])
    assert [row.captions for row in open_pairs(section(tmp_path, "a.tar"), "train").rows] == [
        (),
        ("caption 1",),
    ]


@pytest.mark.parametrize(
    ("members", "more", "message"),
    [
        ([("0.txt", b"no image")], {}, "a/0: it has no image"),
        ([("0.png", image_bytes()), ("0.txt", b"\xff\xfe")], {}, r"a/0: 0\.txt"),
        ([("0.png", image_bytes()), ("0.jpg", image_bytes())], {}, "more than one image"),
        ([("0.png", image_bytes()), ("0.json", b"{")], {"caption_key": "json"}, "not valid JSON"),
        (
            [("0.png", image_bytes()), ("0.json", b"{}")],
            {"caption_key": "json"},
            "'captions' must be a caption",
        ),
        (
            [("0.png", image_bytes()), ("0.json", b'{"captions": [1]}')],
            {"caption_key": "json"},
            "must be a caption",
        ),
    ],
)
def test_unusable_samples_are_skipped_up_to_the_limit(
    tmp_path: Path, members: list[tuple[str, bytes]], more: dict[str, Any], message: str
) -> None:
    good = [("1.png", image_bytes(1)), ("1.txt", b"x"), ("1.json", json.dumps({"captions": "x"}).encode())]
    write_shard(tmp_path / "a.tar", [*members, *good])
    with pytest.raises(DataError, match=rf"1 of 2 samples are unusable.*{message}"):
        open_pairs(section(tmp_path, "a.tar", **more), "train")
    rows = open_pairs(section(tmp_path, "a.tar", max_bad_fraction=0.5, **more), "train").rows
    assert [row.id for row in rows] == ["a/1"]


def test_damaged_shards_are_refused(shards: Path) -> None:
    path = shards / "train-001.tar"
    whole = path.read_bytes()
    for content in (b"", b"not a tar file" * 100, whole[:700], whole[:1024], whole[:1100], whole[: 512 * 4]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"train-001\.tar"):
            open_pairs(section(shards), "train")
    path.write_bytes(whole[:1024] + b"\xff" * 512 + whole[1536:])  # a header in the middle
    with pytest.raises(DataError, match=r"train-001\.tar.*damaged"):
        open_pairs(section(shards), "train")


def test_compressed_shards_are_refused(shards: Path) -> None:
    with tarfile.open(shards / "train-001.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("0.png"))
    with pytest.raises(DataError, match="uncompressed tar"):
        open_pairs(section(shards), "train")


def test_a_member_that_comes_twice_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [*sample(0), *sample(0)])
    with pytest.raises(DataError, match=r"'00000\.png' appears more than once"):
        open_pairs(section(tmp_path, "a.tar"), "train")


def test_a_shard_that_vanishes_gives_bad_images(shards: Path) -> None:
    pairs = open_pairs(section(shards), "train")
    (shards / "train-001.tar").unlink()
    with pytest.raises(BadImageError, match="cannot be read"):
        pairs.image(2)


@pytest.mark.parametrize("pattern", ["train-{000..002}.tar", "none-*.tar", "none.tar"])
def test_missing_shards_say_what_where_and_how(shards: Path, pattern: str) -> None:
    with pytest.raises(MissingResourceError, match=r"split train are missing.*data\.shards"):
        open_pairs(section(shards, pattern), "train")
    assert len(missing_data(section(shards, pattern))) == 1


@pytest.mark.parametrize("pattern", ["/etc/*.tar", "{0..99999999}.tar", "{0..99999}{0..99999}.tar"])
def test_patterns_beyond_reason_are_refused(shards: Path, pattern: str) -> None:
    with pytest.raises(DataError, match=r"data\.shards"):
        open_pairs(section(shards, pattern), "train")


def test_a_split_without_shards_or_samples_is_refused(shards: Path) -> None:
    with pytest.raises(DataError, match="no split 'val', only: train"):
        open_pairs(section(shards), "val")
    write_shard(shards / "empty.tar", [("readme.md", b"nothing")])
    with pytest.raises(DataError, match=r"empty\.tar.*no images"):
        open_pairs(section(shards, "empty.tar"), "train")
