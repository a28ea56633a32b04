"""A smaller open_clip CLIP out of a larger one: its configuration, and where its weights are."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from open_clip import CLIPTextCfg, CLIPVisionCfg

from compressor.errors import ModelError
from compressor.students.inherit_plan import Axis, InheritancePlan, TowerLayout, TowerPlan
from compressor.students.inherit_sizes import Cut, TowerShape, choose_sizes, choose_space
from compressor.teachers.open_clip_teacher import rebuild_open_clip

_CHANNEL, _HEADS, _HIDDEN, _SPACE = Axis.CHANNEL, Axis.HEADS, Axis.HIDDEN, Axis.SPACE
_LAYER = {
    "ln_1.weight": (_CHANNEL,),
    "ln_1.bias": (_CHANNEL,),
    "attn.in_proj_weight": (Axis.QUERY_KEY_VALUE, _CHANNEL),
    "attn.in_proj_bias": (Axis.QUERY_KEY_VALUE,),
    "attn.out_proj.weight": (_CHANNEL, _HEADS),
    "attn.out_proj.bias": (_CHANNEL,),
    "ls_1.gamma": (_CHANNEL,),
    "ln_2.weight": (_CHANNEL,),
    "ln_2.bias": (_CHANNEL,),
    "mlp.c_fc.weight": (_HIDDEN, _CHANNEL),
    "mlp.c_fc.bias": (_HIDDEN,),
    "mlp.c_proj.weight": (_CHANNEL, _HIDDEN),
    "mlp.c_proj.bias": (_CHANNEL,),
    "ls_2.gamma": (_CHANNEL,),
}
_IMAGE = TowerLayout(
    "visual.transformer.resblocks.",
    _LAYER,
    {
        "visual.conv1.weight": (_CHANNEL,),
        "visual.class_embedding": (_CHANNEL,),
        "visual.positional_embedding": (Axis.WHOLE, _CHANNEL),
        "visual.ln_pre.weight": (_CHANNEL,),
        "visual.ln_pre.bias": (_CHANNEL,),
        "visual.ln_post.weight": (_CHANNEL,),
        "visual.ln_post.bias": (_CHANNEL,),
        "visual.proj": (_CHANNEL, _SPACE),
    },
)
_TEXT = TowerLayout(
    "transformer.resblocks.",
    _LAYER,
    {
        "token_embedding.weight": (Axis.WHOLE, _CHANNEL),
        "positional_embedding": (Axis.WHOLE, _CHANNEL),
        "ln_final.weight": (_CHANNEL,),
        "ln_final.bias": (_CHANNEL,),
        "text_projection": (_CHANNEL, _SPACE),
        "text_projection.weight": (_SPACE, _CHANNEL),  # with a bias it is a linear layer
        "text_projection.bias": (_SPACE,),
    },
)


def plan_open_clip(config: dict[str, Any], cut: Cut) -> InheritancePlan:
    """The plan for a teacher of this family. Raises `ModelError` for other models and impossible sizes."""
    teacher: dict[str, Any] = config["model_cfg"]
    _refuse_other_models(teacher)
    student = copy.deepcopy(teacher)
    student["embed_dim"] = choose_space(cut.embed_dim, int(teacher["embed_dim"]))
    layers, width, heads = choose_sizes("image", _image_shape(teacher), cut.image)
    student["vision_cfg"] |= {"layers": layers, "width": width, "head_width": width // heads}
    layers, width, heads = choose_sizes("text", _text_shape(teacher), cut.text)
    student["text_cfg"] |= {"layers": layers, "width": width, "heads": heads}
    described = {"family": "open_clip", "model_cfg": student}
    return InheritancePlan(
        config=described,
        image=TowerPlan(_image_shape(teacher), _image_shape(student), _IMAGE),
        text=TowerPlan(_text_shape(teacher), _text_shape(student), _TEXT),
        build=partial(rebuild_open_clip, described),
    )


def _image_shape(model_cfg: dict[str, Any]) -> TowerShape:
    tower = CLIPVisionCfg(**model_cfg["vision_cfg"])
    assert isinstance(tower.layers, int)
    heads = tower.width // tower.head_width
    hidden = int(tower.width * tower.mlp_ratio)
    return TowerShape(tower.layers, tower.width, heads, hidden, model_cfg["embed_dim"])


def _text_shape(model_cfg: dict[str, Any]) -> TowerShape:
    tower = CLIPTextCfg(**model_cfg["text_cfg"])
    hidden = int(tower.width * tower.mlp_ratio)
    return TowerShape(tower.layers, tower.width, tower.heads, hidden, model_cfg["embed_dim"])


def _refuse_other_models(model_cfg: dict[str, Any]) -> None:
    image, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    reasons = {
        "it is a CoCa": "multimodal_cfg" in model_cfg,
        "it is a SigLIP": model_cfg.get("init_logit_bias") is not None,
        "its image tower is a timm model": bool(image.get("timm_model_name")),
        "its image tower is a ResNet": isinstance(image.get("layers"), list | tuple),
        "its text tower is a transformers model": bool(text.get("hf_model_name")),
        "its text tower has no projection": text.get("proj_type") == "none",
        "its text tower is a module of its own (custom_text)": bool(model_cfg.get("custom_text")),
    }
    for reason, true in reasons.items():
        if true:
            raise ModelError(
                f"weights cannot be inherited from this open_clip teacher: {reason}; it must be a CLIP whose "
                "towers are both open_clip's own transformers"
            )
