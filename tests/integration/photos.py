"""Small data sets on disk in the formats that people have, and pictures that are hard to read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from PIL import Image

from compressor.data import open_pairs
from compressor.recipe.data import ScenesData, Split
from tests.integration.tiny import SIZE

COUNTS: dict[Split, int] = {"train": 32, "val": 12, "test": 12}

Pair = tuple[Image.Image, tuple[str, ...]]


def scenes(split: Split, count: int) -> list[Pair]:
    """Drawn scenes as PIL images with their captions."""
    pairs = open_pairs(ScenesData(kind="scenes", image_size=SIZE, **{split: count}), split)
    return [(pairs.image(i), pairs.rows[i].captions) for i in range(count)]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_karpathy(
    root: Path, counts: Mapping[Split, int] = COUNTS, files: Mapping[str, bytes] | None = None
) -> Path:
    """`dataset.json` and `images/`. `files` replaces the content of images by name (`train-3.png`)."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    entries, sentence = [], 0
    for split in get_args(Split):
        for number, (image, captions) in enumerate(scenes(split, counts[split])):
            name = f"{split}-{number}.png"
            (root / "images" / name).write_bytes((files or {}).get(name, encoded(image)))
            sentences = []
            for caption in captions:
                sentences.append({"raw": caption, "sentid": sentence})
                sentence += 1
            entries.append({"filename": name, "split": split, "sentences": sentences})
    path = root / "dataset.json"
    path.write_text(json.dumps({"dataset": "scenes", "images": entries}), encoding="utf-8")
    return path


def write_folder(
    root: Path, counts: Mapping[Split, int] = COUNTS, without: Mapping[Split, Sequence[int]] | None = None
) -> Path:
    """`train/`, `val/`, `test/` with captions beside the images; rows in `without` have none."""
    for split in get_args(Split):
        (root / split).mkdir(parents=True, exist_ok=True)
        for number, (image, captions) in enumerate(scenes(split, counts[split])):
            (root / split / f"{number:03}.png").write_bytes(encoded(image))
            if number not in (without or {}).get(split, ()):
                (root / split / f"{number:03}.txt").write_text("\n".join(captions), encoding="utf-8")
    return root


def write_table(root: Path, counts: Mapping[Split, int] = COUNTS) -> Path:
    """`pairs.csv` with one line a caption, images in `photos/`."""
    (root / "photos").mkdir(parents=True, exist_ok=True)
    path = root / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption", "split"])
        for split in get_args(Split):
            for number, (image, captions) in enumerate(scenes(split, counts[split])):
                name = f"{split}-{number}.png"
                (root / "photos" / name).write_bytes(encoded(image))
                table.writerows([name, caption, split] for caption in captions)
    return path


def unusable() -> dict[str, bytes]:
    """Files that no reader can make a picture of, by what is wrong with them."""
    image = scenes("train", 1)[0][0]
    return {
        "truncated": encoded(image)[:-60],
        "empty": b"",
        "text": b"this is not a photograph\n",
        "wide": encoded(Image.new("1", (100_000, 16))),
    }


def unusual() -> dict[str, bytes]:
    """Files that are pictures, although not of the usual kind."""
    image = scenes("train", 1)[0][0]
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [image, image.transpose(Image.Transpose.ROTATE_180)]
    return {
        "CMYK": encoded(image.convert("CMYK"), "JPEG"),
        "16 bit": encoded(Image.new("I;16", (40, 40), 30_000)),
        "rotated": encoded(image, "JPEG", exif=exif),
        "animated": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "palette with transparency": encoded(image.convert("RGBA").quantize(16), "PNG", transparency=0),
        "grey": encoded(image.convert("L"), "JPEG"),
    }
