"""BLIP as a teacher of text: captioning and VQA, from a local folder, by hub name, or of sizes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn
from transformers import BlipConfig

from compressor.errors import MissingResourceError, ModelError
from compressor.preprocess.preprocessor import Preprocessor
from compressor.recipe.blip import BlipStudent, BlipTeacher
from compressor.recipe.models import TrainedTokenizer
from compressor.students.blip import HEADS, BlipGenerator, halves, square_side
from compressor.students.blip_build import pack, start_blip
from compressor.students.blip_checkpoint import holds_blip_checkpoint, load_blip_checkpoint
from compressor.students.build import build_tokenizer
from compressor.students.generator import GenerativeModel, Vocabulary, make_vocabulary
from compressor.teachers.blip_folder import (
    convert_preprocessing,
    find_folder,
    load_or_rehearse,
    random_weights,
    read_blip_config,
)
from compressor.teachers.blip_published import published_config, stand_in_preprocessor


def load_blip(section: BlipTeacher, *, texts: Sequence[str] = (), rehearse: bool = False) -> GenerativeModel:
    """A BLIP teacher, frozen, with its own preprocessing compared with its own processor and tokeniser.

    One of sizes of its own starts from random weights (seed torch before the call), with a tokeniser trained
    on `texts` unless it names another. With `rehearse` weights that are not here are replaced by random ones
    in the real architecture, of a published BLIP also where nothing of it is here; the log and `origin` say
    so.

    Raises:
        ModelError: not a BLIP of this head, weights that do not fit, preprocessing that cannot be reproduced.
        MissingResourceError: files are not here (with `rehearse` only the weights may be missing).
    """
    if section.sizes is not None:
        return freeze_generator(_of_own_sizes(section, section.sizes, texts))
    if section.path is not None and holds_blip_checkpoint(section.path):
        return freeze_generator(_of_this_project(section, section.path))
    wanted = HEADS[section.head]
    try:
        folder, label = find_folder(section, rehearse=rehearse)
    except MissingResourceError:
        config = published_config(section.name) if rehearse else None
        if config is None:
            raise
        stand_in = stand_in_preprocessor(texts, section.context_length, square_side(config))
        vocabulary = _vocabulary(section, config, stand_in, f"BLIP {section.name}")
        model, origin = random_weights(wanted, config, f"BLIP {section.name}")
        return freeze_generator(
            pack(BlipGenerator(model, vocabulary), stand_in, name=str(section.name), origin=origin)
        )
    config = read_blip_config(folder, label, wanted)
    preprocessor = convert_preprocessing(folder, config, section, label)
    vocabulary = _vocabulary(section, config, preprocessor, label)
    model, origin = load_or_rehearse(wanted, folder, config, label)
    generator = BlipGenerator(model, vocabulary)
    return freeze_generator(pack(generator, preprocessor, name=section.name or folder.name, origin=origin))


def freeze_generator(model: GenerativeModel) -> GenerativeModel:
    """The same model, in evaluation mode and without gradients."""
    assert isinstance(model.generator, nn.Module)
    model.generator.eval().requires_grad_(False)
    return model


def _vocabulary(
    section: BlipTeacher, config: BlipConfig, preprocessor: Preprocessor, label: str
) -> Vocabulary:
    text = halves(config)[1]
    start_id, end_id = text.bos_token_id, preprocessor.text.eos_id
    if end_id != text.sep_token_id:
        raise ModelError(
            f"{label}: it ends texts with id {text.sep_token_id} (sep_token_id), its tokenizer with {end_id}"
        )
    if start_id is None:
        raise ModelError(f"{label}: its configuration has no bos_token_id, with which every text starts")
    return make_vocabulary(
        preprocessor.tokenizer,
        end_id,
        size=text.vocab_size,
        start_id=start_id,
        prompt=section.prompt,
        question_start_id=start_id + 1 if section.question_start == "enc" else None,
    )


def _of_this_project(section: BlipTeacher, folder: Path) -> GenerativeModel:
    """A checkpoint, with its own preprocessing and prompt, which transformers' files only nearly tell."""
    model = load_blip_checkpoint(folder)
    own = {
        "head": model.generator.head,
        "prompt": model.generator.vocabulary.prompt,
        "context_length": model.preprocessor.text.context_length,
    }
    for key in section.model_fields_set & own.keys():
        asked = getattr(section, key)
        if asked != own[key]:
            raise ModelError(f"{folder} was trained with {key} {own[key]!r}, the recipe says {asked!r}")
    return model


def _of_own_sizes(section: BlipTeacher, sizes: BlipStudent, texts: Sequence[str]) -> GenerativeModel:
    config = section.tokenizer or TrainedTokenizer(kind="train")
    tokenizer, text = build_tokenizer(config, texts, section.context_length)
    vocabulary = make_vocabulary(
        tokenizer,
        text.eos_id,
        prompt=section.prompt,
        question_start_id=tokenizer.vocab_size + 1 if section.question_start == "enc" else None,
    )
    model = start_blip(sizes, section.head, tokenizer, text, vocabulary)
    return replace(model, name=f"teacher {model.name}")
