"""What a checkpoint is, as the `teacher` section that loads it. Reads configurations, never weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from compressor.errors import DataError, MissingResourceError, ModelError
from compressor.files import read_json
from compressor.recipe.base import BUILTIN, resolve_path
from compressor.students.naming import checkpoint_name

_CONFIG = "config.json"
_OPEN_CLIP = "open_clip_config.json"
_BUNDLE = "bundle.json"
_ALLOWED = (
    "a checkpoint folder of this project, a transformers folder of a CLIP, SigLIP or BLIP, an open_clip "
    "folder, or an open_clip name with --weights FILE"
)
_BLIPS: Mapping[str, dict[str, str]] = MappingProxyType(
    {
        "BlipForConditionalGeneration": {"kind": "blip", "head": "caption"},
        "BlipForQuestionAnswering": {"kind": "blip", "head": "vqa"},
        "BlipForImageTextRetrieval": {"kind": "blip_retrieval"},
    }
)


@dataclass(frozen=True)
class Source:
    """`section` are the keys of a recipe's `teacher`; `bundle` is where its bundle goes by default."""

    section: dict[str, Any]
    bundle: Path


def find_source(checkpoint: str, weights: Path | None = None) -> Source:
    """The model that `checkpoint` names: a folder, a run folder, or an open_clip name with its `weights`.

    Raises `MissingResourceError` for what is not there and `ModelError` for what no bundle can be made of.
    """
    if weights is not None:
        return _open_clip(checkpoint, weights)
    try:
        folder = Path(resolve_path(checkpoint))
    except ValueError as error:
        raise MissingResourceError(f"{checkpoint!r} {error}") from error
    if not folder.is_dir():
        raise _no_folder(checkpoint, folder)
    inside = folder / "checkpoint"
    if not (folder / _CONFIG).is_file() and (inside / _CONFIG).is_file():
        folder = inside
    beside = Path.cwd() if checkpoint.startswith(BUILTIN) else folder.absolute().parent
    return Source(_section(folder), beside / f"{checkpoint_name(folder)}-bundle")


def _section(folder: Path) -> dict[str, Any]:
    if (folder / _OPEN_CLIP).is_file():
        return {"kind": "open_clip", "name": folder.name, "path": str(folder)}
    if (folder / _BUNDLE).is_file():
        raise ModelError(f"{folder} is a bundle already: `compressor bundle verify` checks it")
    config = _read(folder)
    path = {"path": str(folder)}
    family = config.get("family")
    if family == "blip":
        return {"kind": "blip", "head": str(config.get("head")), **path}
    if family is not None:
        return {"kind": "checkpoint", **path}
    kind = config.get("model_type")
    if kind in ("clip", "siglip"):
        return {"kind": "transformers", **path}
    if kind == "blip":
        listed = config.get("architectures")
        named = str(listed[0] if isinstance(listed, list) and listed else listed)
        if named not in _BLIPS:
            raise ModelError(f"{folder} holds a BLIP of architecture '{named}'; allowed: {', '.join(_BLIPS)}")
        return {**_BLIPS[named], **path}
    if kind is None and "architecture" in config:
        raise ModelError(_one_tower(f"{folder} holds timm's {config['architecture']}"))
    named = f"a '{kind}'" if kind is not None else "no model that is known"
    raise ModelError(f"{folder} holds {named}; give {_ALLOWED}")


def _open_clip(name: str, weights: Path) -> Source:
    path = weights.expanduser().absolute()
    if not path.exists():
        raise MissingResourceError(f"--weights: there is no file {weights}")
    section = {"kind": "open_clip", "name": name, "path": str(path)}
    return Source(section, path.parent / f"{path.stem if path.is_file() else path.name}-bundle")


def _read(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    if not path.is_file():
        raise MissingResourceError(f"{folder} has no {_CONFIG}, so it is no model; give {_ALLOWED}")
    try:
        config = read_json(path)
    except DataError as error:
        raise ModelError(str(error)) from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} describes no model")
    return config


def _no_folder(checkpoint: str, path: Path) -> MissingResourceError | ModelError:
    """The error for something that is no folder: what it may be instead decides what helps."""
    if path.exists():
        return ModelError(
            f"{checkpoint} is a file, and weights alone do not say whose they are: give their folder, or for "
            "an open_clip model its name and --weights FILE"
        )
    if checkpoint == path.name:  # a name may be a model's; a longer path is none
        import open_clip
        import timm

        if checkpoint in open_clip.list_models():
            return MissingResourceError(f"open_clip's {checkpoint} needs its weights here: --weights FILE")
        if timm.is_model(checkpoint):
            return ModelError(_one_tower(f"{checkpoint} is a model of timm"))
    return MissingResourceError(f"there is no folder {path}; give {_ALLOWED}")


def _one_tower(what: str) -> str:
    return (
        f"{what}, an image tower without a text tower, and a bundle holds both: make it the image tower of a "
        "student (student.image in a recipe) and train that"
    )
