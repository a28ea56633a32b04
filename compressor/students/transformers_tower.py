"""Image and text towers from transformers: a configuration, or a folder with weights. Never remote code."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from compressor.errors import MissingResourceError, ModelError
from compressor.preprocess.spec import TextSpec
from compressor.recipe.models import PretrainedTextTower, TransformersImageTower
from compressor.students.hub import fetch_repository
from compressor.students.text_transformer import Pool, pool_tokens, token_mask
from compressor.students.weights import load_weights, read_weights

VOLATILE_KEYS = ("transformers_version", "architectures", "_name_or_path", "dtype", "torch_dtype", "auto_map")
_FILES = ("config.json", "model.safetensors|model.safetensors.index.json")


class TransformersImage(nn.Module):
    """A transformers vision model: (B, 3, size, size) -> (B, width), its pooled output."""

    def __init__(self, model: PreTrainedModel, size: int) -> None:
        super().__init__()
        self.model = model
        self.config = plain_config(model.config)
        pixels = torch.zeros(1, 3, size, size, device=model.device)
        self.width = _width(self, pixels, f"pictures of {size} pixels")

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Normalised pixels -> pooled features; the class token where a model has no pooler."""
        output = self.model(pixel_values=pixel_values)
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        return output.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)


class TransformersText(nn.Module):
    """A transformers text encoder: (B, L) ids -> (B, width)."""

    def __init__(self, model: PreTrainedModel, text: TextSpec, pool: Pool) -> None:
        super().__init__()
        self.model, self.pool, self.pad_id = model, pool, text.pad_id
        self.config = plain_config(model.config)
        # An encoder's own mask is "not padding"; the end-of-text token decides only where both are one.
        self.eos_id = text.eos_id if text.eos_id == text.pad_id else None
        ids = torch.zeros(1, text.context_length, dtype=torch.long, device=model.device)
        self.width = _width(self, ids, f"{text.context_length} tokens")

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids -> pooled features."""
        counts = token_mask(input_ids, self.pad_id, self.eos_id)
        # transformers reads values out of a mask, which a model that is only planned (meta) does not have.
        mask = None if input_ids.is_meta else counts.to(torch.long)
        output = self.model(input_ids=input_ids, attention_mask=mask)
        return pool_tokens(output.last_hidden_state, counts, self.pool)


def build_image_tower(section: TransformersImageTower, *, weights: bool = True) -> TransformersImage:
    """The vision tower of a recipe. Raises as `build_timm_tower` does."""
    config = image_config(section)
    if weights and section.path is not None:
        model = _part(load_folder(section.path), "vision_model")
    else:
        model = _from_config(config)
    if weights and section.weights is not None:
        load_weights(model, read_weights(section.weights), section.weights, config.model_type)
    return TransformersImage(model, section.input.size)


def build_text_tower(
    section: PretrainedTextTower, text: TextSpec, vocab_size: int, *, weights: bool = True
) -> TransformersText:
    """The pretrained text tower of a recipe. Raises as `build_image_tower`, and for a small vocabulary."""
    if weights and not section.config:
        model = _part(load_folder(_folder(section)), "text_model")
    else:
        model = _from_config(text_config(section))
    if getattr(model, "pooler", None) is not None:
        # We pool the tokens ourselves; a head without gradients would stall distributed training.
        setattr(model, "pooler", None)  # noqa: B010
    embeddings = model.get_input_embeddings()
    rows = embeddings.num_embeddings if isinstance(embeddings, nn.Embedding) else vocab_size
    if vocab_size > rows:
        raise ModelError(
            f"the tokenizer has {vocab_size} ids, the text tower {rows}: take the tower's own tokenizer"
        )
    return TransformersText(model, text, section.pool)


def image_config(section: TransformersImageTower) -> PreTrainedConfig:
    """Configuration of a vision tower, its picture size set to the recipe's."""
    if (section.path is None) == (not section.config):
        raise ModelError("student.image needs exactly one of path (a folder) and config (with model_type)")
    if section.path is not None:
        config = read_config(section.path)
        config = getattr(config, "vision_config", config)
    else:
        config = make_config({"image_size": section.input.size, **section.config}, optional=("image_size",))
    size = getattr(config, "image_size", section.input.size)
    if size not in (section.input.size, [section.input.size] * 2):
        wanted = section.input.size
        raise ModelError(
            f"the vision configuration is for {size} pixels, student.image.input.size is {wanted}"
        )
    return config


