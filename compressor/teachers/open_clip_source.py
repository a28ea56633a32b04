"""Where an open_clip teacher's architecture, weights and preprocessing come from. Reads no weights."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip

from compressor.errors import DataError, MissingResourceError, ModelError
from compressor.files import read_json
from compressor.recipe.teacher import OpenClipTeacher
from compressor.students.hub import cache_folder, cached_file, hub_answers, hub_offline
from compressor.teachers.activation import tags_in_path, weights_activation

_CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
_PICKLED = ("open_clip_pytorch_model.bin", "pytorch_model.bin")


@dataclass(frozen=True)
class Source:
    """What is known of a teacher before it is built. Without `weights`, `missing` says what is missing."""

    name: str
    label: str
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    weights: Path | None
    weights_quick_gelu: bool | None
    evidence: str
    missing: str = ""
    folder: Path | None = None

    @property
    def quick_gelu(self) -> bool:
        """True when the architecture is built with QuickGELU."""
        return bool(self.model_cfg.get("quick_gelu", False))


def find_source(section: OpenClipTeacher, *, fetch: bool) -> Source:
    """Architecture, weights and preprocessing of a teacher; with `fetch` weights of a tag may be downloaded.

    Raises `ModelError` for an unknown name or tag and for a folder that holds another architecture.
    """
    if section.path is None:
        return _from_tag(section.name, str(section.pretrained), fetch=fetch)
    found = _from_folder if section.path.is_dir() else _from_file
    return found(section.name, section.path)


def tag_weights(name: str, tag: str) -> tuple[Path | None, str]:
    """The cached weights of a tag, or None; and the hub repository they come from. Raises `ModelError`."""
    entry = _tag(name, tag)
    repository, file = _repository(entry)
    for candidate in _candidates(file):
        found = cached_file(repository, candidate)
        if found is not None:
            return found, repository
    return None, repository


def missing_sentence(name: str, tag: str, repository: str) -> str:
    """What is missing, where it was looked for and how to get it."""
    state = "switched off by HF_HUB_OFFLINE" if hub_offline() else "not reachable from here"
    command = f"import open_clip; open_clip.create_model_and_transforms('{name}', pretrained='{tag}')"
    return (
        f"The weights of open_clip's {name} with tag '{tag}' are not on this machine: '{repository}' was "
        f'looked for in {cache_folder()} and the hub is {state}; run `python -c "{command}"` on a machine '
        "with internet and copy that cache here, or set teacher.path=FILE and teacher.pretrained=null."
    )


def _from_tag(name: str, tag: str, *, fetch: bool) -> Source:
    entry = _tag(name, tag)
    weights, repository = tag_weights(name, tag)
    missing = ""
    if weights is None and fetch and hub_answers():
        from open_clip.pretrained import download_pretrained

        try:
            weights = Path(download_pretrained(entry))
        except Exception as error:  # open_clip wraps every cause in its own way
            raise MissingResourceError(
                f"the weights of {name}, tag '{tag}', cannot be fetched: {error}"
            ) from error
    elif weights is None:
        missing = missing_sentence(name, tag, repository)
    quick = bool(entry.get("quick_gelu", False))
    label = f"open_clip {name}, tag {tag}"
    return Source(name, label, architecture(name), dict(entry), weights, quick, f"the tag '{tag}'", missing)


def _from_file(name: str, path: Path) -> Source:
    label = f"open_clip {name}, weights {path.name}"
    cfg = architecture(name)
    if not path.is_file():
        return Source(name, label, cfg, {}, None, None, "", missing_path(path))
    quick, evidence = weights_activation(path)
    return Source(name, label, cfg, _preprocessing_beside(name, path), path, quick, evidence)


def _from_folder(name: str, folder: Path) -> Source:
    label = f"open_clip {name}, folder {folder.name}"
    content = _config(folder / _CONFIG) if (folder / _CONFIG).is_file() else {}
    model_cfg = content.get("model_cfg") or architecture(name)
    if name in open_clip.list_models():
        _check_same(name, architecture(name), model_cfg, folder)
    weights = next((folder / file for file in (*_WEIGHTS, *_PICKLED) if (folder / file).is_file()), None)
    missing = "" if weights is not None else missing_path(folder / _WEIGHTS[0])
    quick, evidence = weights_activation(weights or folder / _WEIGHTS[0])
    built = architecture(name) if name in open_clip.list_models() else model_cfg
    cfg = {**model_cfg, "quick_gelu": bool(built.get("quick_gelu", False))}
    return Source(
        name, label, cfg, content.get("preprocess_cfg") or {}, weights, quick, evidence, missing, folder
    )


def missing_path(path: Path) -> str:
    """The sentence for weights that are not where the recipe says."""
    return f"The teacher's weights are not at {path}: put them there or set teacher.path to where they are."


def architecture(name: str) -> dict[str, Any]:
    """open_clip's configuration of a model name. Raises `ModelError` naming the closest ones."""
    if name not in open_clip.list_models():
        close = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ModelError(f"open_clip has no model named '{name}'{hint}")
    config: dict[str, Any] = open_clip.get_model_config(name)
    return config


