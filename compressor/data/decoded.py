"""Images decoded once: a flat uint8 file that is memory-mapped, so that training is not bound by JPEG."""

from __future__ import annotations

import fcntl
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from compressor.data.bad import BadSamples
from compressor.data.pairs import PairSet
from compressor.errors import BadImageError, DataError
from compressor.files import atomic_folder, hash_json, read_json, write_json

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

FORMAT = 1
LONGEST = 4
"""The longer side of a kept image is at most so many times `side`."""

_PIXELS = "pixels.bin"
_INDEX = "index.safetensors"
_FACTS = "decoded.json"
_ARRAYS = ("kept", "offsets", "shapes", "digests")


def shrink(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """The picture as (H, W, 3) uint8 with its shorter side at most `side`, the longer at most 4 x `side`.

    The aspect is kept and nothing is enlarged. A panorama beyond 4:1 ends with a shorter side below `side`.
    """
    width, height = image.size
    scale = min(1.0, side / min(width, height), LONGEST * side / max(width, height))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(image, dtype=np.uint8)


def pixel_digest(pixels: NDArray[np.uint8]) -> bytes:
    """blake2b-128 over the shape and the pixels of a (H, W, 3) uint8 array."""
    digest = blake2b(np.asarray(pixels.shape, dtype="<i8").tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


@dataclass(frozen=True)
class _Index:
    """What the files beside the pixels say: one entry an image that decoded, in the order of the rows."""

    kept: NDArray[np.int64]
    offsets: NDArray[np.int64]  # -1 where the bound was reached and the image is decoded at every use
    shapes: NDArray[np.int32]
    digests: NDArray[np.uint8]
    bad: dict[str, str]


class DecodedImages:
    """The images of a `PairSet` that could be decoded, as uint8 arrays. Made by `build`.

    `kept` are the row numbers in the pair set, in order; item k belongs to row `kept[k]`.
    """

    def __init__(self, pairs: PairSet, side: int, folder: Path, index: _Index) -> None:
        self.kept: list[int] = index.kept.tolist()
        self.bad = dict(index.bad)
        self._pairs = pairs
        self._side = side
        self._offsets = index.offsets.tolist()
        self._shapes = [tuple(shape) for shape in index.shapes.tolist()]
        self._digests = [row.tobytes().hex() for row in index.digests]
        stored = (folder / _PIXELS).stat().st_size > 0
        # A plain view: slicing an np.memmap itself costs microseconds each time.
        self._pixels = np.asarray(np.memmap(folder / _PIXELS, mode="r")) if stored else np.empty(0, np.uint8)

    @classmethod
    def build(
        cls,
        pairs: PairSet,
        side: int,
        folder: Path,
        max_bad_fraction: float = 0.01,
        max_gb: float = 20.0,
        progress: Progress | None = None,
        threads: int | None = None,
    ) -> DecodedImages:
        """Decode every image of `pairs` once, or open what an earlier build left in `folder`.

        The folder is written whole or not at all; a second process waits for the first and uses its result.
        Beyond `max_gb` gigabytes (10**9 bytes) images are decoded at every use, with the same pixels.
        `pairs.image` is called from `threads` threads (default: one a core, 8 at most), `progress(done,
        total)` from the caller's.

        Raises:
            DataError: more than `max_bad_fraction` of the images are unusable, or all of them are.
            DiskFullError: no space left; nothing is kept of an unfinished build.
        """
        folder = Path(folder)
        limit = int(max_gb * 1e9)
        fingerprint = hash_json(["decoded", FORMAT, pairs.fingerprint, side])
        bad = BadSamples(len(pairs.rows), max_bad_fraction, logger)
        with _one_builder(folder):
            index = _read(folder, fingerprint, limit)
            if index is None:
                index = _write(pairs, side, folder, fingerprint, limit, bad, progress, threads)
            else:
                logger.info("decoded images: using %s", folder)
                for sample, reason in index.bad.items():
                    bad.add(sample, reason)
                if progress is not None:
                    progress(len(pairs.rows), len(pairs.rows))
            if len(index.kept) == 0:
                raise DataError(f"the {pairs.split} split has no usable image; see the log for the reasons")
            return cls(pairs, side, folder, index)

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, k: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, read-only where it comes from the file."""
        start = self._offsets[k]
        if start < 0:
            return self._decode_again(k)
        height, width = self._shapes[k]
        return self._pixels[start : start + 3 * height * width].reshape(height, width, 3)

    def digest(self, k: int) -> str:
        """Hex key of the content: equal pixels have equal digests, in any data set."""
        return self._digests[k]

    def _decode_again(self, k: int) -> NDArray[np.uint8]:
        row = self.kept[k]
        try:
            return shrink(self._pairs.image(row), self._side)
        except BadImageError as error:
            name = self._pairs.rows[row].id
            raise DataError(f"image {name} could be decoded before but cannot now: {error.reason}") from error


@contextmanager
def _one_builder(folder: Path) -> Iterator[None]:
    """Hold the operating system's lock beside the folder; it vanishes with its process."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("decoded images: waiting for another process that decodes into %s", folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _read(folder: Path, fingerprint: str, limit: int) -> _Index | None:
    """The index of a finished build that serves this request; None where there is none."""
    try:
        facts: Any = read_json(folder / _FACTS)
        if facts["fingerprint"] != fingerprint or (folder / _PIXELS).stat().st_size != facts["bytes"]:
            return None
        # A partial build serves the same bound only; a complete one every bound that it keeps.
        if facts["bytes"] > limit or not (facts["complete"] or facts["limit"] == limit):
            return None
        arrays = load_file(folder / _INDEX)
        return _Index(**{name: arrays[name] for name in _ARRAYS}, bad=facts["bad"])
    except (OSError, DataError, SafetensorError, KeyError, TypeError):
        return None


def _write(
    pairs: PairSet,
    side: int,
    folder: Path,
    fingerprint: str,
    limit: int,
    bad: BadSamples,
    progress: Progress | None,
    threads: int | None,
) -> _Index:
    kept: list[int] = []
    offsets: list[int] = []
    shapes: list[tuple[int, int]] = []
    digests: list[bytes] = []
    reasons: dict[str, str] = {}
    rows, end, complete = pairs.rows, 0, True
    with atomic_folder(folder) as temporary:
        with (temporary / _PIXELS).open("wb") as file:
            for row, result in enumerate(_decode_all(pairs, side, threads)):
                if isinstance(result, BadImageError):
                    reasons[rows[row].id] = result.reason
                    bad.add(rows[row].id, result.reason)
                else:
                    pixels, digest = result
                    # Once one image does not fit none does: which are kept depends on nothing but the order.
                    complete = complete and end + pixels.nbytes <= limit
                    kept.append(row)
                    shapes.append((pixels.shape[0], pixels.shape[1]))
                    digests.append(digest)
                    offsets.append(end if complete else -1)
                    if complete:
                        end += file.write(np.ascontiguousarray(pixels).data)
                if progress is not None:
                    progress(row + 1, len(rows))
        index = _Index(
            np.asarray(kept, dtype=np.int64),
            np.asarray(offsets, dtype=np.int64),
            np.asarray(shapes, dtype=np.int32).reshape(-1, 2),
            np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 16),
            reasons,
        )
        arrays: dict[str, NDArray[Any]] = {name: getattr(index, name) for name in _ARRAYS}
        save_file(arrays, temporary / _INDEX)
        facts = {"fingerprint": fingerprint, "side": side, "bytes": end, "complete": complete, "limit": limit}
        write_json(temporary / _FACTS, facts | {"bad": reasons})
    if not complete:
        logger.warning(
            "the decoded cache is full at %.1f GB: %d of %d images will be decoded at every use",
            limit / 1e9, offsets.count(-1), len(kept),
        )  # fmt: skip
    return index


def _decode_all(
    pairs: PairSet, side: int, threads: int | None
) -> Iterator[tuple[NDArray[np.uint8], bytes] | BadImageError]:
    """The images in the order of the rows, decoded a little ahead in threads (Pillow releases the GIL)."""

    def decode(row: int) -> tuple[NDArray[np.uint8], bytes] | BadImageError:
        try:
            pixels = shrink(pairs.image(row), side)
        except BadImageError as error:
            return error
        return pixels, pixel_digest(pixels)

    threads = threads or min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        remaining = iter(range(len(pairs.rows)))
        ahead: deque[Future[Any]] = deque(pool.submit(decode, row) for row in islice(remaining, 4 * threads))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(decode, row) for row in islice(remaining, 1))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
