"""The decoded cache: same pixels however it is read, nothing trusted of a build that did not end."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compressor.data.decoded import DecodedImages, pixel_digest, shrink
from compressor.data.pairs import Row
from compressor.errors import BadImageError, DataError

SIZES = [(80, 60), (60, 90), (40, 40), (200, 50), (30, 20)]


class Pictures:
    """Noise pictures by size (width, height); None is one that does not decode."""

    split = "train"

    def __init__(self, sizes: Sequence[tuple[int, int] | None], fingerprint: str = "noise") -> None:
        self.sizes = list(sizes)
        self.fingerprint = fingerprint
        self.rows = [Row(f"picture-{i}", (f"caption {i}",), (f"{i}",)) for i in range(len(sizes))]
        self.decodings = 0
        self._lock = threading.Lock()

    def image(self, index: int) -> Image.Image:
        with self._lock:
            self.decodings += 1
        size = self.sizes[index]
        if size is None:
            raise BadImageError("the image is truncated")
        noise = np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        return Image.fromarray(noise)


def contents(images: DecodedImages) -> list[tuple[tuple[int, ...], bytes, str]]:
    return [(images[k].shape, images[k].tobytes(), images.digest(k)) for k in range(len(images))]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 64))
def test_kept_sizes_keep_the_aspect_and_are_never_enlarged(width: int, height: int, side: int) -> None:
    down, across, channels = shrink(Image.new("RGB", (width, height)), side).shape
    assert channels == 3
    assert across <= width
    assert down <= height
    assert min(across, down) <= max(side, 1)
    assert max(across, down) <= 4 * side
    if min(width, height) >= side and max(width, height) <= 4 * min(width, height):
        assert min(across, down) == side
    scale = min(1.0, side / min(width, height), 4 * side / max(width, height))
    assert abs(across - width * scale) <= 1
    assert abs(down - height * scale) <= 1


def test_a_picture_that_is_small_enough_is_kept_to_the_byte() -> None:
    picture = Pictures([(40, 30)]).image(0)
    assert np.array_equal(shrink(picture, 30), np.asarray(picture))
    assert np.array_equal(shrink(picture, 64), np.asarray(picture))


def test_items_are_the_shrunk_pictures_in_the_order_of_the_rows(tmp_path: Path) -> None:
    pairs = Pictures(SIZES)
    images = DecodedImages.build(pairs, 32, tmp_path / "cache", threads=3)
    assert images.kept == list(range(5))
    assert len(images) == 5
    for k in range(5):
        expected = shrink(pairs.image(k), 32)
        assert np.array_equal(images[k], expected)
        assert images.digest(k) == pixel_digest(expected).hex()


def test_a_second_build_reads_the_folder_and_decodes_nothing(tmp_path: Path) -> None:
    first = DecodedImages.build(Pictures(SIZES), 32, tmp_path / "cache")
    again = Pictures(SIZES)
    seen: list[tuple[int, int]] = []
    second = DecodedImages.build(again, 32, tmp_path / "cache", progress=lambda *now: seen.append(now))
    assert again.decodings == 0
    assert contents(second) == contents(first)
    assert seen == [(5, 5)]


def test_other_pairs_or_another_side_rebuild_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    DecodedImages.build(Pictures(SIZES), 32, folder)
    for pairs, side in ((Pictures(SIZES), 16), (Pictures(SIZES[:3], "other"), 16)):
        images = DecodedImages.build(pairs, side, folder)
        assert pairs.decodings == len(pairs.rows)
        assert min(images[0].shape[:2]) == side


def test_progress_counts_up_to_the_total_in_the_callers_thread(tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    caller = threading.get_ident()
    DecodedImages.build(
        Pictures([(8, 8)] * 20),
        8,
        tmp_path / "cache",
        progress=lambda done, total: seen.append((done, total, threading.get_ident())),
        threads=4,
    )
    assert seen == [(done, 20, caller) for done in range(1, 21)]


@pytest.mark.parametrize("max_gb", [0.0, 5e-6, 1.2e-5])
def test_beyond_the_bound_pictures_are_decoded_at_every_use_with_the_same_pixels(
    tmp_path: Path, max_gb: float
) -> None:
    whole = DecodedImages.build(Pictures(SIZES), 32, tmp_path / "whole")
    pairs = Pictures(SIZES)
    bounded = DecodedImages.build(pairs, 32, tmp_path / "bounded", max_gb=max_gb)
    before = pairs.decodings
    assert contents(bounded) == contents(whole)
    assert pairs.decodings > before
    assert (tmp_path / "bounded" / "pixels.bin").stat().st_size <= max_gb * 1e9


def test_a_bounded_build_is_not_used_where_more_may_be_kept(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    DecodedImages.build(Pictures(SIZES), 32, folder, max_gb=5e-6)
    same, more = Pictures(SIZES), Pictures(SIZES)
    DecodedImages.build(same, 32, folder, max_gb=5e-6)
    DecodedImages.build(more, 32, folder, max_gb=1.0)
    assert (same.decodings, more.decodings) == (0, 5)
    less = Pictures(SIZES)
    DecodedImages.build(less, 32, folder, max_gb=5e-6)
    assert less.decodings == 5
    assert (folder / "pixels.bin").stat().st_size <= 5000


def test_bad_pictures_are_left_out_named_and_counted_again_on_a_rerun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = [(20, 20), None, (20, 20), (20, 20), None]
    for attempt in range(2):
        caplog.clear()
        pairs = Pictures(sizes)
        with caplog.at_level(logging.WARNING):
            images = DecodedImages.build(pairs, 16, tmp_path / "cache", max_bad_fraction=0.5)
        assert images.kept == [0, 2, 3]
        assert images.bad == {"picture-1": "the image is truncated", "picture-4": "the image is truncated"}
        assert "picture-1" in caplog.text
        assert "picture-4" in caplog.text
        assert pairs.decodings == (5 if attempt == 0 else 0)
        assert np.array_equal(images[1], shrink(Pictures(sizes).image(2), 16))


def test_too_many_bad_pictures_stop_the_build_and_leave_nothing(tmp_path: Path) -> None:
    pairs = Pictures([(20, 20), None, (20, 20)])
    with pytest.raises(DataError, match="picture-1"):
        DecodedImages.build(pairs, 16, tmp_path / "cache", max_bad_fraction=0.1)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_stricter_bound_on_bad_pictures_also_holds_for_a_finished_cache(tmp_path: Path) -> None:
    pairs = Pictures([(20, 20), None, (20, 20)])
    DecodedImages.build(pairs, 16, tmp_path / "cache", max_bad_fraction=0.5)
    with pytest.raises(DataError, match="picture-1"):
        DecodedImages.build(pairs, 16, tmp_path / "cache", max_bad_fraction=0.1)


def test_a_split_without_one_usable_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable image"):
        DecodedImages.build(Pictures([None, None]), 16, tmp_path / "cache", max_bad_fraction=1.0)


def test_a_picture_that_vanished_after_the_build_is_named(tmp_path: Path) -> None:
    pairs = Pictures(SIZES)
    images = DecodedImages.build(pairs, 32, tmp_path / "cache", max_gb=0)
    pairs.sizes[2] = None
    with pytest.raises(DataError, match=r"picture-2 .* truncated"):
        images[2]


def test_an_error_that_is_no_bad_image_stops_the_build(tmp_path: Path) -> None:
    class Broken(Pictures):
        def image(self, index: int) -> Image.Image:
            if index == 3:
                raise ZeroDivisionError("a bug in a reader")
            return super().image(index)

    with pytest.raises(ZeroDivisionError, match="a bug in a reader"):
        DecodedImages.build(Broken(SIZES), 32, tmp_path / "cache", threads=2)
    assert not (tmp_path / "cache").exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("name", ["pixels.bin", "index.safetensors", "decoded.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_cache_is_built_again(tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "cache"
    first = contents(DecodedImages.build(Pictures(SIZES), 32, folder))
    file = folder / name
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-7])
    else:
        file.unlink()
    pairs = Pictures(SIZES)
    assert contents(DecodedImages.build(pairs, 32, folder)) == first
    assert pairs.decodings == 5


def test_the_pixels_cannot_be_written_to(tmp_path: Path) -> None:
    images = DecodedImages.build(Pictures(SIZES), 32, tmp_path / "cache")
    with pytest.raises(ValueError, match="read-only"):
        images[0][0, 0] = 0


BUILDER = """
import sys, time
from pathlib import Path
from compressor.data.decoded import DecodedImages
from compressor.data.scenes import ScenesPairs
from compressor.recipe.data import ScenesData

