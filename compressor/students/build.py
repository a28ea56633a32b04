"""From the `student` section of a recipe to a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from compressor.errors import ModelError
from compressor.preprocess.preprocessor import PREPROCESS_FILE, TOKENIZER_FILE, Preprocessor
from compressor.preprocess.spec import ImageSpec, TextSpec
from compressor.preprocess.text import Tokenizer
from compressor.preprocess.tokenizers import (
    clip_tokenizer,
    from_tokenizers_file,
    from_transformers_folder,
    train_bpe,
)
from compressor.recipe.models import (
    ClipTokenizer,
    StudentSection,
    TimmImageTower,
    TokenizerConfig,
    TrainedTokenizer,
    TransformerTextTower,
)
from compressor.students import transformers_tower
from compressor.students.dual_encoder import DualEncoder
from compressor.students.encoder import Model
from compressor.students.shared_block import SharedBlock
from compressor.students.text_transformer import TextTransformer
from compressor.students.timm_tower import build_timm_tower
from compressor.students.weights import load_weights, model_fingerprint, read_weights

_CLIP_VOCABULARY = 49_408


def build_student(section: StudentSection, tokenizer: Tokenizer, text_spec: TextSpec) -> Model:
    """A student as the recipe describes it, with the tower weights it names; the rest starts at random.

    Seed torch before the call: the same seed gives the same weights. Raises `ModelError` for names, options,
    shapes or weights that do not fit, `MissingResourceError` for weights that are not there.
    """
    encoder = build_encoder(section, text_spec, tokenizer.vocab_size)
    preprocessor = Preprocessor(ImageSpec(**section.image.input.model_dump()), text_spec, tokenizer)
    return Model(
        name=tower_names(section),
        encoder=encoder,
        preprocessor=preprocessor,
        fingerprint=model_fingerprint(encoder, preprocessor.fingerprint),
        origin=_origin(section),
        config={"family": "student", "student": _portable(section, encoder)},
    )


def build_encoder(
    section: StudentSection, text_spec: TextSpec, vocab_size: int, *, weights: bool = True
) -> DualEncoder:
    """The two towers and projections of a student. `weights=False` reads none of the named weights."""
    if section.text.context_length != text_spec.context_length:
        raise ModelError(
            f"the tokenizer makes {text_spec.context_length} tokens, student.text.context_length is "
            f"{section.text.context_length}: they must be equal"
        )
    image: nn.Module
    text: nn.Module
    if isinstance(section.image, TimmImageTower):
        image = build_timm_tower(section.image, weights=weights)
    else:
        image = transformers_tower.build_image_tower(section.image, weights=weights)
    if isinstance(section.text, TransformerTextTower):
        text = _text_transformer(section.text, text_spec, vocab_size, weights=weights)
    else:
        text = transformers_tower.build_text_tower(section.text, text_spec, vocab_size, weights=weights)
    width, shared = section.embed_dim, section.shared
    block = None if shared is None else SharedBlock(width, shared.layers, shared.hidden_ratio)
    return DualEncoder(image, text, width, section.initial_temperature, block)


def build_tokenizer(
    config: TokenizerConfig, captions: Iterable[str], context_length: int
) -> tuple[Tokenizer, TextSpec]:
    """The tokeniser of a recipe; `captions` are read only where one is to be trained on them.

    Raises `MissingResourceError` and `ModelError` for a file that is not there or not a tokeniser.
    """
    if isinstance(config, TrainedTokenizer):
        return train_bpe(captions, config.vocab_size, context_length, config.lowercase)
    if isinstance(config, ClipTokenizer):
        return clip_tokenizer(context_length)
    if (config.path / PREPROCESS_FILE).is_file():
        return _of_checkpoint(config.path, context_length)
    if config.path.is_dir():
        return from_transformers_folder(config.path, context_length)
    return from_tokenizers_file(config.path, context_length)


def _of_checkpoint(folder: Path, context_length: int) -> tuple[Tokenizer, TextSpec]:
    """The tokeniser of one of our checkpoints, with the cleaning of texts that belongs to it."""
    preprocessor = Preprocessor.load(folder)
    if preprocessor.text.context_length != context_length:
        raise ModelError(
            f"the tokenizer of {folder} makes {preprocessor.text.context_length} tokens, "
            f"student.text.context_length is {context_length}: they must be equal"
        )
    return preprocessor.tokenizer, preprocessor.text


def tower_names(section: StudentSection) -> str:
    """A short name for reports: image tower + text tower."""
    image, text = section.image, section.text
    if isinstance(image, TimmImageTower):
        left = image.name
    else:
        left = image.path.name if image.path is not None else str(image.config.get("model_type"))
    if isinstance(text, TransformerTextTower):
        right = f"text transformer {text.layers}x{text.width}"
    else:
        right = text.name or (text.path.name if text.path is not None else str(text.config.get("model_type")))
    return f"{left} + {right}"


def _text_transformer(
    section: TransformerTextTower, text_spec: TextSpec, vocab_size: int, *, weights: bool
) -> TextTransformer:
    tower = TextTransformer(
        vocab_size=vocab_size,
        pad_id=text_spec.pad_id,
        eos_id=text_spec.eos_id,
        width=section.width,
        layers=section.layers,
        heads=section.heads,
        mlp_ratio=section.mlp_ratio,
        context_length=section.context_length,
        causal=section.causal,
        pool=section.pool,
        dropout=section.dropout,
    )
    if weights and section.weights is not None:
        tensors = read_weights(section.weights)
        prefix = "text_tower."  # a whole checkpoint of ours serves too
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        load_weights(tower, own or tensors, section.weights, "the text tower")
    return tower


def recipe_vocabulary(section: StudentSection) -> int:
    """Rows of the embedding table; a tokeniser that is yet to be trained counts with its full size."""
    return vocabulary_of(section.tokenizer, section.text.context_length)


def vocabulary_of(config: TokenizerConfig, context_length: int) -> int:
    """Tokens of a recipe's tokeniser; one that is yet to be trained counts with its full size."""
    if isinstance(config, TrainedTokenizer):
        return config.vocab_size
    if isinstance(config, ClipTokenizer):
        return _CLIP_VOCABULARY
    tokenizer, _ = build_tokenizer(config, (), context_length)
    return tokenizer.vocab_size


def _portable(section: StudentSection, encoder: DualEncoder) -> dict[str, Any]:
    """The section as a checkpoint keeps it: no path of this machine, pretrained towers by configuration."""
    content = section.model_dump(mode="json")
    content["tokenizer"] = {"kind": "file", "path": TOKENIZER_FILE}
    image, text = content["image"], content["text"]
    image["weights"] = None
    if "weights_overlay" in image:
        image["weights_overlay"] = None
    if isinstance(encoder.image_tower, transformers_tower.TransformersImage):
        image |= {"path": None, "config": encoder.image_tower.config}
    if isinstance(encoder.text_tower, transformers_tower.TransformersText):
        text |= {"path": None, "name": None, "config": encoder.text_tower.config}
    else:
        text["weights"] = None
    return content


def _origin(section: StudentSection) -> str:
    """As its checkpoint says it, which is written once the model has been trained."""
    image, text = section.image, section.text
    files = [getattr(image, key, None) for key in ("weights", "weights_overlay", "path")]
    files += [getattr(text, key, None) for key in ("weights", "path")]
    names = [file.name for file in files if file is not None]
    if not isinstance(text, TransformerTextTower) and text.name:
        names.append(str(text.name))
    start = f"started from {', '.join(names)}" if names else "trained from nothing"
    return f"{tower_names(section)}, {start}"
