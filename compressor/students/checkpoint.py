"""Checkpoints: a folder with `config.json`, `model.safetensors`, `preprocess.json` and `tokenizer.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from compressor.errors import DataError, MissingResourceError, ModelError
from compressor.files import atomic_folder, read_json, write_json
from compressor.preprocess.preprocessor import PREPROCESS_FILE, TOKENIZER_FILE, Preprocessor
from compressor.recipe.models import StudentSection
from compressor.students.build import build_encoder
from compressor.students.dual_encoder import DualEncoder
from compressor.students.encoder import Model
from compressor.students.weights import load_weights, model_fingerprint, read_weights, save_weights

SCHEMA_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CHECKPOINT_FILES = (CONFIG_FILE, WEIGHTS_FILE, PREPROCESS_FILE, TOKENIZER_FILE)


def save_checkpoint(
    model: Model, folder: Path | str, *, dtype: Literal["float32", "float16"] = "float32"
) -> None:
    """Write a model, student or teacher, as a checkpoint folder, whole or not at all.

    `float16` halves the file (buffers and weights alike; integers stay); loading brings them back to fp32.
    Raises `DiskFullError` where the disk is full.
    """
    encoder = model.encoder
    if not isinstance(encoder, nn.Module) or "family" not in model.config:
        raise ModelError(f"'{model.name}' has no description to rebuild it from and cannot be saved")
    half = dtype == "float16"
    tensors = {name: _cast(tensor, half) for name, tensor in encoder.state_dict().items()}
    described = {
        "schema_version": SCHEMA_VERSION,
        "name": model.name,
        "origin": model.origin,
        "licence": model.licence,
        "embed_dim": encoder.embed_dim,
        "dtype": dtype,
        **model.config,
    }
    with atomic_folder(folder) as temporary:
        write_json(temporary / CONFIG_FILE, described)
        model.preprocessor.save(temporary)
        save_weights(tensors, temporary / WEIGHTS_FILE, {"format": "pt"})


def load_checkpoint(folder: Path | str) -> Model:
    """A student from its checkpoint folder, in evaluation mode, in fp32.

    Raises `ModelError` for a file that is missing, damaged or does not fit, in one sentence.
    """
    path = Path(folder)
    described = read_description(path)
    if described["family"] != "student":
        raise ModelError(f"{path} holds a teacher of family '{described['family']}', not a student")
    preprocessor = read_preprocessor(path)
    return finish(described, rebuild_student(described, preprocessor, path), preprocessor, path)


def rebuild_student(described: dict[str, Any], preprocessor: Preprocessor, folder: Path) -> DualEncoder:
    """The encoder of a student's checkpoint, before its weights are loaded. Raises `ModelError`."""
    section = _section(described, folder)
    return build_encoder(section, preprocessor.text, preprocessor.tokenizer.vocab_size, weights=False)


def read_description(folder: Path) -> dict[str, Any]:
    """The content of a checkpoint's `config.json`; the folder is whole and not too new."""
    missing = [name for name in CHECKPOINT_FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} is not a checkpoint: {', '.join(missing)} missing")
    try:
        described = read_json(folder / CONFIG_FILE)
    except DataError as error:
        raise ModelError(str(error)) from error
    if not isinstance(described, dict) or not isinstance(described.get("family"), str):
        raise ModelError(f"{folder / CONFIG_FILE} does not describe a model of this project")
    version = described.get("schema_version")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ModelError(
            f"{folder / CONFIG_FILE}: schema version {version} is newer than {SCHEMA_VERSION}; upgrade"
        )
    return described


def read_preprocessor(folder: Path) -> Preprocessor:
    """The preprocessing beside the weights. Raises `ModelError`."""
    try:
        return Preprocessor.load(folder)
    except MissingResourceError as error:
        raise ModelError(str(error)) from error


def finish(described: dict[str, Any], encoder: nn.Module, preprocessor: Preprocessor, folder: Path) -> Model:
    """Load the checkpoint's weights into an encoder that was built for them, and put the model together."""
    path = folder / WEIGHTS_FILE
    load_weights(encoder, read_weights(path), path, f"the model that {folder / CONFIG_FILE} describes")
    encoder.eval()
    own = {"schema_version", "name", "origin", "licence", "embed_dim", "dtype"}
    return Model(
        name=str(described.get("name", "")),
        encoder=encoder,  # type: ignore[arg-type]
        preprocessor=preprocessor,
        fingerprint=model_fingerprint(encoder, preprocessor.fingerprint),
        origin=str(described.get("origin", "")),
        licence=str(described.get("licence", "")),
        config={key: value for key, value in described.items() if key not in own},
    )


def _section(described: dict[str, Any], folder: Path) -> StudentSection:
    try:
        return StudentSection.model_validate(described.get("student"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{folder / CONFIG_FILE}: student.{where}: {first['msg']}") from error


def _cast(tensor: Tensor, half: bool) -> Tensor:
    return tensor.to(torch.float16) if half and tensor.is_floating_point() else tensor
