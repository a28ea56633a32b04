"""What all recipe sections share: strictness, paths that know their file, the base of tagged unions."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

BUILTIN = "builtin:"


class Located(str):
    """A string from a recipe that remembers the folder relative paths in it start from."""

    folder: Path

    def __new__(cls, value: str, folder: Path) -> Located:
        self = super().__new__(cls, value)
        self.folder = folder
        return self


def resolve_path(value: Any) -> Any:
    """Absolute path of a recipe value: relative to the file it stands in, or to the working directory.

    `builtin:NAME` is a file or folder that ships inside the package.
    """
    if not isinstance(value, str):
        return value
    if value.startswith(BUILTIN):
        return Path(str(files("compressor") / "builtin" / value.removeprefix(BUILTIN)))
    expanded = Path(value).expanduser()
    folder = value.folder if isinstance(value, Located) else Path.cwd()
    return Path(os.path.normpath(folder / expanded))


RecipePath = Annotated[Path, BeforeValidator(resolve_path)]


class Section(BaseModel):
    """A part of a recipe: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
