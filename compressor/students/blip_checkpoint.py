"""Checkpoints of a BLIP that writes: one folder that this project and transformers both load.

`config.json` holds transformers' keys and ours, `model.safetensors` transformers' names; `preprocess.json`
and `tokenizer.json` are ours, the two `*_config.json` say the same to transformers.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal, get_args

from transformers import BlipConfig

from compressor.errors import ModelError
from compressor.files import atomic_folder, write_json
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.text import Tokenizer, parse_pipeline
from compressor.recipe.blip import Head
from compressor.students.blip import HEADS, BlipGenerator, build_blip, stored_weights, with_tied
from compressor.students.blip_build import pack
from compressor.students.checkpoint import (
    CHECKPOINT_FILES,
    CONFIG_FILE,
    SCHEMA_VERSION,
    WEIGHTS_FILE,
    read_description,
    read_preprocessor,
)
from compressor.students.generator import GenerativeModel, Vocabulary
from compressor.students.weights import load_weights, read_weights, save_weights

_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def save_blip_checkpoint(
    model: GenerativeModel, folder: Path | str, *, dtype: Literal["float32", "float16"] = "float32"
) -> None:
    """Write a BLIP, student or teacher, as a checkpoint folder, whole or not at all.

    `float16` halves the file; loading brings the weights back to fp32. Raises `DiskFullError` where the disk
    is full and `ModelError` for another kind of generator.
    """
    generator = model.generator
    if not isinstance(generator, BlipGenerator):
        raise ModelError(f"'{model.name}' is no BLIP and cannot be saved as one")
    tensors = stored_weights(generator)
    if dtype == "float16":
        tensors = {
            name: value.half() if value.is_floating_point() else value for name, value in tensors.items()
        }
    described = {
        **model.config["blip"],
        "architectures": [HEADS[generator.head].__name__],
        "dtype": dtype,
        "schema_version": SCHEMA_VERSION,
        "family": "blip",
        "name": model.name,
        "origin": model.origin,
        "licence": model.licence,
        "head": generator.head,
        "vocabulary": model.config["vocabulary"],
    }
    with atomic_folder(folder) as temporary:
        write_json(temporary / CONFIG_FILE, described)
        model.preprocessor.save(temporary)
        write_json(temporary / "preprocessor_config.json", _image_processor(model.preprocessor))
        write_json(temporary / "tokenizer_config.json", _tokenizer(model.preprocessor))
        save_weights(tensors, temporary / WEIGHTS_FILE, {"format": "pt"})


def holds_blip_checkpoint(folder: Path) -> bool:
    """True for a folder that `save_blip_checkpoint` wrote: transformers' own has no description of ours."""
    if not all((folder / name).is_file() for name in CHECKPOINT_FILES):
        return False
    try:
        return read_description(folder)["family"] == "blip"
    except ModelError:
        return False


def load_blip_checkpoint(folder: Path | str) -> GenerativeModel:
    """A BLIP from its checkpoint folder, in evaluation mode, in fp32.

    Raises `ModelError` for a file that is missing, damaged or does not fit, in one sentence.
    """
    path = Path(folder)
    described = read_description(path)
    if described["family"] != "blip":
        raise ModelError(f"{path} holds a model of family '{described['family']}', not a BLIP that writes")
    preprocessor = read_preprocessor(path)
    try:
        keys = copy.deepcopy(described)
        head, vocabulary = _head(keys), _vocabulary(keys)
        config = BlipConfig(vision_config=keys["vision_config"], text_config=keys["text_config"])
    except Exception as error:  # strict configurations raise a family of their own
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{path / CONFIG_FILE} does not describe a BLIP: {reason}") from error
    generator = build_blip(config, head, vocabulary)
    weights = path / WEIGHTS_FILE
    load_weights(
        generator, with_tied(read_weights(weights)), weights, f"the model that {path / CONFIG_FILE} describes"
    )
    generator.eval()
    return pack(
        generator,
        preprocessor,
        name=str(described.get("name", "")),
        origin=str(described.get("origin", "")),
        licence=str(described.get("licence", "")),
    )


def _head(described: dict[str, Any]) -> Head:
    head: Head = described["head"]
    if head not in get_args(Head):
        raise ValueError(f"head '{head}' is unknown")
    return head


def _vocabulary(described: dict[str, Any]) -> Vocabulary:
    keys: dict[str, Any] = described["vocabulary"]
    return Vocabulary(**{**keys, "prompt_ids": tuple(keys["prompt_ids"])})


def _image_processor(preprocessor: Preprocessor) -> dict[str, Any]:
    """Our image specification as transformers' `BlipImageProcessor` says it."""
    spec = preprocessor.image
    if spec.resize != "squash":
        raise ModelError(f"a BLIP squashes its pictures, 'resize: {spec.resize}' is another model's")
    return {
        "image_processor_type": "BlipImageProcessor",
        "processor_class": "BlipProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": spec.size, "width": spec.size},
        "resample": _RESAMPLE[spec.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }


def _tokenizer(preprocessor: Preprocessor) -> dict[str, Any]:
    """What transformers needs beside `tokenizer.json`: which of its tokens have a role."""
    tokenizer: Tokenizer = preprocessor.tokenizer
    pipeline = parse_pipeline(tokenizer.to_json())
    opening, closing = (int(token) for token in tokenizer([""])[0][:2])
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": tokenizer.context_length,
        "pad_token": pipeline.id_to_token(tokenizer.pad_id),
        "cls_token": pipeline.id_to_token(opening),
        "sep_token": pipeline.id_to_token(closing),
    }
