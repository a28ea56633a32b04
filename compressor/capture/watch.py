"""Seeing the call of fused attention inside one module, without changing what it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from compressor.capture.weights import attention_weights

Observe = Callable[[Tensor], None]
"""Takes the (B, H, Q, K) weights of one forward pass."""
Undo = Callable[[], None]
Watch = Callable[[Observe], Undo]
"""Starts handing one layer's maps to an observer."""
Which = Literal["self", "cross"]


def watch_fused(module: nn.Module, observe: Observe) -> Undo:
    """Hand `observe` the map of each forward pass of `module`, which calls fused attention once.

    The call itself goes through untouched, so the output is the same bit by bit; query, key, mask and scale
    are those the model passed, with its norms, rotary positions, relative biases and padding already in them.
    The map is the one before attention dropout. While fused attention is off, nothing is observed.
    """
    watched = module.__dict__.get("forward")
    if not isinstance(watched, _WatchedForward):
        watched = _WatchedForward(module)
    watched.observers.append(observe)

    def undo() -> None:
        watched.observers.remove(observe)
        if not watched.observers:
            watched.restore()

    return undo


class _WatchedForward:
    """Stands in for the forward of one module while it has observers.

    Not a pair of hooks: a mode that one hook enters and another leaves would stay on when Ctrl-C falls in
    between. And one object for all observers, so that they can leave in any order.
    """

    def __init__(self, module: nn.Module) -> None:
        self.observers: list[Observe] = []
        self._module = module
        self._forward = module.forward
        self._replaced = module.__dict__.get("forward")
        setattr(module, "forward", self)  # noqa: B010

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with _FusedCalls(self.observers):
            return self._forward(*args, **kwargs)

    def restore(self) -> None:
        """Give the module its own forward back."""
        if self._replaced is None:
            del self._module.forward
        else:
            setattr(self._module, "forward", self._replaced)  # noqa: B010


class _FusedCalls(TorchFunctionMode):
    """Sees every call of a torch function; looks at fused attention only."""

    def __init__(self, observers: list[Observe]) -> None:
        super().__init__()
        self.observers = observers

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            self._observe(*args, **kwargs)
        return func(*args, **kwargs)

    def _observe(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        if enable_gqa:
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        weights = attention_weights(query, key, mask=attn_mask, is_causal=is_causal, scale=scale)
        for observe in self.observers:
            observe(weights)
