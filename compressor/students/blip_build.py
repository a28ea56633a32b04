"""From the `student` section of a recipe to a BLIP that writes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from transformers import BlipConfig

from compressor.errors import ModelError
from compressor.files import hash_json
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spec import ImageSpec, TextSpec
from compressor.preprocess.text import Tokenizer
from compressor.recipe.blip import BlipStudent, Head
from compressor.students.blip import INITIALIZER_RANGE, BlipGenerator, build_blip, halves
from compressor.students.blip_inherit import inherit_blip, plan_towers
from compressor.students.blip_towers import SETTINGS, load_towers, tower_settings
from compressor.students.dual_encoder import parameter_counts
from compressor.students.generator import GenerativeModel, Vocabulary
from compressor.students.transformers_tower import VOLATILE_KEYS
from compressor.students.weights import model_fingerprint

_EPSILON = 1e-6
"""Of the layer norms in timm's ViT, where BLIP's comes from; transformers' own default for BLIP is 1e-5."""


def build_blip_student(section: BlipStudent, teacher: GenerativeModel) -> GenerativeModel:
    """The student of a teacher: the same head and tokens, sizes and start as the recipe says.

    Seed torch before the call: the same seed gives the same weights. Raises `ModelError` for sizes or weights
    that do not fit and `MissingResourceError` for weights that are not there.
    """
    generator = teacher.generator
    preprocessor = teacher.preprocessor
    return start_blip(
        section,
        generator.head,
        preprocessor.tokenizer,
        preprocessor.text,
        generator.vocabulary,
        teacher=generator if isinstance(generator, BlipGenerator) else None,
    )


def start_blip(
    section: BlipStudent,
    head: Head,
    tokenizer: Tokenizer,
    text: TextSpec,
    vocabulary: Vocabulary,
    *,
    teacher: BlipGenerator | None = None,
) -> GenerativeModel:
    """A student over given tokens; `teacher` is looked at for `start: inherit` alone. Raises as above."""
    if text.context_length > section.text.context_length:
        raise ModelError(
            f"the tokenizer makes {text.context_length} tokens, student.text.context_length is "
            f"{section.text.context_length}: it must be at least as many"
        )
    if section.start == "inherit" and teacher is None:
        raise ModelError("start: inherit needs a teacher of kind blip to take weights from")
    config = student_config(section, vocabulary)
    for half, settings in zip(halves(config), _trained_with(section, teacher), strict=True):
        for key, value in settings.items():
            setattr(half, key, value)
    generator = build_blip(config, head, vocabulary)
    start = "trained from nothing"  # as its checkpoint says it, which is written after training
    if section.start == "towers":
        files = load_towers(generator, section.image, section.text, tokenizer.vocab_size)
        start = f"started from {', '.join(files)}"
    elif teacher is not None and section.start == "inherit":
        start = f"made out of its teacher: {inherit_blip(generator, teacher)}"
    generator.eval()
    preprocessor = Preprocessor(ImageSpec(**section.image.input.model_dump()), text, tokenizer)
    name = student_name(section)
    return pack(generator, preprocessor, name=name, origin=f"{name}, {start}")


def pack(
    generator: BlipGenerator, preprocessor: Preprocessor, *, name: str, origin: str, licence: str = ""
) -> GenerativeModel:
    """A generator and its preprocessing as a model, described so that a checkpoint can rebuild it."""
    vocabulary = asdict(generator.vocabulary)
    described = {"family": "blip", "head": generator.head, "vocabulary": vocabulary}
    return GenerativeModel(
        name=name,
        generator=generator,
        preprocessor=preprocessor,
        fingerprint=model_fingerprint(generator, hash_json([preprocessor.fingerprint, vocabulary])),
        origin=origin,
        licence=licence,
        config=described | {"blip": plain(generator.config)},
    )


def student_config(section: BlipStudent, vocabulary: Vocabulary) -> BlipConfig:
    """transformers' configuration of a student."""
    image, text = section.image, section.text
    vision: dict[str, Any] = {
        "num_hidden_layers": image.layers,
        "hidden_size": image.width,
        "num_attention_heads": image.heads,
        "intermediate_size": round(image.width * image.mlp_ratio),
        "image_size": image.size,
        "patch_size": image.patch,
        "layer_norm_eps": _EPSILON,
        "initializer_range": INITIALIZER_RANGE,
    }
    words: dict[str, Any] = {
        "num_hidden_layers": text.layers,
        "hidden_size": text.width,
        "num_attention_heads": text.heads,
        "intermediate_size": round(text.width * text.mlp_ratio),
        "max_position_embeddings": text.context_length,
        "hidden_dropout_prob": text.dropout,
        "attention_probs_dropout_prob": text.dropout,
        "vocab_size": vocabulary.size,
        "bos_token_id": vocabulary.start_id,
        "sep_token_id": vocabulary.end_id,
        "eos_token_id": vocabulary.end_id,
        "pad_token_id": vocabulary.pad_id,
    }
    return BlipConfig(vision_config=vision, text_config=words)


def blip_student_sizes(
    section: BlipStudent, head: Head, vocabulary: Vocabulary, teacher: BlipConfig | None = None
) -> dict[str, int]:
    """Parameters of the ViT, the text halves and in total, without making any weights.

    With `teacher` the sizes are also checked against what is to be inherited. Raises `ModelError`.
    """
    config = student_config(section, vocabulary)
    if section.start == "inherit" and teacher is not None:
        plan_towers(config, teacher)
    with torch.device("meta"):
        return parameter_counts(build_blip(config, head, vocabulary))


def student_name(section: BlipStudent) -> str:
    """A short name for reports."""
    image, text = section.image, section.text
    return f"BLIP with ViT {image.layers}x{image.width} + BERT {text.layers}x{text.width}"


def plain(config: BlipConfig) -> dict[str, Any]:
    """The keys that rebuild a configuration, ready for JSON."""
    keys: dict[str, Any] = config.to_dict()
    for part in (keys, keys["text_config"], keys["vision_config"]):
        for key in VOLATILE_KEYS:
            part.pop(key, None)
    return keys


def _trained_with(
    section: BlipStudent, teacher: BlipGenerator | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the weights that ViT and BERT start from are tied to: activations and epsilons."""
    if section.start == "towers":
        return tower_settings(section.image), tower_settings(section.text)
    if section.start == "inherit" and teacher is not None:
        vision, text = halves(teacher.config)
        return {key: getattr(vision, key) for key in SETTINGS}, {key: getattr(text, key) for key in SETTINGS}
    return {}, {}
