"""`compressor evaluate`: a bundle's retrieval on data that its recipe never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from compressor.data import open_pairs
from compressor.errors import BundleError, RecipeError
from compressor.evaluate.encode import encode_pairs
from compressor.evaluate.retrieval import retrieval
from compressor.pipeline.progress import Reporter
from compressor.recipe.base import Section
from compressor.recipe.check import splits_missing
from compressor.recipe.data import DataSection, PairsData, Split
from compressor.recipe.overrides import apply_overrides, flatten
from compressor.recipe.problems import Problem, explain, message, mistaken_truths, origin_of
from compressor.recipe.source import COMMAND_LINE, Origin, Value
from compressor.runtime.bundle import Bundle
from compressor.runtime.manifest import read_manifest
from compressor.runtime.writer_schema import WriterManifest


class _Described(Section):
    """A recipe's data section alone."""

    data: PairsData


def data_section(
    kind: str, annotations: Path | None, images: Path | None, split: Split, options: Sequence[str]
) -> DataSection:
    """The data section that the command line describes; `options` are settings such as `limit.test=100`.

    Raises `RecipeError` where it describes none that holds `split`, one problem a line.
    """
    keys: dict[str, Any] = {"kind": kind}
    if kind in ("karpathy", "coco_captions"):
        keys["root"] = str(Path.cwd())
    if annotations is not None:
        keys |= _annotation_keys(kind, split, str(annotations.absolute()))
    if images is not None:
        keys |= _image_keys(kind, split, str(images.absolute()))
    settings = [f"{name}={json.dumps(value)}" for name, value in keys.items()]
    nothing = Value({}, Origin(COMMAND_LINE, 0), Path.cwd())
    whole = apply_overrides(nothing, [f"data.{setting}" for setting in (*settings, *options)])
    data, origins = flatten(whole)
    problems = mistaken_truths(data, origins)
    try:
        section = _Described.model_validate(data).data
    except ValidationError as error:
        raise RecipeError(message(problems + explain(error, data, origins))) from error
    for path, text in splits_missing(section, [split]):
        problems.append(Problem(origin_of(path, origins), path, text))
    if problems:
        raise RecipeError(message(problems))
    return section


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
    options: Sequence[str],
    precision: str | None,
    threads: int | None,
    reporter: Reporter,
) -> dict[str, Any]:
    """Quality of one bundle on one split, as in results.json, with the bundle's name and precision."""
    if split not in get_args(Split):
        raise RecipeError(f"--split {split}: the splits are train, val and test")
    chosen = cast(Split, split)
    section = data_section(kind, annotations, images, chosen, options)
    folder = bundle / "bundle" if (bundle / "bundle" / "bundle.json").is_file() else bundle
    if isinstance(read_manifest(folder), WriterManifest):
        raise BundleError(
            f"{folder}: this bundle writes, and retrieval cannot be measured of it; "
            "captions and answers are measured by the `evaluate` stage of a run"
        )
    opened = Bundle.open(folder, precision=precision, threads=threads)
    pairs = open_pairs(section, chosen)
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
    table = Table()
    for heading in ("direction", "R@1", "R@5", "R@10", "median rank", "mAP@R"):
        table.add_column(heading, justify="left" if heading == "direction" else "right")
    for name, key in (("image to text", "i2t"), ("text to image", "t2i")):
        row = quality[key]
        cells = [f"{row[figure]:.1f}" for figure in ("r1", "r5", "r10", "median_rank", "map_r")]
        table.add_row(name, *cells)
    interval = quality["rsum_interval"]
    spread = f" (95 % interval {interval['low']:.1f} to {interval['high']:.1f})" if interval else ""
    counts = f"{quality['images']} images, {quality['captions']} captions"
    bad = f", {figures['bad_images']} unusable images left out" if figures["bad_images"] else ""
    console = Console()
    title = f"{figures['bundle']} ({figures['precision']}), {figures['split']} split"
    console.print(title, markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    console.print(f"RSUM {quality['rsum']:.1f}{spread}, {counts}{bad}", soft_wrap=True)
