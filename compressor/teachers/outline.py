"""Size and cost of a teacher, without its weights."""

from __future__ import annotations

import torch
from torch import nn

from compressor.recipe.teacher import (
    CheckpointTeacher,
    OpenClipTeacher,
    TeacherSection,
    TransformersTeacher,
)
from compressor.students.outline import Outline, outline_encoder


def outline_teacher(section: TeacherSection) -> Outline | None:
    """Outline of a teacher that can be run; None for stored embeddings and for what is not here.

    Reads configurations only; never the network.
    """
    if isinstance(section, OpenClipTeacher):
        return _open_clip(section)
    if isinstance(section, CheckpointTeacher):
        return _checkpoint(section)
    if isinstance(section, TransformersTeacher) and section.path is not None:
        return _transformers(section)
    return None


def _open_clip(section: OpenClipTeacher) -> Outline:
    from compressor.teachers.open_clip_source import find_source
    from compressor.teachers.open_clip_teacher import OpenClipEncoder, build_architecture

    config = find_source(section, fetch=False).model_cfg
    with torch.device("meta"):
        encoder = OpenClipEncoder(build_architecture(config), int(config["embed_dim"]))
    size = encoder.model.visual.image_size
    side = size if isinstance(size, int) else size[0]
    return outline_encoder(encoder, side, int(config["text_cfg"].get("context_length", 77)))


def _checkpoint(section: CheckpointTeacher) -> Outline | None:
    from compressor.teachers.checkpoint import load_any_checkpoint

    if not section.path.is_dir():
        return None
    model = load_any_checkpoint(section.path)
    encoder, spec = model.encoder, model.preprocessor
    assert isinstance(encoder, nn.Module)
    return outline_encoder(encoder.to("meta"), spec.image.size, spec.text.context_length)


def _transformers(section: TransformersTeacher) -> Outline | None:
    from compressor.students.transformers_tower import read_config
    from compressor.teachers.transformers_teacher import rebuild_transformers

    assert section.path is not None
    if not (section.path / "config.json").is_file():
        return None
    config = read_config(section.path)
    encoder = rebuild_transformers({"transformers": config.to_dict()})
    length = int(config.text_config.max_position_embeddings)
    return outline_encoder(encoder.to("meta"), int(config.vision_config.image_size), length)