def text_config(section: PretrainedTextTower) -> PreTrainedConfig:
    """Configuration of a text tower from the recipe, its folder or the hub."""
    config = make_config(section.config) if section.config else read_config(_folder(section))
    return getattr(config, "text_config", config)


def make_config(keys: dict[str, Any], optional: tuple[str, ...] = ()) -> PreTrainedConfig:
    """A transformers configuration from its keys. An unknown key is an error, unlike there."""
    kind = str(keys.get("model_type"))
    if kind not in CONFIG_MAPPING:
        close = difflib.get_close_matches(kind, list(CONFIG_MAPPING.keys()), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ModelError(f"transformers knows no model_type '{kind}'{hint}")
    default = AutoConfig.for_model(kind)
    skipped = {"model_type", *(key for key in optional if not hasattr(default, key))}
    given = {key: value for key, value in keys.items() if key not in skipped}
    unknown = [key for key in given if not hasattr(default, key)]
    if unknown:
        close = difflib.get_close_matches(unknown[0], list(default.to_dict()), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ModelError(f"a {kind} configuration has no key '{unknown[0]}'{hint}")
    try:
        return AutoConfig.for_model(kind, **given)
    except (TypeError, ValueError) as error:
        raise ModelError(f"transformers refuses this {kind} configuration: {error}") from error


def plain_config(config: PreTrainedConfig) -> dict[str, Any]:
    """The keys that rebuild a configuration, ready for JSON: its type and what differs from the defaults."""
    keys = {k: v for k, v in config.to_diff_dict().items() if k not in VOLATILE_KEYS}
    return {"model_type": config.model_type, **keys}


def _folder(section: PretrainedTextTower) -> Path:
    return section.path if section.path is not None else fetch_repository(str(section.name), _FILES)


def read_config(folder: Path) -> PreTrainedConfig:
    """The configuration in a transformers folder.

    Raises `MissingResourceError` where there is none and `ModelError` where transformers cannot read it.
    """
    if not (folder / "config.json").is_file():
        raise MissingResourceError(f"no config.json in {folder}: give the folder of a transformers model")
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # its validation raises classes of its own, over several lines
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{folder / 'config.json'} is no configuration for transformers: {reason}"
        ) from error


def load_folder(
    folder: Path, wanted: Any = AutoModel, config: PreTrainedConfig | None = None
) -> PreTrainedModel:
    """The model of a transformers folder, in fp32. Raises `ModelError` where a tensor does not fit.

    `wanted` is a class of models, where it is not the one that AutoModel takes; `config` stands in for the
    folder's own.
    """
    config = read_config(folder) if config is None else config
    try:
        model, info = wanted.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    except Exception as error:  # each library raises its own family; all mean unusable weights
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"the weights in {folder} cannot be loaded: {reason}") from error
    unfit = [str(found[0] if isinstance(found, tuple) else found) for found in info["mismatched_keys"]]
    if unfit:
        raise ModelError(
            f"the weights in {folder} are of other sizes than its config.json says: {', '.join(unfit[:3])}"
        )
    # A pooler that the checkpoint lacks is never used here; anything else would silently stay random.
    lost = [name for name in sorted(info["missing_keys"]) if not name.startswith("pooler.")]
    if lost:
        raise ModelError(f"the weights in {folder} are incomplete: {', '.join(lost[:3])} missing")
    assert isinstance(model, PreTrainedModel)
    return model


def _from_config(config: PreTrainedConfig) -> PreTrainedModel:
    try:
        model: PreTrainedModel = AutoModel.from_config(config, trust_remote_code=False)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"transformers cannot build a {config.model_type} model: {error}") from error
    return model


def _part(model: PreTrainedModel, name: str) -> PreTrainedModel:
    """One tower of a two-tower model, or the model itself."""
    part: PreTrainedModel = getattr(model, name, model)
    return part


def _width(tower: nn.Module, example: Tensor, what: str) -> int:
    """Width of a tower's features, found by running an empty example."""
    training = tower.training
    try:
        with torch.no_grad():
            features = tower.eval()(example)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ModelError(f"the tower does not take {what}: {error}") from error
    tower.train(training)
    return int(features.shape[-1])
