"""From a JPEG file to pixels: this package against torchvision and OpenCV, decoding and the rest apart.

python -m benchmarks.decoding --images DIR
python -m benchmarks.decoding --images DIR --enlarge 4032   # as a camera's: the long side enlarged first

Every way decodes the same files, resizes their shorter side to `--size`, crops the middle and normalises;
taking turns, on one thread. Parity is the greatest difference of a pixel in levels of 256 from what the model
was trained on, Pillow's resampling of the whole picture. torchvision and OpenCV take part where they are
installed; `pip install opencv-python-headless` for the latter.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from compressor.preprocess.image import decode_image, normalize, resize_image
from compressor.preprocess.preprocessor import FAST_DECODE_MARGIN, FAST_REDUCING_GAP
from compressor.preprocess.spec import ImageSpec

MEAN, STD = (0.481, 0.458, 0.408), (0.269, 0.261, 0.276)


@dataclass(frozen=True)
class Way:
    """`decode`: file -> picture of any kind; `finish`: picture -> (3, size, size) float32."""

    decode: Callable[[bytes], Any]
    finish: Callable[[Any], Any]


def main(
    images: Annotated[Path, typer.Option(help="A folder of JPEG files.")],
    size: Annotated[int, typer.Option(min=8)] = 224,
    count: Annotated[int, typer.Option(min=1)] = 32,
    enlarge: Annotated[int, typer.Option(min=0, help="Long side; 0 leaves files as they are.")] = 0,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
) -> None:
    """Measure all ways on the first files of the folder and print a table."""
    paths = sorted(path for path in images.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))[:count]
    if not paths:
        raise typer.BadParameter(f"{images}: there are no JPEG files")
    files = [_enlarged(path, enlarge) if enlarge else path.read_bytes() for path in paths]
    spec = ImageSpec(size=size, mean=MEAN, std=STD)
    ways = dict(_ways(spec))
    taken = {name: np.empty((rounds, len(files), 2)) for name in ways}
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in list(ways.items())[:: 1 if number % 2 else -1]:
            for k, file in enumerate(files):
                started = time.perf_counter()
                picture = way.decode(file)
                decoded = time.perf_counter()
                pixels = way.finish(picture)
                if number:  # the first round warms up
                    taken[name][number - 1, k] = decoded - started, time.perf_counter() - decoded
                else:
                    outputs[name].append(np.asarray(pixels))
    _show(taken, outputs, files)


def _ways(spec: ImageSpec) -> Iterator[tuple[str, Way]]:
    def finish(picture: Image.Image, gap: float | None = None) -> np.ndarray:
        return normalize(resize_image(picture, spec, gap), spec)

    yield "compressor", Way(decode_image, finish)
    least = FAST_DECODE_MARGIN * spec.size
    yield (
        "compressor, fast_decode",
        Way(
            lambda file: decode_image(file, least_side=least),
            lambda picture: finish(picture, FAST_REDUCING_GAP),
        ),
    )
    yield from _torchvision(spec)
    yield from _opencv(spec)


def _torchvision(spec: ImageSpec) -> Iterator[tuple[str, Way]]:
    try:
        import torch
        from torchvision.io import decode_jpeg
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as F
    except ImportError:
        return
    torch.set_num_threads(1)

    def decode(file: bytes) -> Any:
        return decode_jpeg(torch.frombuffer(bytearray(file), dtype=torch.uint8))

    def finish(picture: Any) -> Any:
        resized = F.resize(picture, [spec.size], InterpolationMode.BICUBIC, antialias=True)
        cropped = F.center_crop(resized, [spec.size, spec.size])
        return F.normalize(F.to_dtype(cropped, torch.float32, scale=True), list(spec.mean), list(spec.std))

    yield "torchvision", Way(decode, finish)


def _opencv(spec: ImageSpec) -> Iterator[tuple[str, Way]]:
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(1)

    def finish(picture: np.ndarray, filter_: int) -> np.ndarray:
        height, width = picture.shape[:2]
        short = min(width, height)
        new = (int(spec.size * width / short), int(spec.size * height / short))
        left, top = (round((side - spec.size) / 2) for side in new)
        resized = cv2.resize(picture, new, interpolation=filter_)
        return normalize(resized[top : top + spec.size, left : left + spec.size], spec)

    def decode(file: bytes) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)

    yield "OpenCV, area", Way(decode, lambda picture: finish(picture, cv2.INTER_AREA))
    yield "OpenCV, bicubic", Way(decode, lambda picture: finish(picture, cv2.INTER_CUBIC))


def _enlarged(path: Path, side: int) -> bytes:
    with Image.open(path) as image:
        scale = side / max(image.size)
        # Sides that 8 divides, as a camera's are.
        new = tuple(max(8, round(length * scale / 8) * 8) for length in image.size)
        buffer = io.BytesIO()
        image.convert("RGB").resize(new, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _show(taken: dict[str, np.ndarray], outputs: dict[str, list[np.ndarray]], files: list[bytes]) -> None:
    whole = next(iter(outputs))
    total = {name: times.sum(axis=2) for name, times in taken.items()}
    table = Table(
        "way", "decode ms", "rest ms", "both ms", "of compressor's", "differs by levels: mean", "most"
    )
    for name, times in taken.items():
        decode, rest = np.median(times, axis=(0, 1)) * 1e3
        levels = [
            np.abs(a - b) * np.array(STD)[:, None, None] * 255
            for a, b in zip(outputs[name], outputs[whole], strict=True)
        ]
        ratio = np.median(total[name].sum(axis=1) / total[whole].sum(axis=1))
        table.add_row(
            name,
            f"{decode:.2f}",
            f"{rest:.2f}",
            f"{np.median(total[name]) * 1e3:.2f}",
            f"{ratio:.2f}",
            f"{np.mean([level.mean() for level in levels]):.2f}",
            f"{max(level.max() for level in levels):.0f}",
        )
    with Image.open(io.BytesIO(files[0])) as first:
        table.title = f"{len(files)} JPEG files, the first of {first.width} x {first.height}"
    Console(width=110).print(table)


if __name__ == "__main__":
    typer.run(main)
