"""The graphs of a model that writes, opened and checked against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compressor.errors import BundleError
from compressor.runtime.beam_search import Ids, SearchSettings, search
from compressor.runtime.decoding import Decoding, layers_of
from compressor.runtime.graph import Graph
from compressor.runtime.providers import Provider
from compressor.runtime.writer_schema import (
    CONTEXT_MASK,
    GRAPHS,
    IMAGE_STATES,
    LOGITS,
    PIXEL_VALUES,
    QUESTION_MASK,
    QUESTION_STATES,
    STATES,
    TOKENS,
    GraphName,
    WriterKind,
    WriterVocabulary,
    cache_names,
)


@dataclass(frozen=True)
class WriterGraphs:
    """One graph for each part of the work; `question` of a model that answers alone."""

    vision: Graph
    cross: Graph
    decoder: Graph
    question: Graph | None = None

    @property
    def picture(self) -> tuple[int | str, ...]:
        """Shape of a picture's pixels."""
        return self.vision.shapes[PIXEL_VALUES][1:]

    def write(
        self,
        pixel_values: NDArray[np.float32],
        question_ids: Ids | None,
        vocabulary: WriterVocabulary,
        settings: SearchSettings,
    ) -> Ids:
        """One batch, B >= 1: (B, 3, H, W) and, for VQA, (B, M) -> ids (B, T) as `search` gives them."""
        mask = None
        if question_ids is not None:
            question_ids, mask = as_question(question_ids, vocabulary)
        given = np.array([[vocabulary.start_id, *vocabulary.prompt_ids]], np.int64)
        states = self.read(pixel_values, question_ids, mask)
        return search(self.decoding(states, mask), given.repeat(len(pixel_values), 0), settings)

    def read(
        self,
        pixel_values: NDArray[np.float32],
        question_ids: Ids | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """What the decoder attends to (B, S, D): the picture's states, or those of the question about it."""
        states = self.vision.run({PIXEL_VALUES: pixel_values})[IMAGE_STATES]
        if question_ids is None or mask is None:
            return states
        assert self.question is not None
        feed = {TOKENS: question_ids, QUESTION_MASK: mask, IMAGE_STATES: states}
        return self.question.run(feed)[QUESTION_STATES]

    def decoding(self, states: NDArray[np.float32], mask: NDArray[np.bool_] | None = None) -> Decoding:
        """The steps of a decoder that attends to states (B, S, D), where `mask` (B, S) is true."""
        return Decoding(self.decoder, self.cross.run({STATES: states}), mask)


def as_question(question_ids: Ids, vocabulary: WriterVocabulary) -> tuple[Ids, NDArray[np.bool_]]:
    """Questions (B, M) as the encoder reads them, and the mask of their words: without the columns that are
    padding in every row, the opening token replaced where the vocabulary says so."""
    mask = question_ids != vocabulary.pad_id
    mask[:, 0] = True  # as in training: a row of padding alone attends to its first place
    used = int(np.flatnonzero(mask.any(axis=0))[-1]) + 1
    ids = question_ids[:, :used].copy()
    if vocabulary.question_start_id is not None:
        ids[:, 0] = vocabulary.question_start_id
    return ids, mask[:, :used]


def open_graphs(
    files: Mapping[GraphName, Path],
    kind: WriterKind,
    vocabulary: WriterVocabulary,
    threads: int | None = None,
    providers: Sequence[str | Provider] | None = None,
    low_memory: bool = False,
) -> WriterGraphs:
    """Open all graphs of one precision.

    Raises `BundleError` where one is missing, does not load, or does not fit the others and the vocabulary.
    """
    wanted = GRAPHS[kind]
    if set(files) != set(wanted):
        raise BundleError(
            f"a bundle of kind {kind} has the graphs {', '.join(wanted)}, this one has "
            f"{', '.join(files) or 'none'}; export the bundle again"
        )
    opened = {name: Graph(files[name], threads, providers, low_memory) for name in wanted}
    graphs = WriterGraphs(opened["vision"], opened["cross"], opened["decoder"], opened.get("question"))
    _check_ends(graphs)
    _check_fit(graphs, vocabulary.size)
    return graphs


def _check_ends(graphs: WriterGraphs) -> None:
    layers = layers_of(graphs.decoder)
    past, present, cross = (cache_names(of, layers) for of in ("past", "present", "cross"))
    graphs.vision.expect([PIXEL_VALUES], [IMAGE_STATES])
    graphs.cross.expect([STATES], cross)
    mask = []
    if graphs.question is not None:
        graphs.question.expect([TOKENS, QUESTION_MASK, IMAGE_STATES], [QUESTION_STATES])
        mask = [CONTEXT_MASK]
    graphs.decoder.expect([TOKENS, *past, *cross, *mask], [LOGITS, *present])


def _check_fit(graphs: WriterGraphs, size: int) -> None:
    """What one graph gives is what the next takes, and the logits are as many as the manifest says."""
    vision, cross, decoder, question = graphs.vision, graphs.cross, graphs.decoder, graphs.question
    links = [(vision, IMAGE_STATES, cross, STATES)]
    if question is not None:
        links = [(vision, IMAGE_STATES, question, IMAGE_STATES), (question, QUESTION_STATES, cross, STATES)]
    links += [(cross, name, decoder, name) for name in cross.outputs]
    for giver, gives, taker, takes in links:
        if not _alike(giver.shapes[gives], taker.shapes[takes]):
            raise BundleError(
                f"{giver.path}: gives {gives} {giver.shapes[gives]}, but {taker.path.name} takes "
                f"{taker.shapes[takes]}; export the bundle again"
            )
    if decoder.shapes[LOGITS][-1:] != (size,):
        raise BundleError(
            f"{decoder.path}: gives {LOGITS} {decoder.shapes[LOGITS]}, but the manifest says {size} words; "
            "export the bundle again"
        )
    caches = [decoder.shapes[name] for name in cache_names("past", layers_of(decoder))]
    if not caches or not all(_has_size(shape) for shape in caches):
        raise BundleError(f"{decoder.path}: takes no cache of a known size; export the bundle again")


def _has_size(cache: tuple[int | str, ...]) -> bool:
    """Heads and width are fixed: an empty cache can be made."""
    return len(cache) == 5 and isinstance(cache[2], int) and isinstance(cache[4], int)


def _alike(given: tuple[int | str, ...], taken: tuple[int | str, ...]) -> bool:
    """Equal wherever both are fixed."""
    return len(given) == len(taken) and all(
        a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(given, taken, strict=True)
    )
