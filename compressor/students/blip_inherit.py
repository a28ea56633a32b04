"""A smaller BLIP out of a larger one: where its weights are, and the slices that a student takes of them."""

from __future__ import annotations

from typing import Literal

from timm.layers import resample_abs_pos_embed
from torch import Tensor
from transformers import BlipConfig, BlipTextConfig, BlipVisionConfig

from compressor.errors import ModelError
from compressor.students.blip import BlipGenerator, halves, stored_weights, with_tied
from compressor.students.inherit_plan import Axes, Axis, TowerLayout, TowerPlan, TowerShape
from compressor.students.weights import load_weights

POSITIONS = "embeddings.position_embedding"
"""The ViT's position embeddings, (1, 1 + patches, width), within `vision_model`."""

_WHOLE, _CHANNEL, _HEADS, _HIDDEN = Axis.WHOLE, Axis.CHANNEL, Axis.HEADS, Axis.HIDDEN
_READ = Axis.SPACE
"""For a text tower `embed_dim` is the width of what its cross-attention reads."""


def _affine(name: str, outputs: Axis, *inputs: Axis) -> dict[str, Axes]:
    """Weight and bias of a linear layer, or (without inputs) of a layer norm."""
    return {f"{name}.weight": (outputs, *inputs), f"{name}.bias": (outputs,)}


def _text_attention(name: str, read: Axis) -> dict[str, Axes]:
    return (
        _affine(f"{name}.self.query", _HEADS, _CHANNEL)
        | _affine(f"{name}.self.key", _HEADS, read)
        | _affine(f"{name}.self.value", _HEADS, read)
        | _affine(f"{name}.output.dense", _CHANNEL, _HEADS)
        | _affine(f"{name}.output.LayerNorm", _CHANNEL)
    )


_IMAGE = TowerLayout(
    "encoder.layers.",
    _affine("layer_norm1", _CHANNEL)
    | _affine("self_attn.qkv", Axis.QUERY_KEY_VALUE, _CHANNEL)
    | _affine("self_attn.projection", _CHANNEL, _HEADS)
    | _affine("layer_norm2", _CHANNEL)
    | _affine("mlp.fc1", _HIDDEN, _CHANNEL)
    | _affine("mlp.fc2", _CHANNEL, _HIDDEN),
    _affine("post_layernorm", _CHANNEL)
    | _affine("embeddings.patch_embedding", _CHANNEL)
    | {"embeddings.class_embedding": (_WHOLE, _WHOLE, _CHANNEL), POSITIONS: (_WHOLE, _WHOLE, _CHANNEL)},
)
_TEXT = TowerLayout(
    "encoder.layer.",
    _text_attention("attention", _CHANNEL)
    | _text_attention("crossattention", _READ)
    | _affine("intermediate.dense", _HIDDEN, _CHANNEL)
    | _affine("output.dense", _CHANNEL, _HIDDEN)
    | _affine("output.LayerNorm", _CHANNEL),
    _affine("embeddings.LayerNorm", _CHANNEL)
    | {
        "embeddings.word_embeddings.weight": (_WHOLE, _CHANNEL),
        "embeddings.position_embeddings.weight": (_WHOLE, _CHANNEL),
    },
)
_HEAD = (
    _affine("text_decoder.cls.predictions.transform.dense", _CHANNEL, _CHANNEL)
    | _affine("text_decoder.cls.predictions.transform.LayerNorm", _CHANNEL)
    | {"text_decoder.cls.predictions.bias": (_WHOLE,)}
)


def inherit_blip(student: BlipGenerator, teacher: BlipGenerator) -> str:
    """Fill a student with the teacher's evenly spread layers, leading channels and first heads, in place.

    No value is changed, but for position embeddings of another picture size, which are interpolated. Returns
    the choice in words. Raises `ModelError` for a student that is not a part of its teacher.
    """
    if student.head != teacher.head:
        raise ModelError(f"a '{student.head}' student cannot inherit from a '{teacher.head}' teacher")
    ours, theirs = (halves(one.config)[0].patch_size for one in (student, teacher))
    if ours != theirs:
        raise ModelError(f"student.image.patch is {ours}, to inherit it must be the teacher's {theirs}")
    image, text = plan_towers(student.config, teacher.config)
    source = stored_weights(teacher)
    tensors = {
        name: _inherited(name, own, source, image, text) for name, own in stored_weights(student).items()
    }
    load_weights(student, with_tied(tensors), "the teacher", "the student made out of it")
    return f"image {image.describe()}; text {text.describe()}"


def plan_towers(student: BlipConfig, teacher: BlipConfig) -> tuple[TowerPlan, TowerPlan]:
    """The slices of ViT and BERT from two configurations. Raises `ModelError` for what the teacher lacks."""
    image = TowerPlan(_vision_shape(teacher), _vision_shape(student), _IMAGE)
    text = TowerPlan(_text_shape(teacher), _text_shape(student), _TEXT)
    _check("image", image)
    _check("text", text)
    ours, theirs = (halves(config)[1].max_position_embeddings for config in (student, teacher))
    if ours > theirs:
        raise ModelError(f"student.text.context_length is {ours}, the teacher has {theirs} positions")
    return image, text


def fit_grid(positions: Tensor, wanted: Tensor) -> Tensor:
    """Position embeddings (1, 1 + n, D) brought to the patch grid of `wanted`, (1, 1 + m, D), by bicubic
    interpolation; the class token's stays."""
    if positions.shape[1] == wanted.shape[1]:
        return positions
    side = round((wanted.shape[1] - 1) ** 0.5)
    resized: Tensor = resample_abs_pos_embed(positions, [side, side], num_prefix_tokens=1)
    return resized


def _inherited(
    name: str, own: Tensor, source: dict[str, Tensor], image: TowerPlan, text: TowerPlan
) -> Tensor:
    if name in _HEAD:
        return text.cut(source[name], _HEAD[name])
    prefix, plan = _tower_of(name, image, text)
    found = plan.source(name.removeprefix(prefix))
    if found is None:
        raise ModelError(f"weights cannot be inherited from this teacher: it has an unknown '{name}'")
    tensor = plan.cut(source[prefix + found[0]], found[1])
    if found[0] == POSITIONS:
        return fit_grid(tensor, own)
    if found[0] == "embeddings.position_embeddings.weight":
        return tensor[: len(own)]
    return tensor


def _tower_of(name: str, image: TowerPlan, text: TowerPlan) -> tuple[str, TowerPlan]:
    for prefix in ("text_decoder.bert.", "text_encoder."):
        if name.startswith(prefix):
            return prefix, text
    return "vision_model.", image


def _vision_shape(config: BlipConfig) -> TowerShape:
    return _shape(halves(config)[0], 0)


def _text_shape(config: BlipConfig) -> TowerShape:
    vision, text = halves(config)
    return _shape(text, vision.hidden_size)


def _shape(part: BlipVisionConfig | BlipTextConfig, read: int) -> TowerShape:
    return TowerShape(
        part.num_hidden_layers, part.hidden_size, part.num_attention_heads, part.intermediate_size, read
    )


def _check(side: Literal["image", "text"], plan: TowerPlan) -> None:
    teacher, student = plan.teacher, plan.student
    for key in ("layers", "width", "heads", "head_width", "hidden"):
        asked, owned = getattr(student, key), getattr(teacher, key)
        if asked > owned:
            what = {"head_width": "width / heads", "hidden": "width x mlp_ratio"}.get(key, key)
            raise ModelError(f"student.{side}: {what} is {asked}, the teacher it inherits from has {owned}")
