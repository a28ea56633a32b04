"""Teachers from transformers: CLIP and SigLIP, from a local folder or by hub name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)

from compressor.errors import CompressorError, MissingResourceError, ModelError
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spec import ImageSpec, TextSpec
from compressor.preprocess.text import Tokenizer
from compressor.preprocess.tokenizers import from_transformers_folder
from compressor.recipe.teacher import TransformersTeacher
from compressor.students.dual_encoder import unit_rows
from compressor.students.encoder import Model
from compressor.students.hub import fetch_repository
from compressor.students.transformers_tower import VOLATILE_KEYS, load_folder, read_config
from compressor.students.weights import model_fingerprint
from compressor.teachers.comparison import check_pixels, convert_text
from compressor.teachers.wrapped import WrappedEncoder

_LOGGER = logging.getLogger(__name__)
FAMILIES = ("clip", "siglip")
REQUIRED_FILES = (
    "config.json",
    "model.safetensors|model.safetensors.index.json",
    "tokenizer.json",
    "preprocessor_config.json|processor_config.json",
)
_INTERPOLATION = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


class TransformersEncoder(WrappedEncoder):
    """A transformers CLIP or SigLIP that satisfies `Encoder`.

    No attention mask goes in: CLIP's text tower is causal and reads the end-of-text token, SigLIP was trained
    on padded rows without a mask.
    """

    image_prefixes: ClassVar[tuple[str, ...]] = ("model.vision_model.", "model.visual_projection.")

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) float32 -> (B, embed_dim), unit rows."""
        return unit_rows(_pooled(self.model.get_image_features(pixel_values=pixel_values)))

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, embed_dim), unit rows."""
        return unit_rows(_pooled(self.model.get_text_features(input_ids=input_ids)))


def load_transformers(section: TransformersTeacher, *, rehearse: bool = False) -> Model:
    """A transformers teacher with its own preprocessing, compared with its own processor and tokeniser.

    Raises:
        ModelError: not CLIP or SigLIP, weights that do not fit, preprocessing that cannot be reproduced.
        MissingResourceError: files are not here (with `rehearse` only the weights may be missing).
    """
    folder = section.path if section.path is not None else fetch_repository(str(section.name), REQUIRED_FILES)
    label = f"transformers {section.name or folder.name}"
    config = read_config(folder)
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"{label} is a '{config.model_type}', a teacher must be one of {', '.join(FAMILIES)}"
        )
    missing = missing_files(folder, rehearse=rehearse)
    if missing:
        raise MissingResourceError(missing)
    model, origin = _weights(folder, config, label)
    parts = FolderParts(folder, config, label)
    tokenizer, text = parts.text()
    preprocessor = Preprocessor(parts.image(), text, tokenizer)
    encoder = TransformersEncoder(model, embedding_width(model, text.context_length))
    return Model(
        name=section.name or folder.name,
        encoder=encoder,
        preprocessor=preprocessor,
        fingerprint=model_fingerprint(encoder, preprocessor.fingerprint),
        origin=origin,
        config={"family": "transformers", "transformers": _described(config)},
    )


def missing_files(
    folder: Path, *, rehearse: bool = False, required: Sequence[str] = REQUIRED_FILES
) -> str | None:
    """The sentence for files that a teacher's folder lacks, None when all are there."""
    needed = [name for name in required if not (rehearse and name.startswith("model."))]
    absent = [name for name in needed if not any((folder / part).is_file() for part in name.split("|"))]
    if not absent:
        return None
    listed = ", ".join(name.replace("|", " or ") for name in absent)
    return f"The model's folder {folder} lacks {listed}: save model and processor there with save_pretrained."


def rebuild_transformers(described: dict[str, Any]) -> TransformersEncoder:
    """The encoder of a checkpoint of this family, before its weights are loaded."""
    keys = described.get("transformers")
    if not isinstance(keys, dict) or keys.get("model_type") not in FAMILIES:
        raise ModelError("the checkpoint's config.json holds no CLIP or SigLIP configuration (transformers)")
    try:
        model = AutoModel.from_config(AutoConfig.for_model(**keys), trust_remote_code=False)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"the checkpoint's transformers configuration cannot be built: {error}") from error
    return TransformersEncoder(model, embedding_width(model, 2))


def embedding_width(model: PreTrainedModel, length: int) -> int:
    """Width of the shared space, found by running an empty text."""
    with torch.no_grad():
        features = _pooled(model.eval().get_text_features(input_ids=torch.zeros(1, length, dtype=torch.long)))
    return int(features.shape[-1])


def _pooled(output: Any) -> Tensor:
    """transformers 5 returns an object, earlier versions the tensor itself."""
    pooled: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return pooled


