"""`compressor evaluate`: a bundle's retrieval on data that its recipe never saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from compressor.data import open_pairs
from compressor.errors import RecipeError
from compressor.evaluate.encode import encode_pairs
from compressor.evaluate.retrieval import retrieval
from compressor.pipeline.progress import Reporter
from compressor.recipe.data import DataSection
from compressor.runtime.bundle import Bundle


def data_section(
    kind: str, annotations: Path | None, images: Path | None, split: str, options: list[str]
) -> DataSection:
    """The data section that the command line describes. Raises `RecipeError` where it describes none."""
    keys: dict[str, Any] = {"kind": kind}
    if kind in ("karpathy", "coco_captions"):
        keys["root"] = str(Path.cwd())
    if annotations is not None:
        path = str(annotations.absolute())
        keys |= _annotation_keys(kind, split, path)
    if images is not None:
        path = str(images.absolute())
        keys |= _image_keys(kind, split, path)
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise RecipeError(f"--set {option}: write it as KEY=VALUE")
        keys[name] = yaml.safe_load(value)
    try:
        return TypeAdapter(DataSection).validate_python(keys)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "--kind"
        raise RecipeError(
            f"the data described on the command line is not usable: {where}: {first['msg']}"
        ) from error


def _annotation_keys(kind: str, split: str, path: str) -> dict[str, Any]:
    if kind == "coco_captions":
        return {"annotations": {split: path}}
    return {"path" if kind == "table" else "annotations": path}


def _image_keys(kind: str, split: str, path: str) -> dict[str, Any]:
    if kind == "coco_captions":
        return {"images": {split: path}}
    return {"path" if kind == "folder" else "images": path}


def evaluate_bundle(
    bundle: Path,
    *,
    kind: str,
    annotations: Path | None,
    images: Path | None,
    split: str,
    options: list[str],
    precision: str | None,
    threads: int | None,
    reporter: Reporter,
) -> dict[str, Any]:
    """Quality of one bundle on one split, as in results.json, with the bundle's name and precision."""
    if split not in ("train", "val", "test"):
        raise RecipeError(f"--split {split}: the splits are train, val and test")
    section = data_section(kind, annotations, images, split, options)
    folder = bundle / "bundle" if (bundle / "bundle" / "bundle.json").is_file() else bundle
    opened = Bundle.open(folder, precision=precision, threads=threads)
    pairs = open_pairs(section, split)  # type: ignore[arg-type]
    encoded = encode_pairs(
        opened,
        pairs,
        32,
        lambda done, total: reporter.work(f"encoding {split}", done, total),
        section.max_bad_fraction,
    )
    ranks = retrieval(encoded.image_embeds, encoded.text_embeds, encoded.text_to_image)
    quality = ranks.quality(bootstrap=1000, seed=0, precision=opened.precision, source="bundle")
    return {
        "bundle": opened.manifest.name,
        "precision": opened.precision,
        "split": split,
        "bad_images": encoded.bad,
        "quality": quality.model_dump(mode="json"),
    }


def print_quality(figures: dict[str, Any]) -> None:
    """The figures as a table."""
    quality = figures["quality"]
    table = Table(
        title=f"{figures['bundle']} ({figures['precision']}), {figures['split']} split", title_justify="left"
    )
    for heading in ("direction", "R@1", "R@5", "R@10", "median rank", "mAP@R"):
        table.add_column(heading, justify="left" if heading == "direction" else "right")
    for name, key in (("image to text", "i2t"), ("text to image", "t2i")):
        row = quality[key]
        cells = [f"{row[figure]:.1f}" for figure in ("r1", "r5", "r10", "median_rank", "map_r")]
        table.add_row(name, *cells)
    interval = quality["rsum_interval"]
    spread = f" (95 % interval {interval['low']:.1f} to {interval['high']:.1f})" if interval else ""
    console = Console()
    console.print(table)
    console.print(
        f"RSUM {quality['rsum']:.1f}{spread}, {quality['images']} images, {quality['captions']} captions"
    )
