"""Time and memory of the gallery: adding, exact search beside NumPy, filters, the index of large galleries.

python benchmarks/gallery.py --rows 1000 --rows 10000 --rows 100000 --widths 512

Vectors are drawn around 1,000 centres, as real ones lie closer to some than to others; every item has a
picture of 256 x 192 that is decoded already, so that adding is thumbnail, checks and commit. Search is
called in turn with its NumPy counterpart (one product, `argpartition`, sort), medians of single calls.
Galleries of `--index-from` rows and more get an index as well. Set OMP_NUM_THREADS for threads of the
products.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from compressor.gallery import Gallery, Identity, NewItem

CALL = 1_000
ROUNDS = 15
MEMORY = """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
import time, numpy
before, started = resident(), time.perf_counter()
import lancedb
print(f"import lancedb: {time.perf_counter() - started:.2f} s, {resident() - before:.0f} MB resident")
"""


def unit_rows(count: int, width: int, seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(1_000, width)).astype(np.float32)
    rows = centres[random.integers(0, 1_000, count)] + random.normal(size=(count, width)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def fill(gallery: Gallery, rows: NDArray[np.float32]) -> float:
    """Seconds to add all rows, a thousand a call."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    picture = Image.fromarray(noise).resize((256, 192), Image.Resampling.BILINEAR)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG")
    spent = 0.0
    for start in range(0, len(rows), CALL):
        items = [
            NewItem(
                f"item-{n:08d}",
                encoded.getvalue(),
                {"n": n, "colour": ("red", "blue")[n % 2]},
                picture=picture,
            )
            for n in range(start, min(start + CALL, len(rows)))
        ]
        started = time.perf_counter()
        gallery.add(items, rows[start : start + CALL])
        spent += time.perf_counter() - started
    return spent


def milliseconds(*calls: Callable[[], object]) -> list[float]:
    """Medians of calls made in turn."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for number, call in enumerate(calls):
            started = time.perf_counter()
            call()
            taken[number].append(1e3 * (time.perf_counter() - started))
    return [statistics.median(times) for times in taken]


def by_numpy(rows: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.int64]:
    scores = rows @ query
    best = np.argpartition(scores, -10)[-10:]
    found: NDArray[np.int64] = best[np.argsort(-scores[best])]
    return found


def measure(folder: Path, count: int, width: int, index_from: int) -> None:
    space = Identity("a" * 64, width, "benchmark", "fp32")
    rows, queries = unit_rows(count, width, 1), unit_rows(ROUNDS, width, 2)
    gallery = Gallery.open(folder / f"{count}-{width}", space, create=True, exact_below=count + 1)
    spent = fill(gallery, rows)
    print(f"\n{count:,} rows of {width}: added in {spent:.1f} s ({1e3 * spent / count:.2f} ms an item)")
    started = time.perf_counter()
    gallery.search(queries[:1], 10)
    print(f"  first search, which reads all: {time.perf_counter() - started:.2f} s")
    turn = iter(range(10**9))

    def query() -> NDArray[np.float32]:
        return queries[next(turn) % ROUNDS][None]

    def after_an_add() -> None:
        gallery.add([NewItem("item-00000000", picture_bytes())], query())
        gallery.search(query(), 10)

    gallery.search(queries[:1], 10, {"n": 1, "colour": "red"})
    ours, plain, filtered, half, got, thumbnail = milliseconds(
        lambda: gallery.search(query(), 10),
        lambda: by_numpy(rows, query()[0]),
        lambda: gallery.search(query(), 10, {"n": {"lt": count // 100}}),
        lambda: gallery.search(query(), 10, {"colour": "red"}),
        lambda: gallery.get("item-00000500"),
        lambda: gallery.thumbnail("item-00000500"),
    )
    print(
        f"  search {ours:.2f} ms, NumPy {plain:.2f} ms; filter that leaves 1 %: {filtered:.2f} ms, half: "
        f"{half:.2f} ms; get {got:.1f} ms, thumbnail {thumbnail:.1f} ms"
    )
    (changed,) = milliseconds(after_an_add)
    print(f"  add one item and search: {changed:.0f} ms")
    if count >= index_from:
        large = Gallery.open(gallery.uri, space, exact_below=index_from)
        started = time.perf_counter()
        large.optimize()
        spent = time.perf_counter() - started
        large.search(queries[:1], 10)
        found, few, some = milliseconds(
            lambda: large.search(query(), 10),
            lambda: large.search(query(), 10, {"n": {"lt": count // 100}}),
            lambda: large.search(query(), 10, {"colour": "red"}),
        )
        index = large.info()["index"]
        print(
            f"  index {index['kind']}: built and measured in {spent:.1f} s, recall@10 "
            f"{index['recall_at_10']:.3f}; search {found:.1f} ms, filter that leaves 1 %: {few:.1f} ms, "
            f"half: {some:.1f} ms"
        )


def picture_bytes() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32)).save(out, "PNG")
    return out.getvalue()


def main(
    rows: Annotated[list[int], typer.Option(help="Sizes of galleries.")] = [1_000, 10_000],  # noqa: B006
    widths: Annotated[list[int], typer.Option(help="Widths of vectors.")] = [64, 512],  # noqa: B006
    index_from: Annotated[int, typer.Option(help="Build an index from so many rows on.")] = 100_000,
) -> None:
    """Measure and print."""
    print(
        subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout,
        end="",
    )
    with tempfile.TemporaryDirectory() as folder:
        for count in rows:
            for width in widths:
                measure(Path(folder), count, width, index_from)


if __name__ == "__main__":
    typer.run(main)
