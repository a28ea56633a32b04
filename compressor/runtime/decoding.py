"""The graphs of a model that writes, as the steps that a search asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import ModelError
from compressor.runtime.beam_search import Ids, Scores
from compressor.runtime.graph import Graph
from compressor.runtime.writer_schema import CONTEXT_MASK, LOGITS, TOKENS, cache_names

Arrays = dict[str, NDArray[Any]]


def layers_of(decoder: Graph) -> int:
    """How many layers' caches a decoder takes."""
    return sum(name.startswith("past_key_") for name in decoder.inputs)


class Decoding:
    """One batch of texts at work: the cross-attention's keys and values, and the cache as far as it goes.

    `cross` is what the cross graph gives for the batch, `mask` (B, S) bool where the decoder may attend to
    the context, everywhere if None. The call is a step of `compressor.runtime.beam_search`.
    """

    def __init__(self, decoder: Graph, cross: Arrays, mask: NDArray[np.bool_] | None = None) -> None:
        self._decoder = decoder
        self._fixed = cross if mask is None else {**cross, CONTEXT_MASK: mask}
        layers = layers_of(decoder)
        self._past, self._present = cache_names("past", layers), cache_names("present", layers)
        _, _, heads, _, width = decoder.shapes[self._past[0]]
        batch = len(next(iter(cross.values())))
        nothing = np.zeros((batch, 1, int(heads), 0, int(width)), np.float32)
        self._cache: list[NDArray[Any]] = [nothing] * len(self._past)

    def __call__(self, tokens: Ids, parents: Ids | None) -> Scores:
        """(B, K, L) ids -> logits (B, K, V). Raises `ModelError` where they are not finite."""
        if parents is not None:
            rows = np.arange(len(parents))[:, None]
            self._cache = [cache[rows, parents] for cache in self._cache]
        past = dict(zip(self._past, self._cache, strict=True))
        found = self._decoder.run({TOKENS: tokens, **past, **self._fixed})
        self._cache = [found[name] for name in self._present]
        logits: Scores = found[LOGITS]
        if not np.isfinite(logits).all():
            raise ModelError("the decoder gives logits that are NaN or infinite; export the bundle again")
        return logits
