"""A model of an open_clip or transformers CLIP family, written as the folder its own library reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from compressor.errors import ModelError
from compressor.files import atomic_folder, write_json
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spec import ImageSpec
from compressor.students.encoder import Model
from compressor.students.weights import save_weights
from compressor.teachers.comparison import SAMPLE_TEXTS
from compressor.teachers.wrapped import WrappedEncoder

_OPEN_CLIP_RESIZE = {"shortest": "shortest", "squash": "squash", "pad": "longest"}


def save_original(model: Model, folder: Path | str) -> None:
    """Write weights, configuration and preprocessing as open_clip or transformers would, whole or not at all.

    open_clip: hub layout, for `create_model_and_transforms("local-dir:FOLDER")`. transformers: for
    `CLIPModel.from_pretrained(FOLDER)` and `CLIPProcessor.from_pretrained(FOLDER)`. Either folder is also a
    teacher's `path`. Raises `ModelError` for other families, and where the library would not preprocess as
    this model does.
    """
    family = model.config.get("family")
    if not isinstance(model.encoder, WrappedEncoder):
        raise ModelError(
            f"'{model.name}' is of family '{family}', which is not a model of open_clip or transformers"
        )
    write = _write_open_clip if family == "open_clip" else _write_transformers
    with atomic_folder(folder) as temporary:
        write(model, model.encoder, temporary)


def _write_open_clip(model: Model, encoder: WrappedEncoder, folder: Path) -> None:
    import open_clip

    model_cfg, image = model.config["model_cfg"], model.preprocessor.image
    preprocess_cfg = {
        "size": image.size,
        "mean": list(image.mean),
        "std": list(image.std),
        "interpolation": image.interpolation,
        "resize_mode": _OPEN_CLIP_RESIZE[image.resize],
    }
    write_json(folder / "open_clip_config.json", {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg})
    save_weights(encoder.model.state_dict(), folder / "open_clip_model.safetensors", {"format": "pt"})
    if model_cfg["text_cfg"].get("hf_tokenizer_name"):
        _write_tokenizer(model.preprocessor, folder)
    tokenize: Any = open_clip.get_tokenizer(f"local-dir:{folder}")
    _check_tokenizer(model, tokenize(list(SAMPLE_TEXTS)).numpy())


def _write_transformers(model: Model, encoder: WrappedEncoder, folder: Path) -> None:
    from transformers import AutoTokenizer, CLIPImageProcessor

    if model.config["transformers"].get("model_type") != "clip":
        raise ModelError(f"'{model.name}' is not a CLIP; only CLIP is written in transformers' format")
    length = model.preprocessor.text.context_length
    encoder.model.save_pretrained(folder)
    CLIPImageProcessor(**_image_processor(model.preprocessor.image, model.name)).save_pretrained(folder)
    _write_tokenizer(model.preprocessor, folder)
    own: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    rows = own(list(SAMPLE_TEXTS), padding="max_length", max_length=length, truncation=True)
    _check_tokenizer(model, np.asarray(rows["input_ids"]))


def _image_processor(image: ImageSpec, name: str) -> dict[str, Any]:
    """The keys of transformers' CLIPImageProcessor."""
    if image.resize == "pad":
        raise ModelError(f"'{name}' pads its pictures, which transformers' CLIP processor cannot")
    square = {"height": image.size, "width": image.size}
    crops = image.resize == "shortest"
    return {
        "size": {"shortest_edge": image.size} if crops else square,
        "do_center_crop": crops,
        "crop_size": square,
        "resample": Image.Resampling[image.interpolation.upper()].value,
        "image_mean": list(image.mean),
        "image_std": list(image.std),
    }


def _write_tokenizer(preprocessor: Preprocessor, folder: Path) -> None:
    """The tokeniser as transformers keeps it: without our fixed length, with its special tokens named."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    text = preprocessor.text
    content = json.loads(preprocessor.tokenizer.to_json()) | {"padding": None, "truncation": None}
    pipeline = tokenizers.Tokenizer.from_str(json.dumps(content))
    names = {"pad_token": pipeline.id_to_token(text.pad_id)}
    if text.eos_id is not None:
        names["eos_token"] = pipeline.id_to_token(text.eos_id)
    PreTrainedTokenizerFast(
        tokenizer_object=pipeline, model_max_length=text.context_length, **names
    ).save_pretrained(folder)


def _check_tokenizer(model: Model, theirs: np.ndarray[Any, Any]) -> None:
    """What cleans texts besides the tokeniser's own file would be lost without a word."""
    if not np.array_equal(theirs, model.preprocessor.texts(SAMPLE_TEXTS)):
        raise ModelError(
            f"'{model.name}' cannot be written in its original's format: the tokenizer there would give "
            "other ids"
        )