def _tag(name: str, tag: str) -> dict[str, Any]:
    architecture(name)
    entry: dict[str, Any] = open_clip.get_pretrained_cfg(name, tag)
    if entry:
        return entry
    plain = name.removesuffix("-quickgelu")
    if plain != name and open_clip.get_pretrained_cfg(plain, tag):
        raise ModelError(
            f"the weights '{tag}' were trained with GELU, not QuickGELU: use teacher.name: {plain}"
        )
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none; give teacher.path"
    raise ModelError(f"open_clip's {name} has no weights tagged '{tag}'; it has: {tags}")


def _repository(entry: dict[str, Any]) -> tuple[str, str]:
    repository, _, file = str(entry.get("hf_hub", "")).rpartition("/")
    return repository, file


def _candidates(file: str) -> tuple[str, ...]:
    """Files that open_clip would take for a tag, safe formats first."""
    if not file:
        return (*_WEIGHTS[:1], *_PICKLED[:1])
    return (f"{Path(file).stem}.safetensors", file) if file.endswith((".bin", ".pth")) else (file,)


def _preprocessing_beside(name: str, path: Path) -> dict[str, Any]:
    """Preprocessing for a lone file: the configuration beside it, else what all tags of the name agree on."""
    beside = path.parent / _CONFIG
    if beside.is_file():
        return _config(beside).get("preprocess_cfg") or {}
    keys = ("mean", "std", "interpolation", "resize_mode")
    names = open_clip.list_pretrained_tags_by_model(name)
    entries = tags_in_path(path) or [open_clip.get_pretrained_cfg(name, tag) for tag in names]
    tags = [{key: entry[key] for key in keys if key in entry} for entry in entries]
    if not tags:
        return {}
    if any(tag != tags[0] for tag in tags):
        raise ModelError(
            f"weights of open_clip's {name} exist with different image preprocessings: put the {_CONFIG} of "
            f"yours beside {path.name}"
        )
    return tags[0]


def _config(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except DataError as error:
        raise ModelError(str(error)) from error
    model_cfg = content.get("model_cfg") if isinstance(content, dict) else None
    if not {"embed_dim", "vision_cfg", "text_cfg"} <= set(model_cfg or {}):
        raise ModelError(
            f"{path} is not an open_clip configuration: no model_cfg with embed_dim and both towers"
        )
    return content


def _check_same(name: str, named: dict[str, Any], found: dict[str, Any], folder: Path) -> None:
    pairs = [("embed_dim", named["embed_dim"], found["embed_dim"])]
    for tower in ("vision_cfg", "text_cfg"):
        pairs += [
            (f"{tower}.{key}", named[tower][key], found[tower][key])
            for key in (
                "width",
                "layers",
                "patch_size",
                "image_size",
                "timm_model_name",
                "heads",
                "vocab_size",
            )
            if key in named[tower] and key in found[tower]
        ]
    for key, expected, actual in pairs:
        if expected != actual:
            raise ModelError(
                f"{folder} holds another model than {name}: {key} is {actual}, {name} has {expected}"
            )
