"""WebDataset shards: tar files whose members share a name per sample, such as `000001.jpg` and `000001.txt`.

The shards are indexed once, by their headers; an image is then read at its offset, in any order and from any
thread. Shuffling by (seed, epoch) and resuming at any step need that; a streaming reader cannot give it.
"""

from __future__ import annotations

import json
import logging
import math
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from PIL import Image

from compressor.data.bad import BadSamples
from compressor.data.files import (
    MAX_FILE_BYTES,
    fingerprint_of,
    log_empty_captions,
    refuse_empty_split,
    tidy_captions,
)
from compressor.data.folder import IMAGE_SUFFIXES
from compressor.data.pairs import Row
from compressor.errors import BadImageError, DataError, MissingResourceError
from compressor.preprocess.image import decode_image
from compressor.recipe.data import Split, WebDatasetData

_LOGGER = logging.getLogger(__name__)
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MAX_SHARDS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where an image lies: shard, first byte, number of bytes."""

    shard: Path
    offset: int
    size: int


@dataclass(slots=True)
class _Sample:
    image: _Stored | None = None
    captions: list[str] = field(default_factory=list)
    reason: str = ""


class ShardPairs:
    """Rows whose images lie in tar files."""

    def __init__(self, split: str, rows: Sequence[Row], images: Sequence[_Stored], *, source: str) -> None:
        self.split = split
        self.rows = rows
        self.fingerprint = fingerprint_of(source, split, rows)
        self._images = images

    def image_bytes(self, index: int) -> bytes:
        """The stored image of row `index`. Raises `BadImageError` where the shard cannot be read."""
        stored = self._images[index]
        try:
            with stored.shard.open("rb") as file:
                file.seek(stored.offset)
                return file.read(stored.size)
        except OSError as error:
            raise BadImageError(f"{stored.shard} cannot be read: {error.strerror or error}") from error

    def image(self, index: int) -> Image.Image:
        """Row `index` as RGB. Raises `BadImageError` where it cannot be decoded."""
        return decode_image(self.image_bytes(index))


def open_webdataset(section: WebDatasetData, split: Split) -> ShardPairs:
    """One split. Row ids are `<shard without .tar>/<sample>`, caption ids `<row id>#<k>`.

    Raises:
        MissingResourceError: no shard matches the split's pattern.
        DataError: a shard is damaged or compressed, a member comes twice, the split has no images, or too
            many samples have no image or unreadable captions.
    """
    if split not in section.shards:
        raise DataError(f"data.shards names no split {split!r}, only: {', '.join(section.shards) or 'none'}")
    pattern = section.shards[split]
    shards = _shards(section.root, pattern)
    absent = [shard for shard in shards if not shard.is_file()]
    if absent or not shards:
        raise MissingResourceError(_missing_shards(section.root, split, pattern, absent))
    samples: dict[str, _Sample] = {}
    for shard in shards:
        _index(shard, section, samples)
    refuse_empty_split(split, {split: len(samples)}, f"{section.root / pattern}")
    bad = BadSamples(len(samples), section.max_bad_fraction, _LOGGER)
    empty: list[str] = []
    rows: list[Row] = []
    images: list[_Stored] = []
    for name, sample in samples.items():
        if sample.image is None or sample.reason:
            bad.add(name, sample.reason or "it has no image")
            continue
        captions = [(f"{name}#{number}", text) for number, text in enumerate(sample.captions)]
        rows.append(Row(name, *tidy_captions(captions, empty)))
        images.append(sample.image)
    refuse_empty_split(split, {split: len(rows)}, f"{section.root / pattern}")
    log_empty_captions(_LOGGER, str(section.root / pattern), empty)
    return ShardPairs(split, rows, images, source=f"webdataset {section.root}")


def missing(section: WebDatasetData) -> list[str]:
    """What is not there: the shards of each split that the recipe names."""
    found = []
    for split, pattern in section.shards.items():
        shards = _shards(section.root, pattern)
        absent = [shard for shard in shards if not shard.is_file()]
        if absent or not shards:
            found.append(_missing_shards(section.root, split, pattern, absent))
    return found


def _missing_shards(root: Path, split: str, pattern: str, absent: Sequence[Path]) -> str:
    first = f" (first: {absent[0]})" if absent else ""
    return (
        f"Shards of the split {split} are missing: looked for {root / pattern}{first}; make tar files with "
        "the webdataset library or img2dataset and set data.root and data.shards."
    )


def _shards(root: Path, pattern: str) -> list[Path]:
    """The files of a pattern in order: braces (`{000..012}`, `{a,b}`) spelled out, then each as a glob."""
    if Path(pattern).is_absolute():
        raise DataError(f"data.shards: {pattern!r} must be relative to data.root")
    found: list[Path] = []
    for name in _spelled_out(pattern):
        if any(sign in name for sign in "*?["):
            found.extend(sorted(root.glob(name)))
        else:
            found.append(root / name)
    return list(dict.fromkeys(found))


def _spelled_out(pattern: str) -> list[str]:
    parts = _BRACES.split(pattern)
    choices = [_choices(part) if position % 2 else [part] for position, part in enumerate(parts)]
    if math.prod(map(len, choices)) > _MAX_SHARDS:
        raise DataError(f"data.shards: {pattern!r} names more than {_MAX_SHARDS:,} shards")
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(inside: str) -> Sequence[str]:
    numbers = _RANGE.fullmatch(inside)
    if numbers is None:
        return inside.split(",")
    first, last = numbers.groups()
    if int(last) - int(first) >= _MAX_SHARDS:
        raise DataError(f"data.shards: {{{inside}}} names more than {_MAX_SHARDS:,} shards")
    return [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]


def _index(shard: Path, section: WebDatasetData, samples: dict[str, _Sample]) -> None:
    """Add the samples of one shard: offsets of the images, texts of the captions."""
    prefix = shard.relative_to(section.root).with_suffix("").as_posix()
    members: set[str] = set()
    try:
        size = shard.stat().st_size
        with tarfile.open(shard, mode="r:") as archive:
            for member in archive:
                if not member.isreg():
                    continue
                if member.offset_data + member.size > size:
                    raise DataError(f"{shard}: the shard is truncated inside {member.name}")
                if member.name in members:
                    raise DataError(f"{shard}: the member {member.name!r} appears more than once")
                members.add(member.name)
                _take(shard, archive, member, section, prefix, samples)
            _refuse_missing_end(shard, archive.offset)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{shard}: not a readable, uncompressed tar file: {error}") from error


def _refuse_missing_end(shard: Path, offset: int) -> None:
    """Python's reader stops without a word at a damaged header; a whole archive goes on with zeros."""
    with shard.open("rb") as file:
        file.seek(offset)
        block = file.read(tarfile.BLOCKSIZE)
    if not block or block.strip(b"\0"):
        raise DataError(f"{shard}: the shard is damaged or truncated at byte {offset:,}")


