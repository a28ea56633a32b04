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

    def __getnewargs__(self) -> tuple[str, Path]:  # type: ignore[override]
        return str(self), self.folder


def resolve_path(value: Any) -> Any:
    """Absolute path of a recipe value: relative to the file it stands in, or to the working directory.

    `builtin:NAME` is a file or folder that ships inside the package. Raises `ValueError` for what cannot be a
    path: nothing, an unknown `~user`, a built-in name that leaves the package's folder.
    """
    if not isinstance(value, str):
        return value
    if not value.strip():
        raise ValueError("is an empty path; write the path of a file or folder")
    if value.startswith(BUILTIN):
        name = value.removeprefix(BUILTIN)
        if not name or ".." in Path(name).parts or Path(name).is_absolute():
            raise ValueError(f"is '{value}', which names nothing that ships with the package")
        return Path(str(files("compressor") / "builtin" / name))
    try:
        expanded = Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"is '{value}', but there is no such home folder on this machine") from None
    folder = value.folder if isinstance(value, Located) else Path.cwd()
    return Path(os.path.normpath(folder / expanded))


RecipePath = Annotated[Path, BeforeValidator(resolve_path)]


class Section(BaseModel):
    """A part of a recipe: immutable, finite numbers only, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)
