"""The gallery that is served: opened when first asked for, off the loop, told of in HTTP's words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from compressor.errors import (
    CompressorError,
    DataError,
    FilterError,
    GalleryMismatchError,
    MissingDependencyError,
    MissingResourceError,
)
from compressor.runtime import Bundle
from serving.errors import ApiError, wrong
from serving.models import Model

Answer = TypeVar("Answer")


class Galleries:
    """One gallery for each model that embeds: at `uri`, or beside the model's bundle."""

    def __init__(self, uri: str | None = None) -> None:
        self._uri = uri
        self._open: dict[str, Any] = {}
        self._opening = asyncio.Lock()

    async def of(self, model: Model) -> Any:
        """The gallery of a model. Raises `ApiError` 409 for one of another bundle, 501 without LanceDB."""
        async with self._opening:
            if model.sha256 not in self._open:
                self._open[model.sha256] = await self.call(self._opened, model)
        return self._open[model.sha256]

    def _opened(self, model: Model) -> Any:
        from compressor.gallery.gallery import Gallery, place_beside

        assert isinstance(model.opened, Bundle)
        return Gallery.open(self._uri or place_beside(model.folder), model.opened, create=True)

    async def call(self, work: Callable[..., Answer], *given: Any, **named: Any) -> Answer:
        """Run a gallery's work in a thread. Raises `ApiError` for whatever it refuses."""
        try:
            return await asyncio.to_thread(work, *given, **named)
        except CompressorError as error:
            raise _told(error) from error


def _told(error: CompressorError) -> ApiError:
    if isinstance(error, GalleryMismatchError):
        return ApiError(409, "other_bundle", str(error))
    if isinstance(error, FilterError):
        return ApiError(400, "bad_filter", str(error), "filter")
    if isinstance(error, MissingResourceError):
        return ApiError(404, "no_gallery", str(error))
    if isinstance(error, MissingDependencyError):
        return ApiError(501, "no_gallery", str(error))
    if isinstance(error, DataError):
        return wrong(str(error))
    return ApiError(503, "gallery_failed", str(error), headers={"Retry-After": "1"})
