"""The recipe's JSON Schema for editors and its reference in words, both made from the sections themselves."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from inspect import getdoc
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from compressor.recipe.base import Section
from compressor.recipe.describe import alternatives, describe, kind_of, kinds, sections_of
from compressor.recipe.recipe import Recipe

SCHEMA_ID = "recipe.schema.json"
_PART = "Part"
_INTRODUCTION = """\
# Recipe reference

<!-- Made from the sections in compressor/recipe by compressor.recipe.schema; a test keeps it up to date. -->

A recipe is one YAML file (YAML 1.2: `no` is a word, `1e-3` a number). Unknown keys are refused.

- `extends: other.yaml` takes another recipe and changes it: mappings merge; lists, and sections of another
  kind, are replaced whole.
- `${env:NAME}` and `${env:NAME:-default}` stand for environment variables.
- A relative path starts from the folder of the file it stands in. `builtin:NAME` ships with the package.
- On the command line `distill.epochs=2` changes a value and `distill.losses.0.weight=2` one in a list; there
  a relative path starts from the working directory.
- Editors check a recipe whose first line is `# yaml-language-server: $schema=../docs/recipe.schema.json`.
"""
_VARIABLE = {"type": "string", "pattern": r"\$\{env:[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}


def recipe_json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a recipe file.

    A file that stands alone must be whole; one with `extends` may leave out any key, so it is held against a
    copy of the schema in which nothing is required. Numbers may also be written as `${env:NAME}`.
    """
    whole = Recipe.model_json_schema()
    definitions = whole.pop("$defs")
    definitions["Recipe"] = whole
    for name in list(definitions):
        definitions[name + _PART] = _part_of(deepcopy(definitions[name]))
    for name in ("Recipe", "Recipe" + _PART):
        definitions[name]["properties"]["extends"] = {
            "type": "string",
            "description": "Another recipe that this one changes; its path starts from this file's folder.",
        }
    for definition in definitions.values():
        for key, value in definition.get("properties", {}).items():
            definition["properties"][key] = _or_variable(_terse(value))
    definitions["Variable"] = _VARIABLE
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Recipe",
        "description": whole.get("description", ""),
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": f"#/$defs/Recipe{_PART}"},
        "else": {"$ref": "#/$defs/Recipe"},
        "$defs": dict(sorted(definitions.items())),
    }


def _part_of(schema: Any) -> Any:
    """The same schema with nothing required and references to such schemas."""
    if isinstance(schema, list):
        return [_part_of(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    part = {key: _part_of(value) for key, value in schema.items() if key not in ("required", "discriminator")}
    if "oneOf" in part:  # without its kind, a section can be a part of several kinds
        part["anyOf"] = part.pop("oneOf")
    if isinstance(part.get("$ref"), str):
        part["$ref"] += _PART
    return part


def _terse(schema: dict[str, Any]) -> dict[str, Any]:
    """A property without its title, which repeats the key, and without the default of a whole section."""
    nested = isinstance(schema.get("default"), dict)
    return {
        key: value for key, value in schema.items() if key != "title" and not (nested and key == "default")
    }


def _or_variable(schema: dict[str, Any]) -> dict[str, Any]:
    """Allow a variable where a number or truth value stands; text can hold one anyway."""
    options = schema.get("anyOf", [schema])
    if not any(option.get("type") in ("number", "integer", "boolean") for option in options):
        return schema
    notes = {key: schema[key] for key in ("description", "default") if key in schema}
    inner = [{key: value for key, value in option.items() if key not in notes} for option in options]
    return notes | {"anyOf": [*inner, {"$ref": "#/$defs/Variable"}]}


def reference_markdown() -> str:
    """The recipe reference: every section, every key, what it may be, its default and its meaning."""
    lines = [*_INTRODUCTION.split("\n"), *_table("## The whole recipe", Recipe)]
    for name, field in Recipe.model_fields.items():
        if sections_of(field.annotation):
            lines += _chapter(name, field.annotation)
    return "\n".join(lines).rstrip("\n") + "\n"


def _chapter(name: str, annotation: Any) -> Iterator[str]:
    """A section and all that it contains, outer before inner."""
    yield f"## {name}"
    yield ""
    yield from _parts(name, annotation, set())


def _parts(path: str, annotation: Any, told: set[type[Section]]) -> Iterator[str]:
    """`told` are the sections with a table above; what holds no other (members of an ensemble) is skipped."""
    if told.issuperset(sections_of(annotation)):
        return
    told.update(sections_of(annotation))
    tagged = kinds(annotation)
    for section in sections_of(annotation):
        kind = kind_of(section)
        yield from _table(f"### `{path}`" + (f", kind `{kind}`" if kind and tagged else ""), section)
    seen: set[str] = set()
    for section in sections_of(annotation):
        for name, field in section.model_fields.items():
            if name not in seen and (inner := _inner(field.annotation)) is not None:
                seen.add(name)
                yield from _parts(f"{path}.{name}", inner, told)


def _inner(annotation: Any) -> Any:
    """The sections inside an annotation or the list it describes, or None."""
    if sections_of(annotation):
        return annotation
    for part in alternatives(annotation):
        for argument in getattr(part, "__args__", ()):
            if sections_of(argument):
                return argument
    return None


def _table(heading: str, section: type[Section]) -> list[str]:
    lines = [
        heading,
        "",
        *_prose(section),
        "",
        "| key | value | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in sorted(section.model_fields.items(), key=lambda item: item[0] != "kind"):
        cells = (f"`{name}`", _value(field), _default(field), field.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return [*lines, ""]


def _prose(section: type[Section]) -> list[str]:
    return (getdoc(section) or "").split("\n")


def _value(field: FieldInfo) -> str:
    if _inner(field.annotation) is None:
        return describe(field.annotation, field)
    null = " or null" if type(None) in alternatives(field.annotation) else ""
    inner = _inner(field.annotation)
    of_list = "a list of sections" if inner is not field.annotation else "a section"
    names = ", ".join(kinds(inner))
    return of_list + (f" of kind {names}" if names else "") + null


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Section):
        return "its defaults" if kind_of(type(value)) is None else f"`{kind_of(type(value))}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(item) for item in value)}]`"
    if isinstance(value, dict):
        return f"`{{{', '.join(f'{key}: {item}' for key, item in value.items())}}}`"
    words = {None: "null", True: "true", False: "false"} if value is None or isinstance(value, bool) else {}
    return f"`{words.get(value, value)}`"


def write_documents(folder: Path) -> None:
    """Write `recipe.schema.json` and `recipe_reference.md` into a folder of documents."""
    from compressor.files import atomic_write_text, write_json

    write_json(folder / SCHEMA_ID, recipe_json_schema())
    atomic_write_text(folder / "recipe_reference.md", reference_markdown())
