"""What a teacher that writes says about a batch, forced on the ground truth like its student."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressor.capture import AttentionMap
from compressor.data.loader import normalize_pixels
from compressor.distill.generation_maps import Maps, WatchedGenerator
from compressor.errors import ModelError
from compressor.recipe.losses import AMADLoss
from compressor.students.generator import GenerativeModel


@dataclass(frozen=True)
class Taught:
    """The teacher's side of N texts: `logits` (N, T, V) of the target's tokens, and attention maps."""

    logits: Tensor
    maps: Maps = field(default_factory=dict)


class WritingTeacher:
    """A frozen teacher in evaluation mode, on its own pixels, with the student's tokens."""

    def __init__(
        self,
        model: GenerativeModel,
        device: torch.device,
        *,
        batch_size: int | None = None,
        amad: AMADLoss | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """`batch_size` pictures go through the model at a time, in autocast to `dtype` where one is given."""
        assert isinstance(model.generator, nn.Module)
        self._model = model
        self._device = device
        self._batch_size = batch_size
        self._dtype = dtype
        model.generator.eval().to(device)
        self._layers = None if amad is None else WatchedGenerator(model.generator, amad, of_teacher=True)

    @torch.no_grad()
    def __call__(self, pixels: Tensor, target_ids: Tensor, question_ids: Tensor | None) -> Taught:
        """(B, 3, H, W) uint8 in its own geometry, (N, L), (N, M) -> columns of padding are left out.

        N is a multiple of B. Raises `ModelError` for logits that are not finite.
        """
        size = self._batch_size or max(len(pixels), 1)
        texts = size * (len(target_ids) // len(pixels))
        questions = question_ids.split(texts) if question_ids is not None else None
        pieces = []
        for k, (pixel, target) in enumerate(zip(pixels.split(size), target_ids.split(texts), strict=True)):
            pieces.append(self._piece(pixel, target, None if questions is None else questions[k]))
        if len(pieces) == 1:
            return pieces[0]
        maps = {name: _joined([piece.maps[name] for piece in pieces]) for name in pieces[0].maps}
        widest = max(piece.logits.shape[1] for piece in pieces)
        logits = [F.pad(piece.logits, (0, 0, 0, widest - piece.logits.shape[1])) for piece in pieces]
        return Taught(torch.cat(logits), maps)

    def detach(self) -> None:
        """Leave the teacher as it was."""
        if self._layers is not None:
            self._layers.detach()
            self._layers = None

    def _piece(self, pixels: Tensor, target_ids: Tensor, question_ids: Tensor | None) -> Taught:
        spec = self._model.preprocessor.image
        normalized = normalize_pixels(pixels.to(self._device, non_blocking=True), spec)
        with self._autocast():
            output = self._model.generator(normalized, target_ids, question_ids)
        if not torch.isfinite(output.logits).all():
            raise ModelError(
                f"the teacher '{self._model.name}' gave logits with NaN or infinite values; check its "
                "weights, or run it in full precision"
            )
        return Taught(output.logits, {} if self._layers is None else self._layers.take())

    def _autocast(self) -> AbstractContextManager[object]:
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)


def _joined(pieces: list[AttentionMap]) -> AttentionMap:
    """The maps of all rows. A piece of short texts has fewer tokens: nobody attends to the others."""
    sizes = [max(piece.weights.shape[axis] for piece in pieces) for axis in (2, 3)]
    weights = []
    for piece in pieces:
        queries, keys = piece.weights.shape[2:]
        weights.append(F.pad(piece.weights, (0, sizes[1] - keys, 0, sizes[0] - queries)))
    return replace(pieces[0], weights=torch.cat(weights))
