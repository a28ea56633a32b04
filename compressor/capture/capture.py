"""Attach to a tower, run it, take its maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Literal

from torch import Tensor, nn

from compressor.capture.families import attention_layers
from compressor.capture.watch import Which
from compressor.errors import ModelError

Layers = Literal["last"] | Sequence[int | Literal["last"]]


class NoSuchLayerError(ModelError):
    """A tower of `count` attention layers was asked for layer `number`, counted from 0."""

    def __init__(self, number: int, label: str, count: int) -> None:
        super().__init__(f"there is no attention layer {number} in {label}: it has {count}, 0 to {count - 1}")
        self.number, self.count = number, count


@dataclass(frozen=True)
class AttentionMap:
    """The attention of one layer.

    `weights` (B, H, Q, K), rows summing to 1, before attention dropout, with gradients if the model ran with
    them. `grid` (h, w) for self-attention over a picture: its patches are the last h * w tokens, row by row,
    and `prefix_tokens` (class, registers) stand before them. None and 0 for text and for cross-attention,
    whose keys are whatever the caller put there.
    """

    layer: int
    weights: Tensor
    grid: tuple[int, int] | None
    prefix_tokens: int

    def counted_keys(self) -> Tensor:
        """(B, K) bool, true where at least one query attends: false for what the model itself masks.

        CLIP's text towers mask only the future; what follows their end-of-text token is for the caller to
        leave out.
        """
        return self.weights.detach().amax(dim=(1, 2)) > 0


class AttentionCapture:
    """Watches chosen attention layers of a tower, from construction to `detach` (or the end of `with`).

    The output of the tower does not change, and all other layers stay on fused attention (BLIP has none).
    What a capture knows lives in it and in the layers it watches: any number of captures and models run side
    by side and detach in any order. Each forward pass replaces the maps of the one before.

    `layers` counts from 0, or is "last"; `which` is the layers' self-attention or their cross-attention.
    Raises `ModelError` for a model without an adapter, `NoSuchLayerError` for a layer that it does not have.
    """

    def __init__(self, tower: nn.Module, layers: Layers = "last", which: Which = "self") -> None:
        watches = attention_layers(tower, which)
        self.layers = _resolve(layers, len(watches), type(tower).__name__)
        self._weights: dict[int, Tensor] = {}
        self._grid: tuple[int, int] | None = None
        self._watches = {layer: watches[layer] for layer in set(self.layers)}
        convolutions = [module for module in tower.modules() if isinstance(module, nn.Conv2d)]
        # The last one cuts the picture into patches, also where a stem of others comes first.
        self._patches = convolutions[-1] if which == "self" and convolutions else None
        self._attached = ExitStack()
        self._detached = False
        self._attach()

    def take(self) -> list[AttentionMap]:
        """The maps of the last forward pass, in the order of `layers`, given away: they are kept no longer.

        Raises `ModelError` where a layer has computed no fused attention since the last call, or where the
        tower drops patches at random.
        """
        missing = [layer for layer in self.layers if layer not in self._weights]
        if missing:
            raise ModelError(
                f"attention layer {missing[0]} gave no map: run the model before every take, with its fused "
                "attention on (transformers: attn_implementation='sdpa'; timm: TIMM_FUSED_ATTN=1)"
            )
        taken = [self._map(layer) for layer in self.layers]
        self._clear()
        return taken

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside the block the model runs as if it was not watched, all of it on fused attention.

        Maps that were not taken before stay, and can be taken.
        """
        self._attached.close()
        try:
            yield
        finally:
            if not self._detached:
                self._attach()

    def detach(self) -> None:
        """Leave the model as it was. May be called again."""
        self._detached = True
        self._attached.close()
        self._clear()

    def __enter__(self) -> AttentionCapture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def _attach(self) -> None:
        for layer, watch in self._watches.items():
            self._attached.callback(watch(partial(self._weights.__setitem__, layer)))
        if self._patches is not None:
            self._attached.callback(self._patches.register_forward_hook(self._patched).remove)

    def _map(self, layer: int) -> AttentionMap:
        weights = self._weights[layer]
        height, width = self._grid or (0, 0)
        prefix = weights.shape[-1] - height * width if self._grid else 0
        if prefix < 0:
            raise ModelError(
                f"attention layer {layer} saw {weights.shape[-1]} tokens of {height} x {width} patches: "
                "attention cannot be aligned while patches are dropped at random"
            )
        return AttentionMap(layer, weights, self._grid, prefix)

    def _patched(self, _module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        self._grid = (output.shape[-2], output.shape[-1])

    def _clear(self) -> None:
        self._weights.clear()
        self._grid = None


def _resolve(layers: Layers, count: int, label: str) -> list[int]:
    named = ["last"] if layers == "last" else list(layers)
    if not named:
        raise ModelError("no attention layer was named")
    numbers = [count - 1 if layer == "last" else int(layer) for layer in named]
    for number in numbers:
        if not 0 <= number < count:
            raise NoSuchLayerError(number, label, count)
    return numbers
