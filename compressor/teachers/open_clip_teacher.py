"""Teachers from open_clip: by name with a pretrained tag, a weights file, or a folder in hub layout."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from torch import Tensor, nn

from compressor.errors import MissingResourceError, ModelError
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spec import ImageSpec, TextSpec
from compressor.preprocess.text import Tokenizer
from compressor.preprocess.tokenizers import clip_tokenizer, from_tokenizers_json, train_bpe
from compressor.recipe.teacher import OpenClipTeacher
from compressor.students.dual_encoder import unit_rows
from compressor.students.encoder import Model
from compressor.students.hub import fetch_repository
from compressor.students.weights import model_fingerprint
from compressor.teachers.activation import check_activation
from compressor.teachers.comparison import SAMPLE_TEXTS, check_pixels, convert_text
from compressor.teachers.open_clip_source import Source, find_source
from compressor.teachers.wrapped import WrappedEncoder

_LOGGER = logging.getLogger(__name__)
_CLIP_VOCABULARY = 49_408
_RESIZE = {"shortest": "shortest", "squash": "squash", "longest": "pad"}


class OpenClipEncoder(WrappedEncoder):
    """An open_clip model that satisfies `Encoder`."""

    image_prefixes: ClassVar[tuple[str, ...]] = ("model.visual.",)

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) float32 -> (B, embed_dim), unit rows."""
        return unit_rows(self.model.encode_image(pixel_values))

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, embed_dim), unit rows."""
        return unit_rows(self.model.encode_text(input_ids))


def load_open_clip(section: OpenClipTeacher, *, rehearse: bool = False) -> Model:
    """An open_clip teacher with its own preprocessing, checked against open_clip's.

    Raises: ModelError: unknown name or tag, wrong activation, weights that do not fit, preprocessing that
    cannot be reproduced. MissingResourceError: weights or tokeniser are not here (with `rehearse` random
    weights stand in, loudly).
    """
    source = find_source(section, fetch=not rehearse)
    if source.weights is not None or source.weights_quick_gelu is not None:
        check_activation(source.name, source.quick_gelu, source.weights_quick_gelu, source.evidence)
    if source.weights is None and not rehearse:
        raise MissingResourceError(source.missing)
    model = build_architecture(source.model_cfg)
    if source.weights is not None:
        _load(model, source.weights, source.name)
    else:
        _LOGGER.warning("REHEARSAL: %s runs with RANDOM WEIGHTS; its quality means nothing", source.label)
    image = image_spec(source.preprocess_cfg, model, source.label)
    tokenizer, text = _tokenizer(source, rehearse=rehearse)
    preprocessor = Preprocessor(image, text, tokenizer)
    encoder = OpenClipEncoder(model, int(source.model_cfg["embed_dim"]))
    return Model(
        name=source.name,
        encoder=encoder,
        preprocessor=preprocessor,
        fingerprint=model_fingerprint(encoder, preprocessor.fingerprint),
        origin=source.label if source.weights is not None else f"open_clip {source.name}, random weights",
        config={"family": "open_clip", "model_cfg": source.model_cfg},
    )


def build_architecture(model_cfg: dict[str, Any]) -> nn.Module:
    """The open_clip module of a configuration, with random weights. Raises `ModelError`.

    Done here and not by `open_clip.create_model`, which would look weights up again and configure the root
    logger.
    """
    keys = copy.deepcopy(model_cfg)
    custom = keys.pop("custom_text", False)
    if "timm_model_name" in keys["vision_cfg"]:
        keys["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in keys["text_cfg"]:
        keys["text_cfg"]["hf_model_pretrained"] = False
        keys["text_cfg"]["hf_model_name"] = str(
            fetch_repository(keys["text_cfg"]["hf_model_name"], ("config.json",))
        )
        custom = True
    if "multimodal_cfg" in keys:
        build = open_clip.CoCa
    else:
        build = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    try:
        return build(**keys)
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError, OSError) as error:
        raise ModelError(f"open_clip cannot build this architecture: {error}") from error


def image_spec(preprocess_cfg: dict[str, Any], model: nn.Module, label: str) -> ImageSpec:
    """Our specification of an open_clip preprocessing, compared with open_clip's own transform."""
    cfg = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), preprocess_cfg))
    size = getattr(model.visual, "image_size", cfg.size)
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    if height != width:
        raise ModelError(
            f"{label}: pictures of {height} x {width} pixels are not supported, only square ones"
        )
    cfg.size = height
    spec = ImageSpec(
        size=height,
        resize=_RESIZE[cfg.resize_mode],
        interpolation="bilinear" if cfg.interpolation == "bilinear" else "bicubic",
        mean=_three(cfg.mean),
        std=_three(cfg.std),
    )
    transform = image_transform_v2(cfg, is_train=False)
    check_pixels(spec, lambda picture: transform(picture).numpy(), label)
    return spec


