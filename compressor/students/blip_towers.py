"""Weights of towers trained elsewhere, under BLIP's names: timm's ViT, alone or in a checkpoint of this
project, BERT, or another BLIP's halves."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressor.errors import DataError, MissingResourceError, ModelError
from compressor.files import read_json
from compressor.recipe.blip import BlipImageTower, BlipTextTower, BlipTransformer
from compressor.students.blip import BlipGenerator
from compressor.students.blip_inherit import POSITIONS, fit_grid
from compressor.students.weights import load_weights, read_weights

OWN_TOWER = "image_tower.model."
"""What the timm tower of this project's checkpoints stands under."""
SETTINGS = ("hidden_act", "layer_norm_eps")
"""Keys of both halves of a configuration that weights are trained with and that no tensor shows."""

_LOGGER = logging.getLogger(__name__)
Names = tuple[tuple[str, str], ...]

_TIMM: Names = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", POSITIONS),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.norm", r"encoder.layers.\1.layer_norm"),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
)
_BERT: Names = (
    (r"^(embeddings|encoder)\.", r"bert.\1."),
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),  # the spelling of the first BERT files
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
)
_TYPES = "bert.embeddings.token_type_embeddings.weight"
_WORDS = "bert.embeddings.word_embeddings.weight"
_TEXT_POSITIONS = "bert.embeddings.position_embeddings.weight"
_TIED = {
    "cls.predictions.decoder.weight": _WORDS,
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_ACTIVATIONS = {
    "GELU(approximate='none')": "gelu",
    "GELU(approximate='tanh')": "gelu_pytorch_tanh",
    "GELU()": "gelu",
    "GELUTanh()": "gelu_pytorch_tanh",
    "QuickGELU()": "quick_gelu",
    "ReLU()": "relu",
    "SiLU()": "silu",
}
"""How torch and timm print their layers -> transformers' names."""


def load_towers(
    generator: BlipGenerator, image: BlipImageTower, text: BlipTextTower, known_ids: int
) -> list[str]:
    """Fill a generator with the weights that its towers name; what they lack stays as it is.

    What may be missing: cross-attention and, of a BERT, the head that predicts words. A vocabulary may lack
    the ids from `known_ids` on (the tokeniser's), which BLIP adds. Returns the names of the files. Raises
    `MissingResourceError` for files that are not there and `ModelError` for weights that do not fit.
    """
    used = []
    if image.weights is not None:
        path = _file(image.weights)
        _load(generator.vision_model, _vision(path, generator.vision_model), path, "student.image")
        used.append(image.weights.name)
    if text.weights is not None:
        path = _file(text.weights)
        decoder: nn.Module = generator.text_decoder
        _load(decoder, _text(path, "text_decoder.", decoder, known_ids), path, "student.text")
        if generator.text_encoder is not None:
            tensors = _text(path, "text_encoder.", decoder, known_ids)
            bare = {k.removeprefix("bert."): v for k, v in tensors.items() if k.startswith("bert.")}
            _load(generator.text_encoder, bare, path, "student.text")
        used.append(text.weights.name)
    return used


def tower_settings(tower: BlipImageTower | BlipTextTower) -> dict[str, Any]:
    """What the weights of a tower were trained with, as far as a `config.json` beside them tells.

    Raises `ModelError` for another number of heads than the recipe's: nothing else would show it. A warning
    is logged where nothing is known.
    """
    side, part = ("image", "vision_config") if isinstance(tower, BlipImageTower) else ("text", "text_config")
    keys = _beside(tower, part)
    heads = keys.get("num_attention_heads")
    if heads is None and tower.weights is not None:
        _LOGGER.warning(
            "nothing beside %s says how many heads its weights have: student.%s.heads must be that number",
            tower.weights,
            side,
        )
    elif heads not in (None, tower.heads):
        raise ModelError(f"student.{side}.heads is {tower.heads}, {tower.weights} was trained with {heads}")
    return {key: keys[key] for key in SETTINGS if key in keys}


def _vision(path: Path, tower: nn.Module) -> dict[str, Tensor]:
    """Weights of a BLIP's ViT or a timm ViT, with positions brought to the tower's grid."""
    tensors = _under(_under(read_weights(path), "vision_model."), OWN_TOWER)
    if "cls_token" in tensors:
        tensors = _renamed({k: v for k, v in tensors.items() if not k.startswith("head.")}, _TIMM)
    wanted, positions = tower.state_dict()[POSITIONS], tensors.get(POSITIONS)
    if positions is not None and _is_grid(positions) and positions.shape[-1] == wanted.shape[-1]:
        tensors[POSITIONS] = fit_grid(positions, wanted)
    return tensors


def _is_grid(positions: Tensor) -> bool:
    """One class token and a square of patches; a distillation or register token is refused when loaded."""
    patches = positions.shape[1] - 1
    return round(patches**0.5) ** 2 == patches


def _text(path: Path, half: str, decoder: nn.Module, known_ids: int) -> dict[str, Tensor]:
    """Weights of a BERT or of a BLIP's text half (the other one where it has but one), under the decoder's
    names and in the sizes of its tables."""
    tensors = read_weights(path)
    for prefix in (half, "text_decoder.", "text_encoder."):
        tensors = _under(tensors, prefix)
    tensors = _renamed(tensors, _BERT)
    unused = ("bert.pooler.", "cls.seq_relationship.", "bert.embeddings.position_ids")
    tensors = {name: value for name, value in tensors.items() if not name.startswith(unused)}
    own = decoder.state_dict()
    if not any(name.startswith("cls.") for name in tensors):
        tensors |= {name: value for name, value in own.items() if name.startswith("cls.")}
    types = tensors.pop(_TYPES, None)
    positions, words = tensors.get(_TEXT_POSITIONS), tensors.get(_WORDS)
    if types is not None and positions is not None:
        tensors[_TEXT_POSITIONS] = positions = positions + types[:1]  # BERT adds type 0 to every token
    if positions is not None:
        tensors[_TEXT_POSITIONS] = positions[: len(own[_TEXT_POSITIONS])]
    if words is not None:
        if not known_ids <= len(words) <= len(own[_WORDS]):
            raise ModelError(
                f"{path} has {len(words)} token ids, the tokenizer {known_ids}: take the tokenizer's own"
            )
        for name in (_WORDS, "cls.predictions.bias"):
            if name in tensors:
                tensors[name] = _filled_up(tensors[name], own[name])
    return tensors | {name: tensors[source] for name, source in _TIED.items() if source in tensors}


def _load(tower: nn.Module, tensors: dict[str, Tensor], path: Path, target: str) -> None:
    """Strict but for cross-attention, which may be absent, and is dropped where its input is another's."""
    own = tower.state_dict()
    crossing = {name for name in own if ".crossattention." in name}
    fits = crossing <= tensors.keys() and all(tensors[name].shape == own[name].shape for name in crossing)
    kept = {k: v for k, v in tensors.items() if ".crossattention." not in k or fits}
    if not fits:
        kept |= {name: own[name] for name in crossing}
    load_weights(tower, kept, path, target)


def _filled_up(rows: Tensor, own: Tensor) -> Tensor:
    """The rows and, below them, those that only the model's own table has."""
    if rows.shape[1:] != own.shape[1:]:
        return rows  # refused where it is loaded
    return torch.cat([rows, own[len(rows) :].to(rows.dtype)])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, or all where there are none."""
    below = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return below or tensors


def _renamed(tensors: dict[str, Tensor], names: Names) -> dict[str, Tensor]:
    renamed = {}
    for name, value in tensors.items():
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def _file(path: Path) -> Path:
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise MissingResourceError(
            f"no weights at {file}: give a safetensors file, or the folder that has one"
        )
    return file


def _beside(tower: BlipTransformer, part: str) -> dict[str, Any]:
    """The configuration beside a tower's weights: a BLIP's part of it, or the whole; empty where none is."""
    if tower.weights is None:
        return {}
    config = _file(tower.weights).parent / "config.json"
    try:
        content = read_json(config) if config.is_file() else {}
    except DataError as error:
        raise ModelError(str(error)) from error
    if not isinstance(content, dict):
        return {}
    if content.get("family") == "student":
        return _timm_settings(config.parent)
    keys = content.get(part, content)
    return keys if isinstance(keys, dict) else {}


def _timm_settings(folder: Path) -> dict[str, Any]:
    """What the image tower of this project's checkpoint was built with, in transformers' terms.

    Raises `ModelError` for a checkpoint whose image tower is no ViT of timm's.
    """
    from timm.models.vision_transformer import VisionTransformer

    from compressor.students.checkpoint import load_checkpoint
    from compressor.students.timm_tower import TimmTower

    tower = getattr(load_checkpoint(folder).encoder, "image_tower", None)
    model = tower.model if isinstance(tower, TimmTower) else None
    if not isinstance(model, VisionTransformer):
        raise ModelError(f"{folder}: its image tower is no ViT of timm's, so that BLIP cannot start from it")
    block: Any = model.blocks[0]
    activation = _ACTIVATIONS.get(repr(block.mlp.act))
    if activation is None:
        raise ModelError(f"{folder}: BLIP knows no activation like {block.mlp.act!r}")
    return {
        "num_attention_heads": block.attn.num_heads,
        "layer_norm_eps": block.norm1.eps,
        "hidden_act": activation,
    }
