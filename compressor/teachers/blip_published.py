"""Architectures of published BLIPs, so that a recipe that names one can be rehearsed where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import BlipConfig

from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spec import ImageSpec
from compressor.preprocess.tokenizers import train_bpe
from compressor.recipe.models import ImageInput

_BASE: dict[str, Any] = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
_LARGE: dict[str, Any] = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
_VISION: dict[str, dict[str, Any]] = {
    "Salesforce/blip-image-captioning-base": _BASE,
    "Salesforce/blip-image-captioning-large": _LARGE,
    "Salesforce/blip-vqa-base": _BASE,
    "Salesforce/blip-vqa-capfilt-large": _BASE,
    "Salesforce/blip-itm-base-coco": _BASE,
    "Salesforce/blip-itm-base-flickr": _BASE,
    "Salesforce/blip-itm-large-coco": _LARGE,
    "Salesforce/blip-itm-large-flickr": _LARGE,
}
"""The ViT of each, by hub name; the BERT of all is BERT-base, pictures have 384 pixels in patches of 16."""

BERT_WORDS = 30_522
"""Tokens of BERT, without the two that BLIP adds."""


def published_config(name: str | None) -> BlipConfig | None:
    """The architecture of a published BLIP; None for a name that is not known here."""
    vision = _VISION.get(str(name))
    if vision is None:
        return None
    text = _BASE | {
        "vocab_size": BERT_WORDS + 2,
        "bos_token_id": BERT_WORDS,
        "pad_token_id": 0,
        "sep_token_id": 2,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
    }
    patches = {"image_size": 384, "patch_size": 16, "intermediate_size": 4 * vision["hidden_size"]}
    return BlipConfig(vision_config=vision | patches, text_config=text, image_text_hidden_size=256)


def stand_in_preprocessor(texts: Sequence[str], context_length: int, side: int) -> Preprocessor:
    """BLIP's picture geometry, and a tokeniser trained on the texts at hand in the place of BERT's."""
    tokenizer, text = train_bpe(texts, BERT_WORDS, context_length)
    image = ImageInput(size=side, resize="squash")
    return Preprocessor(ImageSpec(**image.model_dump()), text, tokenizer)