def _three(value: Any) -> tuple[float, float, float]:
    first, second, third = (
        float(channel) for channel in (value if isinstance(value, list | tuple) else [value] * 3)
    )
    return first, second, third


def _load(model: nn.Module, path: Path, name: str) -> None:
    try:
        open_clip.load_checkpoint(model, str(path), strict=True, weights_only=True)
    except Exception as error:  # unpickling, safetensors and shape errors come from as many libraries
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"the weights in {path} cannot be loaded into open_clip's {name}: {reason}"
        ) from error


@dataclass(frozen=True)
class _TokenizerPlan:
    """What an open_clip text configuration says of its tokeniser."""

    context_length: int
    vocab_size: int
    repository: str
    mode: str | None
    options: dict[str, Any]


def _tokenizer(source: Source, *, rehearse: bool) -> tuple[Tokenizer, TextSpec]:
    cfg = source.model_cfg["text_cfg"]
    plan = _TokenizerPlan(
        int(cfg.get("context_length", 77)),
        int(cfg.get("vocab_size", _CLIP_VOCABULARY)),
        str(cfg.get("hf_tokenizer_name") or ""),
        cfg.get("tokenizer_mode"),
        dict(cfg.get("tokenizer_kwargs") or {}),
    )
    if not plan.repository:
        return _simple_tokenizer(plan, source.label)
    try:
        folder = source.folder or fetch_repository(plan.repository, ("tokenizer.json",))
    except MissingResourceError:
        if not rehearse:
            raise
        _LOGGER.warning("REHEARSAL: the tokenizer '%s' is not here; another stands in", plan.repository)
        return stand_in_tokenizer(plan.vocab_size, plan.context_length)
    return _hub_tokenizer(plan, folder, source.label)


def _simple_tokenizer(plan: _TokenizerPlan, label: str) -> tuple[Tokenizer, TextSpec]:
    if plan.options.get("reduction_mask"):
        raise ModelError(f"{label}: a tokenizer that drops words ('reduction_mask') is not supported")
    own = SimpleTokenizer(context_length=plan.context_length, **plan.options)
    tokenizer, spec = clip_tokenizer(plan.context_length)
    spec = convert_text(tokenizer, spec, lambda texts: own(list(texts)).numpy(), label)
    return tokenizer, spec


def _hub_tokenizer(plan: _TokenizerPlan, folder: Path, label: str) -> tuple[Tokenizer, TextSpec]:
    try:
        own = HFTokenizer(
            str(folder),
            context_length=plan.context_length,
            tokenizer_mode=plan.mode,
            **plan.options,
            local_files_only=True,
        )
    except Exception as error:  # transformers raises many kinds for a folder without a usable tokeniser
        raise ModelError(f"{label}: the tokenizer in {folder} cannot be read: {error}") from error
    backend = getattr(own.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(f"{label}: the tokenizer in {folder} has no tokenizer.json")
    tokenizer, spec = from_tokenizers_json(
        backend.to_str(), plan.context_length, pad_token=own.tokenizer.pad_token, where=str(folder)
    )
    return tokenizer, convert_text(tokenizer, spec, lambda texts: own(list(texts)).numpy(), label)


def stand_in_tokenizer(vocab_size: int, context_length: int) -> tuple[Tokenizer, TextSpec]:
    """A tokeniser for rehearsals whose ids fit a vocabulary: CLIP's where it fits, else a small one."""
    if vocab_size >= _CLIP_VOCABULARY:
        return clip_tokenizer(context_length)
    return train_bpe(SAMPLE_TEXTS, min(vocab_size, 512), context_length, True)


def rebuild_open_clip(described: dict[str, Any]) -> OpenClipEncoder:
    """The encoder of a checkpoint of this family, before its weights are loaded."""
    model_cfg = described.get("model_cfg")
    if not isinstance(model_cfg, dict):
        raise ModelError("the checkpoint's config.json holds no open_clip configuration (model_cfg)")
    with torch.no_grad():
        return OpenClipEncoder(build_architecture(model_cfg), int(model_cfg["embed_dim"]))
