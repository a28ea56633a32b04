"""Gradients of a whole-batch loss in any number of forward passes (GradCache, arXiv 2101.06983)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.data.loader import normalize_pixels
from compressor.preprocess.spec import ImageSpec
from compressor.students.encoder import Encoder


class Towers(nn.Module):
    """Both towers behind one `forward`, which is what Accelerate and DistributedDataParallel wrap.

    (B, 3, H, W) uint8 and (B, L) int64 -> image rows (B, D), text rows (B, D), the exponentiated logit scale.
    Convolutions run with their channels last in memory, which is how CPUs and tensor cores are fast at them.
    """

    def __init__(self, encoder: Encoder, spec: ImageSpec) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.encoder = encoder.to(memory_format=torch.channels_last)
        self._spec = spec

    def forward(self, pixels: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        encoder = self.encoder
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        image = encoder.encode_image(normalize_pixels(pixels, self._spec))
        return image, encoder.encode_text(input_ids), encoder.logit_scale


@dataclass
class Embedded:
    """Embeddings of one process's batch as leaves.

    The loss gives them gradients, `backward` passes those on.
    """

    image: Tensor
    text: Tensor
    logit_scale: Tensor
    _backward: Callable[[Embedded], None]

    def backward(self) -> None:
        """Send the gradients of the leaves into the towers' parameters."""
        self._backward(self)


@dataclass(frozen=True)
class MicroBatches:
    """Runs towers over a batch in pieces of `size` rows, keeping the graph of one piece at a time.

    One piece: an ordinary forward pass whose graph is kept. More: first every piece without a graph; the loss
    then sees the whole batch, all negatives included; at last every piece again with a graph, into which its
    rows' gradients are sent. The two passes of a piece see the same random numbers (`seed_piece(number)` is
    called before each). The gradient equals that of one large pass for towers whose rows do not see each
    other: not for BatchNorm in training mode. `no_sync` holds back the exchange between processes until the
    last piece.
    """

    towers: nn.Module
    size: int
    seed_piece: Callable[[int], None]
    no_sync: Callable[[], AbstractContextManager[None]] = nullcontext

    def embed(self, pixels: Tensor, input_ids: Tensor) -> Embedded:
        """(B, 3, H, W) uint8 and (B, L) int64 -> leaves that require gradients."""
        if len(pixels) <= self.size:
            return self._in_one_pass(pixels, input_ids)
        pieces = list(zip(pixels.split(self.size), input_ids.split(self.size), strict=True))
        with torch.no_grad():
            rows = [self._forward(number, piece) for number, piece in enumerate(pieces)]

        def backward(leaves: Embedded) -> None:
            image, text = _gradient(leaves.image).split(self.size), _gradient(leaves.text).split(self.size)
            for number, piece in enumerate(pieces):
                last = number == len(pieces) - 1
                with nullcontext() if last else self.no_sync():
                    outputs = self._forward(number, piece)
                    gradients = (image[number], text[number], _gradient(leaves.logit_scale))
                    held = 3 if last else 2  # the scale is one for the whole batch, not one a piece
                    torch.autograd.backward(outputs[:held], gradients[:held])

        image, text, scales = zip(*rows, strict=True)
        return _leaves(torch.cat(image), torch.cat(text), scales[-1], backward)

    def _in_one_pass(self, pixels: Tensor, input_ids: Tensor) -> Embedded:
        outputs = self._forward(0, (pixels, input_ids))

        def backward(leaves: Embedded) -> None:
            gradients = [_gradient(leaf) for leaf in (leaves.image, leaves.text, leaves.logit_scale)]
            torch.autograd.backward(outputs, gradients)

        return _leaves(*outputs, backward)

    def _forward(self, number: int, piece: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        self.seed_piece(number)
        outputs: tuple[Tensor, Tensor, Tensor] = self.towers(*piece)
        return outputs


def _leaves(image: Tensor, text: Tensor, scale: Tensor, backward: Callable[[Embedded], None]) -> Embedded:
    image, text, scale = (x.detach().float().requires_grad_() for x in (image, text, scale))
    return Embedded(image, text, scale, backward)


def _gradient(leaf: Tensor) -> Tensor:
    """Zeros where no loss looked at the leaf, so that every process exchanges the same parameters."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
