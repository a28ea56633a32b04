"""What the BLIP teachers share: finding their files, reading configuration, weights and preprocessing."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

from transformers import BlipConfig, PreTrainedModel

from compressor.errors import MissingResourceError, ModelError
from compressor.preprocess.preprocessor import Preprocessor
from compressor.recipe.blip import BlipRetrievalTeacher, BlipTeacher
from compressor.students.blip import INITIALIZER_RANGE, halves, square_side
from compressor.students.hub import fetch_repository, missing_on_hub
from compressor.students.transformers_tower import load_folder, read_config
from compressor.teachers.transformers_teacher import REQUIRED_FILES, FolderParts, missing_files

BlipSource = BlipTeacher | BlipRetrievalTeacher
_LOGGER = logging.getLogger(__name__)
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def find_folder(section: BlipSource, *, rehearse: bool) -> tuple[Path, str]:
    """The teacher's folder, fetched if it has a hub name, and its label for messages.

    Raises `MissingResourceError` where files are not here (with `rehearse` only the weights may be missing).
    """
    folder = section.path if section.path is not None else fetch_repository(str(section.name), REQUIRED_FILES)
    missing = missing_files(folder, rehearse=rehearse)
    if missing:
        raise MissingResourceError(missing)
    return folder, f"BLIP {section.name or folder.name}"


def missing_blip_files(section: BlipSource) -> list[str]:
    """One sentence for each thing a BLIP teacher lacks; reads no weights."""
    if isinstance(section, BlipTeacher) and section.sizes is not None:
        return _missing_parts(section)
    if section.path is None:
        missing = missing_on_hub(str(section.name), REQUIRED_FILES)
    elif not section.path.is_dir():
        missing = f"The teacher's folder {section.path} is not there: set teacher.path to where it is."
    else:
        missing = missing_files(section.path)
    return [missing] if missing else []


def _missing_parts(section: BlipTeacher) -> list[str]:
    """What a teacher of its own sizes is to start from and is not there."""
    paths = [half.weights for half in (section.image, section.text) if half is not None]
    paths.append(getattr(section.tokenizer, "path", None))
    return [
        f"The teacher is to start from {path}, which is not there: set its path to where it is."
        for path in paths
        if path is not None and not path.exists()
    ]


def read_blip_config(folder: Path, label: str, wanted: type[PreTrainedModel]) -> BlipConfig:
    """The configuration of a folder that holds the wanted class. Raises `ModelError` for anything else."""
    config = read_config(folder)
    if not isinstance(config, BlipConfig):
        raise ModelError(f"{label} is a '{config.model_type}', this teacher must be a BLIP ('blip')")
    held = getattr(config, "architectures", None) or [wanted.__name__]
    if wanted.__name__ not in held:
        raise ModelError(f"{label} holds a {held[0]}, this teacher needs a {wanted.__name__}")
    halves(config)[0].image_size = square_side(config)  # a list of two equal sides breaks transformers' BLIP
    return config


def load_or_rehearse(wanted: type[PreTrainedModel], folder: Path, config: BlipConfig, label: str) -> Any:
    """The model of a folder in fp32, and where it came from; without a weights file, random and loudly so.

    Raises `ModelError` where weights are damaged, do not fit, or are incomplete.
    """
    if not any((folder / name).is_file() for name in _WEIGHTS):
        return random_weights(wanted, config, label)
    return load_folder(folder, wanted, config), label


def random_weights(wanted: type[PreTrainedModel], config: BlipConfig, label: str) -> Any:
    """A model of a configuration with random weights, said loudly, and where it came from."""
    _LOGGER.warning("REHEARSAL: %s runs with RANDOM WEIGHTS; its quality means nothing", label)
    halves(config)[0].initializer_range = INITIALIZER_RANGE
    return wanted(config), f"{label}, random weights"


def convert_preprocessing(
    folder: Path, config: BlipConfig, section: BlipTeacher | BlipRetrievalTeacher, label: str
) -> Preprocessor:
    """Our preprocessing, compared with the folder's own processor and tokeniser.

    Raises `ModelError` where they cannot be reproduced.
    """
    text_config = halves(config)[1]
    positions = text_config.max_position_embeddings
    if section.context_length > positions:
        raise ModelError(
            f"teacher.context_length is {section.context_length}, {label} has {positions} positions"
        )
    cut = copy.deepcopy(config)
    halves(cut)[1].max_position_embeddings = section.context_length
    parts = FolderParts(folder, cut, label)
    tokenizer, text = parts.text()
    if text.pad_id != text_config.pad_token_id:
        raise ModelError(
            f"{label}: its text model takes id {text_config.pad_token_id} for padding, its tokenizer "
            f"writes {text.pad_id}"
        )
    return Preprocessor(parts.image(), text, tokenizer)
