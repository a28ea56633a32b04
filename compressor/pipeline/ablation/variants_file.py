"""A file of variants: names, and the settings that each lays on top of the recipe."""

from __future__ import annotations

from pathlib import Path

from compressor.errors import RecipeError
from compressor.pipeline.ablation.comparison import Variant
from compressor.recipe.source import Value, parse_yaml

_LONGEST_NAME = 60


def read_variants(path: Path) -> dict[str, tuple[str, ...]]:
    """A YAML mapping: the name of a variant -> a list of settings such as `distill.balancer.kind=dwa`.

    Raises `RecipeError` with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text; save the file as UTF-8") from error
    whole = parse_yaml(text, str(path), path.parent)
    if whole is None or not isinstance(whole.content, dict) or not whole.content:
        raise RecipeError(f"{path}: holds no variants; write a mapping of names to lists of settings")
    return {_name(name, value): _settings(name, value) for name, value in whole.content.items()}


def _name(name: str, value: Value) -> str:
    if len(name) > _LONGEST_NAME or not name.isprintable() or not Variant(name).folder:
        raise RecipeError(
            f"{value.origin}: '{name[:_LONGEST_NAME]}' names no variant; allowed: {_LONGEST_NAME} printable "
            "characters, letters or digits among them"
        )
    return name


def _settings(name: str, value: Value) -> tuple[str, ...]:
    items = value.content if isinstance(value.content, list) else [value]
    settings = []
    for item in items:
        if not isinstance(item.content, str) or "=" not in item.content:
            raise RecipeError(
                f"{item.origin}: {name}: is no setting; write each like 'distill.balancer.kind=dwa', in "
                "quotes where it holds a colon"
            )
        settings.append(item.content)
    return tuple(settings)
