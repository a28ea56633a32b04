"""How well a model that writes predicts held-out texts: what chooses the best checkpoint.

The cross-entropy of the ground truth's tokens costs one forward pass a text, where CIDEr and VQA accuracy
need a beam search; it says how likely the model finds what people wrote, not how good is what it writes.
"""

from __future__ import annotations

import torch
from torch import nn

from compressor.data.generation import GenerationSet
from compressor.data.loader import normalize_pixels
from compressor.errors import DataError
from compressor.students.generator import IGNORED, Generator, task_loss

TEXTS = 3
"""Texts of every picture that are looked at, drawn once; a text may be drawn again."""


class GenerationValidation:
    """Figures of a generator on the texts of a split: `loss`, the mean cross-entropy of a token without label
    smoothing, and `token_accuracy`, percent of the tokens that are the likeliest after those before them.

    Call it with a generator in evaluation mode. Raises `DataError` for a split without texts.
    """

    def __init__(self, rows: GenerationSet, batch_size: int = 64) -> None:
        self._rows = rows
        self._batch_size = batch_size
        if not any(row.captions for row in rows.rows):
            raise DataError(f"the {rows.pairs.split} split has no texts that validation could look at")

    @torch.inference_mode()
    def __call__(self, generator: Generator) -> dict[str, float]:
        """Both figures over all tokens."""
        assert isinstance(generator, nn.Module)
        device = next(generator.parameters()).device
        spec = self._rows.student.image
        sums = torch.zeros(3, dtype=torch.float64)
        for epoch in range(TEXTS):
            for start in range(0, len(self._rows), self._batch_size):
                batch = self._rows.batch(range(start, min(start + self._batch_size, len(self._rows))), epoch)
                assert batch.target_ids is not None
                question_ids = batch.input_ids.to(device) if generator.head == "vqa" else None
                pixels = normalize_pixels(batch.pixels.to(device), spec)
                output = generator(pixels, batch.target_ids.to(device), question_ids)
                labelled = output.labels != IGNORED
                right = (output.logits.argmax(dim=-1) == output.labels) & labelled
                loss = task_loss(output.logits, output.labels, label_smoothing=0.0, count=1)
                sums += torch.stack([loss, right.sum(), labelled.sum()]).double().cpu()
        total, right_tokens, tokens = sums.tolist()
        return {"loss": total / max(tokens, 1), "token_accuracy": 100 * right_tokens / max(tokens, 1)}