def _take(
    shard: Path,
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    section: WebDatasetData,
    prefix: str,
    samples: dict[str, _Sample],
) -> None:
    """Put one member to its sample; the name up to the first dot of its last part names the sample."""
    folder, slash, last = member.name.rpartition("/")
    stem, _, extension = last.partition(".")
    extension = extension.lower()
    is_image = f".{extension}" in IMAGE_SUFFIXES
    if not stem or not (is_image or extension == section.caption_key):
        return
    sample = samples.setdefault(f"{prefix}/{folder}{slash}{stem}".replace("/./", "/"), _Sample())
    if member.size > MAX_FILE_BYTES:
        sample.reason = f"{member.name} has {member.size:,} bytes: {MAX_FILE_BYTES:,} are allowed"
    elif is_image and sample.image is not None:
        sample.reason = "it has more than one image"
    elif is_image:
        sample.image = _Stored(shard, member.offset_data, member.size)
    else:
        file = archive.extractfile(member)
        try:
            sample.captions = _captions(file.read() if file else b"", section)
        except (DataError, UnicodeDecodeError) as error:
            sample.reason = f"{member.name}: {error}"


def _captions(content: bytes, section: WebDatasetData) -> list[str]:
    text = content.decode("utf-8-sig")
    if section.caption_key != "json":
        return [line for line in text.splitlines() if line.strip()]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON: {error}") from error
    value = value.get(section.json_field) if isinstance(value, dict) else None
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(caption, str) for caption in value):
        return value
    raise DataError(f"the field {section.json_field!r} must be a caption or a list of captions")