folder, pause = Path(sys.argv[1]), float(sys.argv[2])

class Slow(ScenesPairs):
    decodings = 0
    def image(self, index):
        Slow.decodings += 1
        time.sleep(pause)
        return super().image(index)

pairs = Slow(ScenesData(kind="scenes", train=60), "train")

def show(done, total):
    print(done, file=sys.stderr, flush=True)

images = DecodedImages.build(pairs, 64, folder, 0.01, 1.0, show)
print(Slow.decodings, "".join(images.digest(k) for k in range(len(images))))
"""


def start(folder: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(folder), str(pause)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_two_processes_at_once_build_one_cache(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with ThreadPoolExecutor(2) as pool:
        builders = [start(folder, 0.01) for _ in range(2)]
        results = list(pool.map(lambda builder: builder.communicate(timeout=60), builders))
    assert [builder.returncode for builder in builders] == [0, 0], results
    counts, digests = zip(*(output.split() for output, _ in results), strict=True)
    assert sorted(map(int, counts)) == [0, 60]
    assert len(set(digests)) == 1
    assert json.loads((folder / "decoded.json").read_text())["complete"]


def test_a_killed_build_leaves_nothing_that_a_rerun_trusts(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    builder = start(folder, 0.05)
    assert builder.stderr is not None
    while builder.stderr.readline().strip() != "10":
        time.sleep(0.001)
    builder.send_signal(signal.SIGKILL)
    builder.wait(timeout=30)
    builder.communicate()
    assert not folder.exists()
    output, errors = start(folder, 0.0).communicate(timeout=60)
    assert output.split()[0] == "60", errors
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]
