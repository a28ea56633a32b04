"""Image teachers from timm: by name, with local weights or those of the name's tag on the hub."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_transform, resolve_data_config
from torch import Tensor

from compressor.errors import MissingResourceError, ModelError
from compressor.files import hash_json
from compressor.preprocess.preprocessor import ImagePreprocessor
from compressor.preprocess.spec import ImageSpec
from compressor.recipe.models import ImageInput, TimmImageTower
from compressor.recipe.teacher import TimmTeacher
from compressor.students.hub import fetch_repository, missing_on_hub
from compressor.students.timm_tower import TimmTower, build_timm_tower
from compressor.students.weights import model_fingerprint
from compressor.teachers.comparison import check_pixels
from compressor.teachers.unimodal import ImageRepresentation, UnimodalModel

_LOGGER = logging.getLogger(__name__)
_WEIGHTS = "model.safetensors"
_RESIZE = {"center": "shortest", "squash": "squash"}


def load_timm(section: TimmTeacher, *, rehearse: bool = False) -> UnimodalModel:
    """A timm teacher with timm's own preprocessing. Raises as `load_unimodal` does."""
    spec = data_config(section)
    weights = None if rehearse and missing_timm(section) else _weights(section)
    tower = _build(section, spec.size, weights)
    encoder = ImageRepresentation(tower, tower.width)
    preprocessor = ImagePreprocessor(spec)
    origin = f"timm {section.name}"
    if weights is None:
        _LOGGER.warning("REHEARSAL: %s runs with RANDOM WEIGHTS; its quality means nothing", origin)
        origin += ", random weights"
    return UnimodalModel(
        name=section.name,
        encoder=encoder,
        preprocessor=preprocessor,
        # Options such as act_layer change what comes out of the same weights.
        fingerprint=model_fingerprint(
            encoder, hash_json([preprocessor.fingerprint, section.name, section.options])
        ),
        origin=origin,
    )


def blank_timm(section: TimmTeacher) -> tuple[TimmTower, Tensor]:
    """The tower with random weights and an empty picture, on torch's default device. Raises `ModelError`."""
    with torch.device("cpu"):
        size = data_config(section).size
    return _build(section, size), torch.zeros(1, 3, size, size)


def _build(section: TimmTeacher, size: int, weights: Path | None = None) -> TimmTower:
    tower = TimmImageTower(
        kind="timm",
        name=section.name,
        options=section.options,
        weights=weights,
        input=ImageInput(size=size),
    )
    return build_timm_tower(tower)


def data_config(section: TimmTeacher) -> ImageSpec:
    """Our specification of timm's data config, compared with timm's own transform.

    timm evaluates on a part of the picture (`crop_pct`: the margin is cut off). The specification has no such
    margin: the student has none, and a teacher is to speak of what the student sees.
    """
    config = resolve_data_config({}, pretrained_cfg=_pretrained_config(section.name))
    height, width = config["input_size"][-2:]
    size = section.size or height
    if section.size is None and height != width:
        raise ModelError(
            f"timm {section.name}: pictures of {height} x {width} pixels are not supported, only square ones"
        )
    mode = config["crop_mode"]
    if mode not in _RESIZE:
        raise ModelError(f"timm {section.name}: its way of cropping, '{mode}', is not supported")
    spec = ImageSpec(
        size=size,
        resize=_RESIZE[mode],
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
    )
    transform: Any = create_transform(
        **(config | {"input_size": (3, size, size), "crop_pct": 1.0}), is_training=False
    )
    check_pixels(spec, lambda picture: transform(picture).numpy(), f"timm {section.name}")
    return spec


def missing_timm(section: TimmTeacher) -> list[str]:
    """The sentence for weights that are not here, as a list. Raises `ModelError` for an unknown name."""
    config = _pretrained_config(section.name)
    if section.path is not None:
        here = section.path.is_file()
        return [] if here else [f"The teacher's weights {section.path} are not there: set teacher.path."]
    repository = str(config.get("hf_hub_id") or "")
    if not repository:
        return [f"timm {section.name} has no weights on the hub: give a safetensors file as teacher.path."]
    missing = missing_on_hub(repository, (_WEIGHTS,))
    return [missing] if missing else []


def _weights(section: TimmTeacher) -> Path:
    missing = missing_timm(section)
    if missing:
        raise MissingResourceError(missing[0])
    if section.path is not None:
        return section.path
    repository = str(_pretrained_config(section.name)["hf_hub_id"])
    return fetch_repository(repository, (_WEIGHTS,)) / _WEIGHTS


def _pretrained_config(name: str) -> dict[str, Any]:
    """timm's entry for a name and its tag; an empty one for a model without any."""
    if not timm.is_model(name) or ":" in name:
        # Building it finds close names for the message.
        build_timm_tower(TimmImageTower(kind="timm", name=name))
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise ModelError(f"teacher.name: {error}") from error
    return {} if config is None else config.to_dict()
