"""What an export is asked for, checked like a recipe: its sections `teacher`, `export` and `data`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import ValidationError

from compressor.data.folder import image_names
from compressor.errors import BundleError, DataError, MissingResourceError, RecipeError
from compressor.files import read_json
from compressor.pipeline.exporting.source import find_source
from compressor.recipe import check_engines, check_export
from compressor.recipe.base import Section
from compressor.recipe.blip import BlipTeacher
from compressor.recipe.data import DataSection, Split
from compressor.recipe.outcome import PRECISIONS, ExportSection
from compressor.recipe.overrides import apply_overrides, flatten
from compressor.recipe.problems import Problem, explain, message, mistaken_truths, origin_of, unknown
from compressor.recipe.source import COMMAND_LINE, Origin, Value, read_recipe_file
from compressor.recipe.teacher import TeacherSection
from compressor.runtime.schema import CARD, MANIFEST, TERMS

_TYPED = Origin(COMMAND_LINE, 0)
_UNFINISHED = re.compile(r"\..+\.tmp-")
"""A file that a killed process was writing."""


class ExportRecipe(Section):
    """The sections of a recipe that an export reads; the model stands where a recipe has its teacher."""

    teacher: TeacherSection
    export: ExportSection = ExportSection()
    data: DataSection | None = None


@dataclass(frozen=True)
class ExportOptions:
    """The command line. `data` is a YAML file: a recipe, of which only `data` is read, or that section alone;
    `images` a folder of pictures, with captions beside them or without. `settings` are such as
    `export.parity.samples=32`, and win over all else."""

    checkpoint: str
    weights: Path | None = None
    output: Path | None = None
    precisions: Sequence[str] = ()
    opset: int | None = None
    text_length: str | None = None
    data: Path | None = None
    images: Path | None = None
    split: str = "val"
    settings: Sequence[str] = ()
    licence: str | None = None


@dataclass(frozen=True)
class ExportRequest:
    """The same, understood: `split` is where the samples are, `folder` where the bundle goes, `given` what
    names the data in a sentence."""

    recipe: ExportRecipe
    split: Split
    folder: Path
    licence: str | None
    given: str = "the data"


def understand(options: ExportOptions) -> ExportRequest:
    """Check everything that can be checked before weights are read.

    Raises `RecipeError` for options that make no sense, one a line; `BundleError` for an output folder that
    holds something else than a bundle, which would be replaced; for `images` that are not there or too few;
    and as `find_source` does.
    """
    if options.split not in get_args(Split):
        raise RecipeError(f"--split {options.split}: the splits are train, val and test")
    if options.data is not None and options.images is not None:
        raise RecipeError("--data and --images both say where samples come from; give one of them")
    source = find_source(options.checkpoint, options.weights)
    folder = (options.output or source.bundle).expanduser().absolute()
    _check_output(folder)
    split = cast(Split, options.split)
    sections = {"teacher": source.section, "export": _export_keys(options)}
    if options.images is not None:
        calibrates = "int8_static" in options.precisions
        _check_images(options.images, calibrates)
        sections["data"] = _folder_keys(options.images, split, calibrates)
    whole = _value(sections)
    if options.data is not None:
        assert isinstance(whole.content, dict)
        whole = Value(whole.content | {"data": _data_of(options.data)}, _TYPED, Path.cwd())
    recipe = _validate(apply_overrides(whole, options.settings))
    given = "--images" if options.images is not None else "--data" if options.data is not None else "the data"
    return ExportRequest(recipe, split, folder, options.licence, given)


def _export_keys(options: ExportOptions) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if options.precisions:
        first = options.precisions[0]
        keys["precisions"] = list(options.precisions)
        keys |= {"default": first} if first in PRECISIONS else {}  # an unknown one is one mistake, not two
    if options.opset is not None:
        keys["opset"] = options.opset
    if options.text_length is not None:
        keys["text_length"] = options.text_length
    return keys


def _check_images(images: Path, calibrates: bool) -> None:
    """Raise `MissingResourceError` without the folder, `DataError` for one with too few pictures to judge."""
    folder = images.expanduser()
    if not folder.is_dir():
        raise MissingResourceError(f"--images: there is no folder {images}")
    count = len(image_names(folder))
    if count == 0:
        raise DataError(f"--images: there are no pictures in {images}")
    if count == 1 and calibrates:
        raise DataError("--images: one picture cannot be split into calibration and comparison; give more")
    if count == 1:
        raise DataError("--images: one picture is too few to compare a model on; give more")


def _folder_keys(images: Path, split: Split, calibrates: bool) -> dict[str, Any]:
    """All pictures of a folder are of the split that is asked for, unless it is divided into splits; where
    some are needed for calibration too, half of them, chosen by hash."""
    fractions = {name: float(name == split) for name in get_args(Split)}
    if calibrates and split != "train":
        fractions |= {split: 0.5, "train": 0.5}
    return {"kind": "folder", "path": str(images.expanduser().absolute()), "split_fractions": fractions}


def _data_of(path: Path) -> Value:
    """The `data` section of a recipe, or the section that a file is."""
    whole = read_recipe_file(path, str(path))
    assert isinstance(whole.content, dict)
    if "data" in whole.content:
        return whole.content["data"]
    if "kind" not in whole.content:
        raise RecipeError(f"{path}: has neither a section 'data' nor the 'kind' of one")
    return whole


def _validate(whole: Value) -> ExportRecipe:
    data, origins = flatten(whole)
    keys = tuple(ExportRecipe.model_fields)
    strange = [
        Problem(origin_of((key,), origins), (key,), unknown("key", key, keys))
        for key in data
        if key not in keys
    ]
    if strange:
        raise RecipeError(message(strange))
    problems = mistaken_truths(data, origins)
    try:
        recipe = ExportRecipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(message(problems + explain(error, data, origins))) from error
    if problems:
        raise RecipeError(message(problems))
    if recipe.export.search:
        raise RecipeError(
            f"{COMMAND_LINE}: export.search: a search is part of a run; name the precisions (--precision)"
        )
    writes = isinstance(recipe.teacher, BlipTeacher)
    found = [
        *check_export.section_findings(recipe.export, writes=writes),
        *check_engines.section_findings(recipe.export, writes=writes),
    ]
    if found:
        problems = [Problem(origin_of(path, origins), path, text) for path, text in found]
        raise RecipeError(message(problems))
    return recipe


def _value(content: Any) -> Value:
    """Plain data as if it had been typed."""
    if isinstance(content, dict):
        return Value({key: _value(part) for key, part in content.items()}, _TYPED, Path.cwd())
    if isinstance(content, list):
        return Value([_value(part) for part in content], _TYPED, Path.cwd())
    assert content is None or isinstance(content, str | int | float | bool)
    return Value(content, _TYPED, Path.cwd())


def _check_output(folder: Path) -> None:
    """A bundle takes the place of whole folders, of itself or of one that failed: only of an older bundle,
    or of nothing."""
    try:
        for place in (folder, Path(f"{folder}-failed")):
            if place.is_dir():
                _check_replaceable(place)
            elif place.exists() or place.is_symlink():
                raise BundleError(f"{place} is a file; choose another --output")
        home = next(parent for parent in folder.parents if parent.exists())
    except OSError as error:
        raise BundleError(f"{folder} cannot be made: {error.strerror}; choose another --output") from error
    if not home.is_dir() or not os.access(home, os.W_OK | os.X_OK):
        why = "may not be written" if home.is_dir() else "is a file"
        raise BundleError(f"{folder} cannot be made: {home} {why}; choose another --output")


def _check_replaceable(folder: Path) -> None:
    """Raise `BundleError` for a folder with anything in it that is not a bundle's, and would be lost.

    bundle.json is not asked for more than names: what failed, is damaged or newer may be replaced too.
    """
    if not any(folder.iterdir()):
        return
    content = None
    with suppress(DataError, FileNotFoundError):
        content = read_json(folder / MANIFEST)
    if not isinstance(content, dict) or not {"schema_version", "artifacts"} <= content.keys():
        raise BundleError(
            f"{folder} holds something else than a bundle and is not replaced; choose another --output"
        )
    known = {MANIFEST, CARD, TERMS, *_listed(content)}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_folder = path.is_dir() and not path.is_symlink()
        if name not in known and not is_folder and not _UNFINISHED.match(path.name):
            raise BundleError(
                f"{folder} holds '{name}', which is no part of its bundle and would be lost; take it out or "
                "choose another --output"
            )


def _listed(part: Any) -> Iterator[str]:
    """The paths of all files that a part of bundle.json names."""
    if isinstance(part, dict) and "sha256" in part:
        yield str(part.get("path"))
    elif isinstance(part, dict | list):
        for each in part.values() if isinstance(part, dict) else part:
            yield from _listed(each)
