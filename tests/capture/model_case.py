"""One small model of a family: how it is saved, loaded, run, and asked for its own maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compressor.capture import Which

LAYERS = 3
WIDTH = 32
HEADS = 4
IMAGE: dict[str, Any] = {"image_size": (32, 48), "patch_size": 16}
"""Two rows of three patches: a grid whose sides cannot be mistaken for one another."""
PIXELS = torch.randn(3, 3, 32, 48, generator=torch.Generator().manual_seed(5))
TOKENS = torch.tensor([[5, 9, 3, 11, 8, 6, 2], [5, 4, 12, 2, 1, 1, 1], [5, 2, 1, 1, 1, 1, 1]])
"""Rows of 7, 4 and 2 tokens; 2 ends a text, 1 pads it."""
COUNTS = (TOKENS != 1).long()


@dataclass(frozen=True)
class Case:
    """`load(folder, eager)` gives the model saved by `save`; `maps(eager_model)` its maps, layer by layer."""

    name: str
    save: Callable[[Path], None]
    load: Callable[[Path, bool], nn.Module]
    run: Callable[[nn.Module], Tensor]
    maps: Callable[[nn.Module], list[Tensor]]
    tower: Callable[[Any], nn.Module] = lambda model: model
    which: Which = "self"
    layers: int = LAYERS
    grid: tuple[int, int] | None = None
    prefix_tokens: int = 0
    fused: bool = True
    padded: bool = False

    def __str__(self) -> str:
        return self.name


def sharpened(build: Callable[[], Any]) -> Any:
    """A model with larger weights: at initialisation all maps are nearly uniform and any two would agree."""
    torch.manual_seed(0)
    model = build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.1))
    return model.eval()


def save_weights(build: Callable[[], nn.Module]) -> Callable[[Path], None]:
    """Write a model's state as safetensors."""

    def save(folder: Path) -> None:
        state = sharpened(build).state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")

    return save


def load_weights(build: Callable[[], nn.Module]) -> Callable[[Path, bool], nn.Module]:
    """The counterpart of `save_weights`; eager and fused are the same model to these libraries."""

    def load(folder: Path, eager: bool) -> nn.Module:
        model = build()
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model.eval()

    return load


@contextmanager
def inputs_of(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects the first input of each module, in the order in which they run."""
    seen: list[Tensor] = []

    def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
        seen.append(args[0])

    handles = [module.register_forward_pre_hook(hook) for module in modules]
    yield seen
    for handle in handles:
        handle.remove()
