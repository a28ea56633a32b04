"""AdamW with the decay where it belongs, its state by parameter name, and the moving average of the
weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compressor.recipe.training import Optimizer

NamedParameters = dict[str, nn.Parameter]


def trainable_parameters(**modules: nn.Module) -> NamedParameters:
    """Parameters that learn, named `<module>.<parameter>`; a shared one appears once."""
    found: NamedParameters = {}
    seen: set[int] = set()
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{prefix}.{name}"] = parameter
    return found


def is_decayed(parameter: nn.Parameter) -> bool:
    """Matrices and kernels decay; norms, biases and the temperature (fewer than two dimensions) never do."""
    return parameter.ndim >= 2


def build_optimizer(config: Optimizer, parameters: NamedParameters) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101) in one fused kernel, with two groups: decayed and not decayed."""
    decayed = [p for p in parameters.values() if is_decayed(p)]
    others = [p for p in parameters.values() if not is_decayed(p)]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=all(p.is_floating_point() for p in parameters.values()),
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """One rate for all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: NamedParameters) -> dict[str, Tensor]:
    """The optimiser's memory as tensors named `<state>/<parameter>`; empty before the first step."""
    return {
        f"{key}/{name}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: NamedParameters, tensors: dict[str, Tensor]
) -> None:
    """Put the memory back that `optimizer_tensors` gave."""
    number = {id(p): i for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    state: dict[int, dict[str, Tensor]] = {}
    for full_name, tensor in tensors.items():
        key, name = full_name.split("/", 1)
        parameter = parameters[name]
        if tensor.shape == parameter.shape:  # the fused kernel walks memory: its layout must be the weight's
            tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(number[id(parameter)], {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class MovingAverage:
    """Exponential moving average of a module's weights; buffers are copied as they are.

    The decay rises as (1 + n) / (10 + n) until it reaches `decay`, so that the first steps do not drag the
    random start along (the schedule of TensorFlow's ExponentialMovingAverage with `num_updates`).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        state = module.state_dict(keep_vars=True)
        first: dict[int, str] = {}
        self._name_of = {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}
        self._live: dict[str, Tensor] = {name: state[name] for name in self._name_of.values()}
        self._average = {name: t.detach().clone() for name, t in self._live.items()}
        self._smooth = [name for name, t in self._live.items() if isinstance(t, nn.Parameter)]
        self._copied = [name for name in self._live if name not in set(self._smooth)]

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the current weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages = [self._average[name] for name in self._smooth]
        torch._foreach_lerp_(averages, [self._live[name].detach() for name in self._smooth], 1.0 - decay)
        for name in self._copied:
            self._average[name].copy_(self._live[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the module holds the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self._average.items():
            live = self._live[name]
            kept = live.detach().clone()
            live.copy_(average)
            average.copy_(kept)

    def tensors(self) -> dict[str, Tensor]:
        """The averaged weights by name, as a state dict has them."""
        return {name: self._average[own] for name, own in self._name_of.items()}

    def load(self, tensors: dict[str, Tensor], updates: int) -> None:
        """Put back what `tensors` gave, after so many updates."""
        self.updates = updates
        for name, average in self._average.items():
            average.copy_(tensors[name])
