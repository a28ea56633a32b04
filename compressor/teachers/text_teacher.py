"""Text teachers from transformers: an encoder of texts with its own tokeniser, local or by hub name."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compressor.errors import MissingResourceError, ModelError
from compressor.files import hash_json
from compressor.preprocess.preprocessor import TextPreprocessor
from compressor.preprocess.tokenizers import from_transformers_folder
from compressor.recipe.models import PretrainedTextTower
from compressor.recipe.teacher import TextTeacher
from compressor.students.hub import fetch_repository, missing_on_hub
from compressor.students.transformers_tower import TransformersText, build_text_tower
from compressor.students.weights import model_fingerprint
from compressor.teachers.comparison import convert_text
from compressor.teachers.transformers_teacher import missing_files, own_tokenizer
from compressor.teachers.unimodal import TextRepresentation, UnimodalModel

_LOGGER = logging.getLogger(__name__)
_WEIGHTS = "model.safetensors|model.safetensors.index.json"
REQUIRED_FILES = ("config.json", _WEIGHTS, "tokenizer.json")


def load_text(section: TextTeacher, *, rehearse: bool = False) -> UnimodalModel:
    """A text teacher with its own tokeniser, converted and compared. Raises as `load_unimodal` does."""
    folder = section.path if section.path is not None else fetch_repository(str(section.name), REQUIRED_FILES)
    label = f"text encoder {section.name or folder.name}"
    missing = missing_files(folder, rehearse=rehearse, required=REQUIRED_FILES)
    if missing:
        raise MissingResourceError(missing)
    preprocessor = _tokenizer(section, folder, label)
    present = any((folder / name).is_file() for name in _WEIGHTS.split("|"))
    tower = _build(section, folder, preprocessor, weights=present)
    encoder = TextRepresentation(tower, tower.width)
    origin = label
    if not present:
        _LOGGER.warning("REHEARSAL: %s runs with RANDOM WEIGHTS; its quality means nothing", label)
        origin += ", random weights"
    return UnimodalModel(
        name=section.name or folder.name,
        encoder=encoder,
        preprocessor=preprocessor,
        fingerprint=model_fingerprint(encoder, hash_json([preprocessor.fingerprint, section.pool])),
        origin=origin,
    )


def blank_text(section: TextTeacher) -> tuple[TransformersText, Tensor] | None:
    """The tower with random weights and an empty text, on torch's default device.

    None where the folder is not here. Raises `ModelError`.
    """
    if section.path is None or missing_files(section.path, rehearse=True, required=REQUIRED_FILES):
        return None
    with torch.device("cpu"):
        preprocessor = _tokenizer(section, section.path, f"text encoder {section.path.name}")
    tower = _build(section, section.path, preprocessor, weights=False)
    return tower, torch.zeros(1, section.context_length, dtype=torch.long)


def _build(
    section: TextTeacher, folder: Path, preprocessor: TextPreprocessor, *, weights: bool
) -> TransformersText:
    tower = PretrainedTextTower(
        kind="pretrained", path=folder, context_length=section.context_length, pool=section.pool
    )
    return build_text_tower(tower, preprocessor.text, preprocessor.tokenizer.vocab_size, weights=weights)


def missing_text(section: TextTeacher) -> list[str]:
    """The sentence for files that are not here, as a list."""
    if section.path is None:
        missing = missing_on_hub(str(section.name), REQUIRED_FILES)
    elif not section.path.is_dir():
        missing = f"The teacher's folder {section.path} is not there: set teacher.path to where it is."
    else:
        missing = missing_files(section.path, required=REQUIRED_FILES)
    return [missing] if missing else []


def _tokenizer(section: TextTeacher, folder: Path, label: str) -> TextPreprocessor:
    length = section.context_length
    tokenizer, spec = from_transformers_folder(folder, length)
    own = own_tokenizer(folder, label)
    if own.pad_token is None:
        raise ModelError(f"{label}: its own tokenizer has no pad token; name one in tokenizer_config.json")

    def encode(texts: object) -> np.ndarray:
        rows = own(list(texts), padding="max_length", max_length=length, truncation=True)  # type: ignore[call-overload]
        return np.asarray(rows["input_ids"])

    return TextPreprocessor(convert_text(tokenizer, spec, encode, label), tokenizer)
