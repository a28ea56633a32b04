"""Which activation a weights file was trained with. OpenAI's CLIP wants QuickGELU, x * sigmoid(1.702 x).

Built with plain GELU such weights load without a complaint and give embeddings that are merely worse, so
whatever can be known is checked, in this order: the pretrained tag; `open_clip_config.json` beside the file;
a transformers CLIP `config.json` beside it; the key `quick_gelu` in the file's own metadata; the name of the
repository or download that the path still carries.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from compressor.errors import DataError, ModelError
from compressor.files import read_json

_LOGGER = logging.getLogger(__name__)
_SUFFIX = "-quickgelu"


def check_activation(name: str, built: bool, wanted: bool | None, evidence: str) -> None:
    """Refuse a model whose activation is not the one its weights were trained with.

    `built` is true for QuickGELU in the architecture, `wanted` what is known of the weights (None: nothing).
    Raises `ModelError`; where nothing is known and both variants exist, a warning is logged.
    """
    other = _twin(name)
    if wanted is None:
        if other is not None:
            _LOGGER.warning(
                "nothing says with which activation the weights were trained: %s is built with %s; those of "
                "OpenAI, MetaCLIP and DFN want QuickGELU. If these do not fit, use teacher.name: %s",
                name,
                _spelled(built),
                other,
            )
        return
    if wanted != built:
        use = (
            f"use teacher.name: {other}"
            if other is not None
            else "no open_clip name has both; use other weights"
        )
        raise ModelError(
            f"{name} is built with {_spelled(built)}, but {evidence} says that these weights were trained "
            f"with {_spelled(wanted)}: {use}"
        )


def weights_activation(path: Path) -> tuple[bool | None, str]:
    """True for QuickGELU, False for GELU, None for unknown; and what says so."""
    beside = path.parent / "open_clip_config.json"
    if beside.is_file():
        model = _json_object(beside).get("model_cfg")
        if isinstance(model, dict):
            return bool(model.get("quick_gelu", False)), "open_clip_config.json beside the weights"
    config = path.parent / "config.json"
    if config.is_file():
        content = _json_object(config)
        if content.get("model_type") == "clip":
            text = content.get("text_config") or {}
            return text.get("hidden_act", "quick_gelu") == "quick_gelu", "config.json beside the weights"
    stated = _metadata(path).get("quick_gelu", "").lower()
    if stated in ("true", "false"):
        return stated == "true", "the metadata of the weights file"
    known = {bool(tag.get("quick_gelu", False)) for tag in tags_in_path(path)}
    return (known.pop(), "the name of its download") if len(known) == 1 else (None, "")


def tags_in_path(path: Path) -> list[dict[str, Any]]:
    """open_clip's entries for pretrained weights whose hub repository or download the path still names."""
    import open_clip

    parts = {part.removeprefix("models--").replace("--", "/").rsplit("/", 1)[-1] for part in path.parts[-5:]}
    found = []
    for name, tag in open_clip.list_pretrained():
        entry: dict[str, Any] = open_clip.get_pretrained_cfg(name, tag)
        repository = str(entry.get("hf_hub", "")).strip("/").rsplit("/", 1)[-1]
        download = str(entry.get("url", "")).rsplit("/", 1)[-1]
        if {repository, download} & (parts - {""}):
            found.append(entry)
    return found


def _twin(name: str) -> str | None:
    """The same architecture with the other activation, where open_clip has one."""
    import open_clip

    other = name.removesuffix(_SUFFIX) if name.endswith(_SUFFIX) else name + _SUFFIX
    return other if other in open_clip.list_models() else None


def _spelled(quick: bool) -> str:
    return "QuickGELU" if quick else "GELU"


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}  # a damaged file is reported by whoever reads its tensors


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except DataError as error:
        raise ModelError(str(error)) from error
    return content if isinstance(content, dict) else {}
