"""Gradients of a whole-batch loss in any number of forward passes (GradCache, arXiv 2101.06983)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from compressor.data.loader import normalize_pixels
from compressor.distill.alignment import Alignment, Maps
from compressor.losses.masked_feature import mask_patches
from compressor.preprocess.spec import ImageSpec
from compressor.recipe.losses import MaskedFeatureLoss
from compressor.students.encoder import Encoder

Outputs = dict[str, Tensor]
Piece = tuple[Tensor, Tensor, Maps, Tensor | None]

ROWS = ("image", "text", "masked_image")
"""Outputs with a row for every row of the batch. `alignment` holds means over the batch, each over as many
things as `alignment_weight` says; `logit_scale` is one number whatever the batch."""


class Towers(nn.Module):
    """Both towers behind one `forward`, which is what Accelerate and DistributedDataParallel wrap.

    It takes (B, 3, H, W) uint8 and (B, L) int64; to compare attention also the teacher's maps and (B,) bool,
    true for rows with a caption. It gives `image` and `text` rows (B, D) and the exponentiated `logit_scale`;
    with `masking` also `masked_image`, rows (B, D) of the images with patches masked; with `alignment` the
    means (T,) of that name: how far each pair of layers is apart.
    Convolutions run with their channels last in memory, which is how CPUs and tensor cores are fast at them.
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        masking: MaskedFeatureLoss | None = None,
        alignment: Alignment | None = None,
    ) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.encoder = encoder.to(memory_format=torch.channels_last)
        self.masking = masking
        self.alignment = alignment
        self._spec = spec

    def forward(
        self,
        pixels: Tensor,
        input_ids: Tensor,
        teacher_maps: Maps | None = None,
        has_caption: Tensor | None = None,
    ) -> Outputs:
        encoder = self.encoder
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        normalized = normalize_pixels(pixels, self._spec)
        outputs: Outputs = {}
        if self.masking is not None:  # first, so that the attention maps left behind are of whole pictures
            # The default generator: both passes of a piece start it from the same seed.
            patch, fraction = self.masking.patch, self.masking.fraction
            masked, _ = mask_patches(normalized, patch, fraction, torch.default_generator)
            outputs["masked_image"] = encoder.encode_image(masked)
        outputs["image"] = encoder.encode_image(normalized)
        outputs["text"] = encoder.encode_text(input_ids)
        outputs["logit_scale"] = encoder.logit_scale
        if self.alignment is not None:
            terms, weights = self.alignment(teacher_maps or {}, input_ids, has_caption)
            outputs |= {"alignment": terms, "alignment_weight": weights}
        return outputs


@dataclass
class Embedded:
    """What one process's batch became, as leaves: `Towers` says what stands under which name.

    The loss gives them gradients, `backward` passes those on.
    """

    leaves: Outputs
    alignment_weight: Tensor | None
    _backward: Callable[[Outputs], None]

    @property
    def image(self) -> Tensor:
        return self.leaves["image"]

    @property
    def text(self) -> Tensor:
        return self.leaves["text"]

    @property
    def logit_scale(self) -> Tensor:
        return self.leaves["logit_scale"]

    @property
    def masked_image(self) -> Tensor | None:
        return self.leaves.get("masked_image")

    @property
    def alignment(self) -> Tensor | None:
        return self.leaves.get("alignment")

    def backward(self) -> None:
        """Send the gradients of the leaves into the towers' parameters."""
        self._backward({name: _gradient(leaf) for name, leaf in self.leaves.items()})


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

    def embed(
        self,
        pixels: Tensor,
        input_ids: Tensor,
        teacher_maps: Maps | None = None,
        has_caption: Tensor | None = None,
    ) -> Embedded:
        """The inputs of `Towers`, B rows each -> leaves that require gradients."""
        maps = teacher_maps or {}
        if len(pixels) <= self.size:
            outputs = self._forward(0, (pixels, input_ids, maps, has_caption))
            return _embedded(outputs, lambda gradients: _backward(outputs, gradients))
        slices = [slice(start, start + self.size) for start in range(0, len(pixels), self.size)]
        pieces = [
            (
                pixels[rows],
                input_ids[rows],
                _rows_of(maps, rows),
                None if has_caption is None else has_caption[rows],
            )
            for rows in slices
        ]
        with torch.no_grad():
            parts = [self._forward(number, piece) for number, piece in enumerate(pieces)]
        joined = _joined(parts)

        def backward(gradients: Outputs) -> None:
            for number, (rows, piece) in enumerate(zip(slices, pieces, strict=True)):
                last = number == len(pieces) - 1
                wanted = {name: gradients[name][rows] for name in ROWS if name in gradients}
                if "alignment" in gradients:
                    wanted["alignment"] = gradients["alignment"] * _share(parts[number], joined)
                if last:  # the scale is one for the whole batch, not one a piece
                    wanted["logit_scale"] = gradients["logit_scale"]
                with nullcontext() if last else self.no_sync():
                    _backward(self._forward(number, piece), wanted)

        return _embedded(joined, backward)

    def _forward(self, number: int, piece: Piece) -> Outputs:
        self.seed_piece(number)
        outputs: Outputs = self.towers(*piece)
        return outputs


def _rows_of(maps: Maps, rows: slice) -> Maps:
    return {name: replace(found, weights=found.weights[rows]) for name, found in maps.items()}


def _joined(parts: Sequence[Outputs]) -> Outputs:
    """What one pass over all rows would have given."""
    joined = {"logit_scale": parts[-1]["logit_scale"]}
    for name in parts[0]:
        if name in ROWS:
            joined[name] = torch.cat([part[name] for part in parts])
    if "alignment" in parts[0]:
        joined["alignment_weight"] = torch.stack([part["alignment_weight"] for part in parts]).sum(dim=0)
        shares = [part["alignment"] * _share(part, joined) for part in parts]
        joined["alignment"] = torch.stack(shares).sum(dim=0)
    return joined


def _share(part: Outputs, whole: Outputs) -> Tensor:
    """How much of the whole's means a part contributes."""
    return part["alignment_weight"] / whole["alignment_weight"].clamp(min=1)


def _embedded(outputs: Outputs, backward: Callable[[Outputs], None]) -> Embedded:
    leaves = {
        name: output.detach().float().requires_grad_()
        for name, output in outputs.items()
        if name != "alignment_weight"
    }
    return Embedded(leaves, outputs.get("alignment_weight"), backward)


def _backward(outputs: Outputs, gradients: Outputs) -> None:
    """Send the gradients of the outputs named into the graph. A locked tower's outputs have none."""
    moving = [name for name in gradients if outputs[name].requires_grad]
    torch.autograd.backward([outputs[name] for name in moving], [gradients[name] for name in moving])


def _gradient(leaf: Tensor) -> Tensor:
    """Zeros where no loss looked at the leaf, so that every process exchanges the same parameters."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
