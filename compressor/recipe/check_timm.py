"""Options of timm models, a student's tower and a teacher alike: plain values that fetch nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compressor.recipe.overrides import KeyPath

RESERVED_TIMM_OPTIONS = frozenset(
    {
        "cache_dir",
        "checkpoint_path",
        "features_only",
        "num_classes",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
    }
)


def timm_option_findings(
    path: KeyPath, options: Mapping[str, Any], weights: str
) -> Iterator[tuple[KeyPath, str]]:
    """(key path, sentence) for each option that is refused; `weights` is the key that names weights."""
    for name, value in options.items():
        if name in RESERVED_TIMM_OPTIONS:
            yield (*path, name), f"is set by the project itself; weights come by {weights}:, so take it out"
        elif not all(_is_plain(part) for part in (value if isinstance(value, list) else [value])):
            yield (*path, name), "is not plain; allowed: text, a number, true, false, null or a list of these"


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
