"""A bundle that writes: captions of pictures, or answers to questions about them. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compressor.errors import BundleError, ModelError
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spelling import Speller
from compressor.runtime.beam_search import SearchSettings
from compressor.runtime.inputs import at_least_one, check_images, check_texts, pixels_of
from compressor.runtime.manifest import check_files, choose_artifact, locate, read_manifest
from compressor.runtime.providers import Provider
from compressor.runtime.verify import verify_bundle
from compressor.runtime.writer_graphs import WriterGraphs, open_graphs
from compressor.runtime.writer_schema import WriterArtifact, WriterManifest

_BATCH = 8
"""Pictures at a time: each holds its keys and values for the decoder, 42 MB in a BLIP base."""


class Writer:
    """An exported BLIP, ready to write. Make one with `Writer.open`.

    Safe to call from several threads at once: nothing changes after opening.
    """

    def __init__(
        self,
        folder: Path,
        manifest: WriterManifest,
        precision: str,
        preprocessor: Preprocessor,
        graphs: WriterGraphs,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.precision = precision
        self.preprocessor = preprocessor
        self.graphs = graphs

    @classmethod
    def open(
        cls,
        path: str | Path,
        precision: str | None = None,
        threads: int | None = None,
        providers: Sequence[str | Provider] | None = None,
        *,
        verify: bool = True,
        allow_failed: bool = False,
        low_memory: bool = False,
        fast_decode: bool = False,
    ) -> Writer:
        """Open the bundle folder at `path`; arguments and errors are those of `Bundle.open`."""
        folder = Path(path)
        manifest = read_manifest(folder)
        if not isinstance(manifest, WriterManifest):
            raise BundleError(
                f"{folder}: this bundle embeds pictures and texts and writes nothing; "
                "open it with compressor.runtime.Bundle"
            )
        chosen = manifest.default_precision if precision is None else precision
        artifact = choose_artifact(folder, manifest.artifacts, manifest.not_made, chosen, allow_failed)
        check_files(folder, [manifest.preprocess, manifest.tokenizer, *artifact.files()], hashes=verify)
        preprocessor = Preprocessor.load(folder, fast_decode)
        files = {name: locate(folder, graph.file) for name, graph in artifact.graphs.items()}
        graphs = open_graphs(files, manifest.kind, manifest.vocabulary, threads, providers, low_memory)
        size = preprocessor.image.size
        if graphs.picture != (3, size, size):
            raise BundleError(
                f"{folder}: the vision graph takes pictures {graphs.picture}, but preprocessing makes "
                f"{(3, size, size)}; export the bundle again"
            )
        return cls(folder, manifest, chosen, preprocessor, graphs)

    @property
    def asks(self) -> bool:
        """True for a model that answers questions, false for one that captions."""
        return self.manifest.kind == "vqa"

    @property
    def artifact(self) -> WriterArtifact:
        """The manifest's entry of the open precision."""
        return self.manifest.artifacts[self.precision]

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that are in use."""
        return self.graphs.decoder.providers

    @property
    def threads(self) -> int:
        """Threads of each graph's pool."""
        return self.graphs.decoder.threads

    def caption(
        self,
        images: Sequence[bytes | Image.Image],
        *,
        beams: int | None = None,
        max_length: int | None = None,
        min_length: int | None = None,
        batch_size: int = _BATCH,
    ) -> list[str]:
        """A caption of every picture, an encoded file (bytes) or a PIL image.

        By beam search, with one beam the likeliest token each time. What is None is as when the model was
        measured (`manifest.writing`); lengths count tokens, start token and prompt included. The prompt is
        not part of the captions.

        Raises `BundleError` for a bundle that answers questions, `BadImageError` naming the index of the
        first image that cannot be decoded, `ValueError` for a length that the model cannot write.
        """
        if self.asks:
            raise BundleError(f"{self.folder}: this bundle answers questions; give it one for every picture")
        check_images(images, "caption")
        return self._write(images, None, beams, max_length, min_length, batch_size)

    def answer(
        self,
        images: Sequence[bytes | Image.Image],
        questions: Sequence[str],
        *,
        beams: int | None = None,
        max_length: int | None = None,
        min_length: int | None = None,
        batch_size: int = _BATCH,
    ) -> list[str]:
        """An answer to every question about the picture in its place; all else as for `caption`."""
        if not self.asks:
            raise BundleError(f"{self.folder}: this bundle captions pictures; it cannot be asked")
        check_images(images, "answer")
        check_texts(questions, "answer", "questions")
        if len(images) != len(questions):
            raise ValueError(f"{len(images)} images and {len(questions)} questions; give one for each other")
        return self._write(images, questions, beams, max_length, min_length, batch_size)

    def generate(
        self,
        pixel_values: NDArray[np.float32],
        question_ids: NDArray[np.int64] | None = None,
        *,
        beams: int | None = None,
        max_length: int | None = None,
        min_length: int | None = None,
    ) -> NDArray[np.int64]:
        """One batch of ready pixels (B, 3, H, W) and, for VQA, token ids (B, M) -> ids (B, T) of the texts.

        The same as `BlipGenerator.generate` gives: neither start token nor prompt nor closing token, padded.
        Raises `ModelError` for another shape or type.
        """
        settings = self._settings(beams, max_length, min_length)
        self._check_inputs(pixel_values, question_ids)
        if len(pixel_values) == 0:
            return np.zeros((0, 0), np.int64)
        return self.graphs.write(pixel_values, question_ids, self.manifest.vocabulary, settings)

    def spell(self, ids: NDArray[np.int64]) -> list[str]:
        """What `generate` returned, as text: special tokens dropped, pieces of words joined."""
        return self._speller(ids.tolist())

    def verify(self) -> None:
        """Check every file of the bundle, all precisions, as `Bundle.verify` does. Raises `BundleError`."""
        verify_bundle(self.folder)

    @cached_property
    def _speller(self) -> Speller:
        vocabulary = self.manifest.vocabulary
        return Speller(self.preprocessor.tokenizer, vocabulary.pad_id, vocabulary.end_id)

    def _write(
        self,
        images: Sequence[bytes | Image.Image],
        questions: Sequence[str] | None,
        beams: int | None,
        max_length: int | None,
        min_length: int | None,
        batch_size: int,
    ) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(images), at_least_one(batch_size)):
            rows = slice(start, start + batch_size)
            ids = self.generate(
                pixels_of(self.preprocessor, images[rows], start),
                None if questions is None else self.preprocessor.texts(questions[rows]),
                beams=beams,
                max_length=max_length,
                min_length=min_length,
            )
            texts += self.spell(ids)
        return texts

    def _settings(self, beams: int | None, max_length: int | None, min_length: int | None) -> SearchSettings:
        usual, vocabulary = self.manifest.writing, self.manifest.vocabulary
        longest = usual.max_length if max_length is None else max_length
        given = 1 + len(vocabulary.prompt_ids)
        if not given < longest <= self.manifest.positions:
            raise ValueError(
                f"max_length is {longest}: it must be above the {given} given tokens, "
                f"at most {self.manifest.positions}"
            )
        return SearchSettings(
            end_id=vocabulary.end_id,
            pad_id=vocabulary.pad_id,
            beams=usual.beams if beams is None else beams,
            max_length=longest,
            min_length=usual.min_length if min_length is None else min_length,
        )

    def _check_inputs(self, pixels: NDArray[np.float32], questions: NDArray[np.int64] | None) -> None:
        if pixels.dtype != np.float32 or pixels.shape[1:] != self.graphs.picture:
            raise ModelError(
                f"pixel_values must be float32 (B, {', '.join(map(str, self.graphs.picture))}), "
                f"not {pixels.dtype} {pixels.shape}"
            )
        if (questions is None) == self.asks:
            raise ModelError("question_ids are needed by a model that answers, and by no other")
        if questions is None:
            return
        fits = questions.ndim == 2 and len(questions) == len(pixels) and questions.shape[1] > 0
        if questions.dtype != np.int64 or not fits:
            raise ModelError(
                f"question_ids must be int64, one row for each of the {len(pixels)} pictures, "
                f"not {questions.dtype} {questions.shape}"
            )