def _weights(folder: Path, config: PreTrainedConfig, label: str) -> tuple[PreTrainedModel, str]:
    if not any((folder / part).is_file() for part in REQUIRED_FILES[1].split("|")):
        _LOGGER.warning("REHEARSAL: %s runs with RANDOM WEIGHTS; its quality means nothing", label)
        return AutoModel.from_config(config, trust_remote_code=False), f"{label}, random weights"
    return load_folder(folder), label


def _described(config: PreTrainedConfig) -> dict[str, Any]:
    keys: dict[str, Any] = config.to_dict()
    for part in (keys, keys.get("text_config") or {}, keys.get("vision_config") or {}):
        for key in VOLATILE_KEYS:
            part.pop(key, None)
    return keys


@dataclass(frozen=True)
class FolderParts:
    """Preprocessing of one folder, converted and compared."""

    folder: Path
    config: PreTrainedConfig
    label: str

    def image(self) -> ImageSpec:
        try:
            own: Any = AutoImageProcessor.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ModelError(f"{self.label}: its image processor cannot be read: {error}") from error
        spec = _image_spec(own, self.label)
        size = self.config.vision_config.image_size
        if spec.size != size:
            raise ModelError(
                f"{self.label}: its processor makes {spec.size} pixels, its image tower takes {size}"
            )

        def transform(picture: Image.Image) -> np.ndarray[Any, Any]:
            return np.asarray(own(images=picture, return_tensors="np")["pixel_values"])[0]

        check_pixels(spec, transform, self.label)
        return spec

    def text(self) -> tuple[Tokenizer, TextSpec]:
        text_config = self.config.text_config
        length = int(text_config.max_position_embeddings)
        tokenizer, spec = from_transformers_folder(self.folder, length)
        own = own_tokenizer(self.folder, self.label)

        def encode(texts: Any) -> np.ndarray[Any, Any]:
            rows = own(list(texts), padding="max_length", max_length=length, truncation=True)
            return np.asarray(rows["input_ids"])

        spec = convert_text(tokenizer, spec, encode, self.label)
        if tokenizer.vocab_size > text_config.vocab_size:
            raise ModelError(
                f"{self.label}: {tokenizer.vocab_size} token ids, {text_config.vocab_size} in its text tower"
            )
        if self.config.model_type == "clip" and text_config.eos_token_id not in (2, spec.eos_id):
            # transformers then pools the first token of every text: constant embeddings, without a complaint.
            raise ModelError(
                f"{self.label}: its text tower looks for end-of-text id {text_config.eos_token_id}, "
                f"its tokenizer writes {spec.eos_id}"
            )
        return tokenizer, spec


def own_tokenizer(folder: Path, label: str) -> Any:
    """transformers' own tokeniser of a folder, to compare ours with. Raises `ModelError`."""
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        raise ModelError(
            f"{label}: its own tokenizer, which ours is compared with, needs more packages: "
            "pip install sentencepiece protobuf"
        ) from error
    except Exception as error:  # tokenizers raises bare Exception, transformers several kinds
        raise ModelError(f"{label}: its tokenizer cannot be read: {error}") from error


def _image_spec(own: Any, label: str) -> ImageSpec:
    """Our specification of a transformers image processor."""
    faults = [name for name in ("do_resize", "do_rescale", "do_normalize") if not getattr(own, name, True)]
    if faults:
        raise ModelError(f"{label}: an image processor without {', '.join(faults)} is not supported")
    if not np.isclose(own.rescale_factor, 1 / 255):
        raise ModelError(f"{label}: its processor rescales by {own.rescale_factor}, only 1/255 is supported")
    size = dict(own.size)
    crop = dict(own.crop_size) if getattr(own, "do_center_crop", False) and own.crop_size else None
    try:
        if "shortest_edge" in size:
            side, resize = int(size["shortest_edge"]), "shortest"
            if crop is None:
                raise ModelError(
                    f"{label}: its processor keeps the aspect without a crop, which no tower takes"
                )
        else:
            side, resize = int(size["height"]), "squash"
            if size["height"] != size["width"]:
                raise ModelError(f"{label}: pictures of {size} are not supported, only square ones")
        if crop is not None and {crop["height"], crop["width"]} != {side}:
            raise ModelError(
                f"{label}: its processor resizes to {side} and crops {crop}: only equal sizes are supported"
            )
        return ImageSpec(
            size=side,
            resize=resize,
            interpolation=_INTERPOLATION[int(own.resample)],
            crop_rounding="floor",
            mean=tuple(own.image_mean),
            std=tuple(own.image_std),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CompressorError):
            raise
        raise ModelError(f"{label}: its image processor cannot be converted: {error}") from error
