"""A smaller transformers CLIP out of a larger one: its configuration, and where its weights are."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from transformers import CLIPConfig

from compressor.errors import ModelError
from compressor.students.inherit_plan import Axis, InheritancePlan, TowerLayout, TowerPlan
from compressor.students.inherit_sizes import Cut, Side, TowerCut, TowerShape, choose_sizes, choose_space
from compressor.teachers.transformers_teacher import rebuild_transformers

_CHANNEL, _HEADS, _HIDDEN, _SPACE = Axis.CHANNEL, Axis.HEADS, Axis.HIDDEN, Axis.SPACE
_LAYER = {
    "layer_norm1.weight": (_CHANNEL,),
    "layer_norm1.bias": (_CHANNEL,),
    "self_attn.q_proj.weight": (_HEADS, _CHANNEL),
    "self_attn.q_proj.bias": (_HEADS,),
    "self_attn.k_proj.weight": (_HEADS, _CHANNEL),
    "self_attn.k_proj.bias": (_HEADS,),
    "self_attn.v_proj.weight": (_HEADS, _CHANNEL),
    "self_attn.v_proj.bias": (_HEADS,),
    "self_attn.out_proj.weight": (_CHANNEL, _HEADS),
    "self_attn.out_proj.bias": (_CHANNEL,),
    "layer_norm2.weight": (_CHANNEL,),
    "layer_norm2.bias": (_CHANNEL,),
    "mlp.fc1.weight": (_HIDDEN, _CHANNEL),
    "mlp.fc1.bias": (_HIDDEN,),
    "mlp.fc2.weight": (_CHANNEL, _HIDDEN),
    "mlp.fc2.bias": (_CHANNEL,),
}
_IMAGE = TowerLayout(
    "vision_model.encoder.layers.",
    _LAYER,
    {
        "vision_model.embeddings.class_embedding": (_CHANNEL,),
        "vision_model.embeddings.patch_embedding.weight": (_CHANNEL,),
        "vision_model.embeddings.position_embedding.weight": (Axis.WHOLE, _CHANNEL),
        "vision_model.pre_layrnorm.weight": (_CHANNEL,),  # transformers' own spelling
        "vision_model.pre_layrnorm.bias": (_CHANNEL,),
        "vision_model.post_layernorm.weight": (_CHANNEL,),
        "vision_model.post_layernorm.bias": (_CHANNEL,),
        "visual_projection.weight": (_SPACE, _CHANNEL),
    },
)
_TEXT = TowerLayout(
    "text_model.encoder.layers.",
    _LAYER,
    {
        "text_model.embeddings.token_embedding.weight": (Axis.WHOLE, _CHANNEL),
        "text_model.embeddings.position_embedding.weight": (Axis.WHOLE, _CHANNEL),
        "text_model.final_layer_norm.weight": (_CHANNEL,),
        "text_model.final_layer_norm.bias": (_CHANNEL,),
        "text_projection.weight": (_SPACE, _CHANNEL),
    },
)


def plan_transformers(config: dict[str, Any], cut: Cut) -> InheritancePlan:
    """The plan for a teacher of this family. Raises `ModelError` for other models and impossible sizes."""
    keys: dict[str, Any] = config["transformers"]
    if keys.get("model_type") != "clip":
        raise ModelError(
            "weights cannot be inherited from this transformers teacher: it is a "
            f"'{keys.get('model_type')}', it must be a 'clip'"
        )
    teacher: Any = CLIPConfig(**copy.deepcopy(keys))  # fills in what the description leaves to defaults
    space = choose_space(cut.embed_dim, teacher.projection_dim)
    image = _tower("image", teacher, space, cut.image)
    text = _tower("text", teacher, space, cut.text)
    student = copy.deepcopy(keys) | {"projection_dim": space}
    student["vision_config"] |= _sizes(image.student)
    student["text_config"] |= _sizes(text.student)
    described = {"family": "transformers", "transformers": student}
    return InheritancePlan(
        config=described,
        image=image,
        text=text,
        build=partial(rebuild_transformers, described),
    )


def _tower(side: Side, config: Any, embed_dim: int, cut: TowerCut) -> TowerPlan:
    """The plan of one tower; the inside of its MLPs shrinks as its width does."""
    keys = config.vision_config if side == "image" else config.text_config
    teacher = TowerShape(
        layers=keys.num_hidden_layers,
        width=keys.hidden_size,
        heads=keys.num_attention_heads,
        hidden=keys.intermediate_size,
        embed_dim=config.projection_dim,
    )
    layers, width, heads = choose_sizes(side, teacher, cut)
    hidden = teacher.hidden * width // teacher.width
    student = TowerShape(layers, width, heads, hidden, embed_dim)
    return TowerPlan(teacher, student, _IMAGE if side == "image" else _TEXT)


def _sizes(shape: TowerShape) -> dict[str, int]:
    return {
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.width,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.hidden,
        "projection_dim": shape.embed_dim,
    }
