"""Size and cost of a teacher, without its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compressor.recipe.blip import BlipRetrievalTeacher
from compressor.recipe.teacher import (
    CheckpointTeacher,
    EnsembleTeacher,
    OpenClipTeacher,
    TeacherSection,
    TextTeacher,
    TimmTeacher,
    TransformersTeacher,
)
from compressor.students.checkpoint import read_description, read_preprocessor
from compressor.students.encoder import Encoder
from compressor.students.outline import Outline, joined_outline, outline_encoder
from compressor.teachers.checkpoint import rebuild_any
from compressor.teachers.unimodal import outline_unimodal


@dataclass(frozen=True)
class Described:
    """What a checkpoint of a teacher would say of it (`Model.config`), and the sizes of what it reads.

    `build` makes it with random weights, on torch's default device.
    """

    config: dict[str, Any]
    image_size: int
    context_length: int
    build: Callable[[], Encoder]


def outline_teacher(section: TeacherSection) -> Outline | None:
    """Outline of a teacher that can be run; None for stored embeddings and for what is not here.

    An ensemble is as large as its members that can be run. Reads configurations only; never the network.
    """
    if isinstance(section, TimmTeacher | TextTeacher):
        return outline_unimodal(section)
    if isinstance(section, EnsembleTeacher):
        found = [outline_teacher(member) for member in section.members if member.runnable]
        known = [outline for outline in found if outline is not None]
        return joined_outline(known) if known and len(known) == len(found) else None
    described = describe_teacher(section)
    if described is None:
        return None
    with torch.device("meta"):
        encoder = described.build()
    return outline_encoder(encoder, described.image_size, described.context_length)


def describe_teacher(section: TeacherSection) -> Described | None:
    """Architecture and sizes of a teacher, without its weights; None and raises as `outline_teacher`."""
    if isinstance(section, OpenClipTeacher):
        return _open_clip(section)
    if isinstance(section, CheckpointTeacher) and section.path.is_dir():
        config, read = read_description(section.path), read_preprocessor(section.path)
        build = partial(rebuild_any, config, read, section.path)
        return Described(config, read.image.size, read.text.context_length, build)
    if isinstance(section, TransformersTeacher) and section.path is not None:
        return _transformers(section.path)
    if isinstance(section, BlipRetrievalTeacher):
        return _blip_retrieval(section)
    return None


def _open_clip(section: OpenClipTeacher) -> Described:
    from compressor.teachers.open_clip_source import find_source
    from compressor.teachers.open_clip_teacher import rebuild_open_clip

    config = find_source(section, fetch=False).model_cfg
    size = config["vision_cfg"].get("image_size", 224)
    side = size if isinstance(size, int) else size[0]
    length = int(config["text_cfg"].get("context_length", 77))
    described = {"family": "open_clip", "model_cfg": config}
    return Described(described, side, length, partial(rebuild_open_clip, described))


def _blip_retrieval(section: BlipRetrievalTeacher) -> Described | None:
    from transformers import BlipConfig

    from compressor.students.blip import square_side
    from compressor.students.blip_build import plain
    from compressor.students.transformers_tower import read_config
    from compressor.teachers.blip_published import published_config
    from compressor.teachers.blip_retrieval import rebuild_blip_retrieval

    folder = section.path
    if folder is not None and not (folder / "config.json").is_file():
        return None
    config = published_config(section.name) if folder is None else read_config(folder)
    if not isinstance(config, BlipConfig):
        return None
    described = {"family": "blip_retrieval", "blip": plain(config)}
    size, length = square_side(config), section.context_length
    return Described(described, size, length, partial(rebuild_blip_retrieval, described))


def _transformers(folder: Path) -> Described | None:
    from compressor.students.transformers_tower import read_config
    from compressor.teachers.transformers_teacher import rebuild_transformers

    if not (folder / "config.json").is_file():
        return None
    config = read_config(folder)
    length = int(config.text_config.max_position_embeddings)
    described = {"family": "transformers", "transformers": config.to_dict()}
    size = int(config.vision_config.image_size)
    return Described(described, size, length, partial(rebuild_transformers, described))
