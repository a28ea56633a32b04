"""BLIP's retrieval model as a dual encoder: the two projections that its contrastive loss (ITC) trained.

The matching head (ITM), which reads a pair with cross-attention and re-ranks, is no embedding and is left
out, with the cross-attention that serves it alone.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import BlipConfig, BlipForImageTextRetrieval

from compressor.errors import MissingResourceError, ModelError
from compressor.recipe.blip import BlipRetrievalTeacher
from compressor.students.blip import check_pixels_size, halves, square_side
from compressor.students.blip_build import plain
from compressor.students.dual_encoder import unit_rows
from compressor.students.encoder import Model
from compressor.students.text_transformer import token_mask, without_padding
from compressor.students.weights import model_fingerprint
from compressor.teachers.blip_folder import (
    convert_preprocessing,
    find_folder,
    load_or_rehearse,
    random_weights,
    read_blip_config,
)
from compressor.teachers.blip_published import published_config, stand_in_preprocessor

_STAND_IN_TEXTS = ("a photo of two dogs in the snow",)
"""What the tokeniser of a rehearsal is trained on; it knows every byte besides."""


class _WithoutCrossing(BlipForImageTextRetrieval):
    """The same model, loaded without a warning that the file has more."""

    _keys_to_ignore_on_load_unexpected = [r"\.crossattention\."]  # noqa: RUF012 - the library's own form


class BlipRetrievalEncoder(nn.Module):
    """A BLIP that satisfies `Encoder`: the projected class token of the picture and first token of the text.

    `temperature` starts the learned temperature: BLIP's own (`temp`) is not part of transformers' format.
    """

    image_prefixes: ClassVar[tuple[str, ...]] = ("vision_model.", "vision_proj.")

    def __init__(self, model: BlipForImageTextRetrieval, temperature: float) -> None:
        super().__init__()
        self.image_size = square_side(model.config)
        self.pad_id = halves(model.config)[1].pad_token_id or 0
        self.embed_dim = int(model.config.image_text_hidden_size)
        self.vision_model: nn.Module = model.vision_model
        self.text_encoder: nn.Module = model.text_encoder
        self.vision_proj: nn.Module = model.vision_proj
        self.text_proj: nn.Module = model.text_proj
        self.log_logit_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, size, size) float32 -> (B, embed_dim), unit rows."""
        check_pixels_size(pixel_values, self.image_size)
        # Not `pooler_output`: that is the class token after a second pass through the last layer norm.
        tokens = self.vision_model(pixel_values=pixel_values).last_hidden_state
        return unit_rows(self.vision_proj(tokens[:, 0]))

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, embed_dim), unit rows."""
        ids, counts = without_padding(input_ids, token_mask(input_ids, self.pad_id, None))
        # transformers reads values out of a mask, which a model that is only planned (meta) does not have.
        mask = None if ids.is_meta else counts.to(torch.long)
        tokens = self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return unit_rows(self.text_proj(tokens[:, 0]))

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Both embeddings of a batch."""
        return self.encode_image(pixel_values), self.encode_text(input_ids)

    @property
    def logit_scale(self) -> Tensor:
        """exp of the learned log temperature."""
        return self.log_logit_scale.exp()

    @property
    def logit_bias(self) -> Tensor | None:
        """BLIP has none."""
        return None


def load_blip_retrieval(section: BlipRetrievalTeacher, *, rehearse: bool = False) -> Model:
    """A BLIP retrieval teacher with its own preprocessing, compared with its own processor and tokeniser.

    With `rehearse` a published one may be missing altogether. Raises as `load_blip` does.
    """
    try:
        folder, label = find_folder(section, rehearse=rehearse)
    except MissingResourceError:
        published = published_config(section.name) if rehearse else None
        if published is None:
            raise
        config = _without_crossing(published)
        preprocessor = stand_in_preprocessor(_STAND_IN_TEXTS, section.context_length, square_side(config))
        name, (model, origin) = (
            str(section.name),
            random_weights(_WithoutCrossing, config, f"BLIP {section.name}"),
        )
    else:
        config = _without_crossing(read_blip_config(folder, label, BlipForImageTextRetrieval))
        preprocessor = convert_preprocessing(folder, config, section, label)
        name = section.name or folder.name
        model, origin = load_or_rehearse(_WithoutCrossing, folder, config, label)
    encoder = BlipRetrievalEncoder(model, section.temperature)
    return Model(
        name=name,
        encoder=encoder,
        preprocessor=preprocessor,
        fingerprint=model_fingerprint(encoder, preprocessor.fingerprint),
        origin=origin,
        config={"family": "blip_retrieval", "blip": plain(config)},
    )


def rebuild_blip_retrieval(described: dict[str, Any]) -> BlipRetrievalEncoder:
    """The encoder of a checkpoint of this family, before its weights are loaded. Raises `ModelError`."""
    keys = described.get("blip")
    if not isinstance(keys, dict) or keys.get("model_type") != "blip":
        raise ModelError("the checkpoint's config.json holds no BLIP configuration (blip)")
    try:
        model = BlipForImageTextRetrieval(_without_crossing(BlipConfig(**keys)))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"the checkpoint's BLIP configuration cannot be built: {error}") from error
    return BlipRetrievalEncoder(model, temperature=1.0)


def _without_crossing(config: BlipConfig) -> BlipConfig:
    """A text encoder is built without cross-attention where it is not called a decoder."""
    halves(config)[1].is_decoder = False
    return config
