"""What the service is told from outside, by `compressor serve` or by the environment (`COMPRESSOR_...`)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from compressor.errors import DataError

PREFIX = "COMPRESSOR_"
_SEPARATORS = {"bundles": os.pathsep, "keys": ",", "urls": ",", "cors": ","}
_NAME = r"[a-z0-9_-]+(\.[a-z0-9_-]+)*"
_HOST = re.compile(rf"(\*|(\*\.)?{_NAME}|\[[0-9a-f:.]+\])(:[0-9]{{1,5}})?")
_ORIGIN = re.compile(rf"\*|https?://({_NAME}|\[[0-9a-f:.]+\])(:[0-9]{{1,5}})?")


class Settings(BaseModel):
    """Every limit is per worker process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundles: tuple[str, ...] = Field(
        (), description="Folders of bundles or runs, `name=folder` to name one; `:` between them."
    )
    precision: str | None = Field(None, description="Of every bundle; without it its default.")
    threads: int | None = Field(
        None, ge=1, le=1024, description="Of each model; without it the usable cores, shared by the workers."
    )
    low_memory: bool = Field(False, description="Give the memory of a call back after it.")
    fast_decode: bool = Field(False, description="Reduce pictures much larger than the model's input first.")
    max_batch: int = Field(32, ge=1, le=1024, description="Rows of one call of a model.")
    queue: int = Field(512, ge=1, description="Rows that may wait for a model; pictures, to be decoded.")
    deadline: float = Field(10.0, gt=0, description="Seconds from a request's arrival to its answer.")
    max_body: int = Field(32 * 2**20, ge=1, description="Bytes of a request's body.")
    max_items: int = Field(256, ge=1, validate_default=True, description="Pictures or texts of one request.")
    max_pixels: int = Field(50_000_000, ge=1, description="Of one picture.")
    max_text: int = Field(100_000, ge=1, description="Characters of one text.")
    keys: tuple[str, ...] = Field(
        (), description="Bearer keys; commas between them. None: open to all who can reach it."
    )
    keys_file: str | None = Field(None, description="A file with one key a line, read again when it changes.")
    urls: tuple[str, ...] = Field(
        (),
        description="Hosts that pictures may be fetched from, `*.example.org` for all below one, `*` for "
        "every public one; commas between them. None: pictures by address are refused.",
    )
    url_seconds: float = Field(5.0, gt=0, description="For all fetches of a request together.")
    cors: tuple[str, ...] = Field(
        (),
        description="Origins whose pages may call the service, `https://app.example.org`, `*` for all; "
        "commas between them.",
    )
    log: Literal["text", "json"] = Field("text", description="The form of the log.")
    gallery: str | None = Field(None, description="Address of the gallery; without it beside the bundle.")
    keep_originals: bool = Field(True, description="Of the pictures that are added, for a rebuild.")
    watch: float = Field(0.0, ge=0, description="Seconds between looks for new bundles; 0: none.")
    workers: int = Field(1, ge=1, description="Processes that serve the same.")
    decoders: int | None = Field(
        None, ge=1, le=256, description="Threads that decode; without it as many as of a model."
    )

    @field_validator("max_items")
    @classmethod
    def _fits(cls, given: int, info: ValidationInfo) -> int:
        """A request that never fits into the queue would be told to come back for ever."""
        if given > info.data.get("queue", given):
            raise ValueError(f"{given} items do not fit into a queue of {info.data['queue']}; set both")
        return given

    @field_validator("urls", "cors", mode="before")
    @classmethod
    def _hosts(cls, given: Any, info: ValidationInfo) -> Any:
        """Hosts in lower case and origins without a slash at the end, as they are compared with."""
        if not isinstance(given, list | tuple):
            return given
        found = tuple(str(each).strip().lower().removesuffix("/") for each in given)
        form, kind = (_HOST, "a host") if info.field_name == "urls" else (_ORIGIN, "an origin")
        for each in found:
            if not form.fullmatch(each):
                raise ValueError(f"'{each}' is not {kind}")
        return found


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings of the variables `COMPRESSOR_<NAME>`; bundles are separated by `os.pathsep`.

    Others of that prefix are let be: Kubernetes makes some up for a service of that name. Raises `DataError`
    naming the variable for one that has no sense.
    """
    found = os.environ if environment is None else environment
    given: dict[str, Any] = {}
    for name in Settings.model_fields:
        value = found.get(PREFIX + name.upper())
        if value:
            separator = _SEPARATORS.get(name)
            given[name] = [part for part in value.split(separator) if part] if separator else value
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise DataError(f"{PREFIX}{name.upper()}: {first['msg'].removeprefix('Value error, ')}") from error


def named_folders(settings: Settings) -> dict[str, Path]:
    """The bundle folders by the name that requests use: as given, or the run's or folder's own.

    A run's folder stands for the bundle in it. Raises `DataError` for none, or two of one name.
    """
    folders: dict[str, Path] = {}
    for given in settings.bundles:
        name, equals, path = given.partition("=")
        folder = Path(path if equals else given)
        run = folder.parent if folder.name == "bundle" else folder
        key = name if equals else run.resolve().name or folder.name  # a bundle may be mounted at /bundle
        if key in folders:
            raise DataError(
                f"two bundles are called '{key}'; name them: first={folders[key]} second={folder}"
            )
        folders[key] = folder / "bundle" if (folder / "bundle").is_dir() else folder
    if not folders:
        raise DataError(f"there is no bundle to serve; name one, or set {PREFIX}BUNDLES to its folder")
    return folders
