"""What the sections allow, in words: for error messages and for the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from compressor.recipe.base import Section
from compressor.recipe.recipe import Recipe

_BOUNDS = {Ge: "at least", Gt: "more than", Le: "at most", Lt: "less than"}
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    NoneType: "null",
    Any: "any plain value",
}


def alternatives(annotation: Any) -> list[Any]:
    """The members of a (nested, annotated) union, in order; one member where it is none."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [member for part in get_args(annotation) for member in alternatives(part)]
    return [annotation]


def sections_of(annotation: Any) -> list[type[Section]]:
    """The sections among the alternatives of an annotation."""
    return [part for part in alternatives(annotation) if isinstance(part, type) and issubclass(part, Section)]


def kind_of(section: type[Section]) -> str | None:
    """The `kind` that chooses this section, or None for a section without one."""
    field = section.model_fields.get("kind")
    return None if field is None else str(get_args(field.annotation)[0])


def kinds(annotation: Any) -> dict[str, type[Section]]:
    """Sections by kind for a tagged union; empty for everything else."""
    return {kind: part for part in sections_of(annotation) if (kind := kind_of(part)) is not None}


def chosen_section(annotation: Any, data: Any) -> type[Section] | None:
    """The section that `data` means: by its `kind`, or the only one there is."""
    tagged = kinds(annotation)
    if tagged:
        kind = data.get("kind") if isinstance(data, Mapping) else None
        return tagged.get(kind) if isinstance(kind, str) else None
    found = sections_of(annotation)
    return found[0] if found else None


def locate(data: Any, path: tuple[str | int, ...]) -> tuple[Any, FieldInfo | None]:
    """The annotation at a key path of recipe data, and its field where it is one; `Any` where unknown."""
    annotation: Any = Recipe
    field: FieldInfo | None = None
    for key in path:
        section = chosen_section(annotation, data)
        field = section.model_fields.get(str(key)) if section is not None else None
        annotation = field.annotation if field is not None else _element(annotation, key)
        data = _below(data, key)
    return annotation, field


def _element(annotation: Any, key: str | int) -> Any:
    """The annotation of an item of a list or mapping."""
    for part in alternatives(annotation):
        arguments = get_args(part)
        if get_origin(part) is dict:
            return arguments[1]
        if get_origin(part) is tuple and isinstance(key, int):
            return arguments[0] if arguments[-1] is Ellipsis else arguments[min(key, len(arguments) - 1)]
    return Any


def _below(data: Any, key: str | int) -> Any:
    if isinstance(data, Mapping):
        return data.get(key)
    if isinstance(data, list) and isinstance(key, int) and key < len(data):
        return data[key]
    return None


def describe(annotation: Any, field: FieldInfo | None = None) -> str:
    """What a value may be, in words: 'a whole number, at least 1, or null'."""
    members = [part for part in alternatives(annotation) if part is not NoneType]
    words = list(_member_words(members))
    for bound in _metadata(annotation, field):
        for kind, meaning in _BOUNDS.items():
            if isinstance(bound, kind):
                words[-1] += f", {meaning} {_number(getattr(bound, kind.__name__.lower()))}"
        if isinstance(bound, MinLen):
            words[-1] += f", at least {bound.min_length} of them"
    if any(part is NoneType for part in alternatives(annotation)):
        words.append("null")
    return (", or " if any("," in word for word in words) else " or ").join(words)


def _metadata(annotation: Any, field: FieldInfo | None) -> Iterator[Any]:
    """Bounds of a field, or of an annotated type that stands in a list or mapping."""
    if field is not None:
        yield from field.metadata
    elif get_origin(annotation) is Annotated:
        for part in get_args(annotation)[1:]:
            yield from part.metadata if isinstance(part, FieldInfo) else (part,)


def _member_words(members: list[Any]) -> Iterator[str]:
    tagged = {kind for part in members for kind in kinds(part)}
    if tagged:
        ordered = [kind for part in members for kind in kinds(part)]
        yield f"a mapping with kind: {', '.join(ordered)}"
    for part in members:
        if not kinds(part):
            yield _words_for(part)


def _words_for(part: Any) -> str:
    origin, arguments = get_origin(part), get_args(part)
    if origin is Literal:
        return ", ".join(str(value) for value in arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a list, each {describe(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}, each {describe(arguments[0])}"
    if origin is dict:
        keys = describe(arguments[0])
        names = "" if arguments[0] is str else f" with the keys {keys}"
        return f"a mapping{names}, each {describe(arguments[1])}"
    if isinstance(part, type) and issubclass(part, Section):
        return f"a mapping with the keys {', '.join(part.model_fields)}"
    return _WORDS.get(part, str(part))


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 or value != int(value) else str(int(value))
