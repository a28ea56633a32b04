"""Parameter groups, optimiser memory, moving average."""

from __future__ import annotations

import copy

import torch
from torch import nn

from compressor.distill.optim import (
    MovingAverage,
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    trainable_parameters,
)
from compressor.recipe.training import Optimizer


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3)
        self.batchnorm = nn.BatchNorm1d(3)
        self.tied = self.linear
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.log_logit_scale = nn.Parameter(torch.tensor(1.0))


def test_only_matrices_decay() -> None:
    model = Small()
    parameters = trainable_parameters(model=model)
    optimizer = build_optimizer(Optimizer(weight_decay=0.3), parameters)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in parameters.items():
        assert decay[id(parameter)] == (0.3 if name == "model.linear.weight" else 0.0), name
    assert not any("frozen" in name or "tied" in name for name in parameters)


def test_the_memory_of_the_optimiser_survives_a_round_trip() -> None:
    torch.manual_seed(0)
    one = Small()
    two = copy.deepcopy(one)
    states = []
    for model in (one, two):
        parameters = trainable_parameters(model=model)
        states.append((model, parameters, build_optimizer(Optimizer(), parameters)))

    def step(model: Small, optimizer: torch.optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        optimizer.zero_grad()
        model.norm(model.linear(torch.randn(5, 3))).square().sum().backward()
        optimizer.step()

    for seed in range(3):
        step(one, states[0][2], seed)
    two.load_state_dict(one.state_dict())
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(states[0][2], states[0][1]).items()}
    load_optimizer_tensors(states[1][2], states[1][1], saved)
    for model, _, optimizer in states:
        step(model, optimizer, 9)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name]), name
    assert any(name.startswith("exp_avg_sq/") for name in saved)


def test_the_average_follows_its_definition_and_swaps_back() -> None:
    model = Small()
    average = MovingAverage(model, decay=0.9)
    expected = model.linear.weight.detach().double().numpy().copy()
    for update in range(20):
        with torch.no_grad():
            model.linear.weight += 1.0
            model.batchnorm.running_mean += 2.0
        average.update()
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * model.linear.weight.detach().double().numpy()
    live = model.linear.weight.detach().clone()
    with average.in_place():
        torch.testing.assert_close(
            model.linear.weight.detach().double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5
        )
        assert torch.equal(model.batchnorm.running_mean, torch.full((3,), 40.0))
    assert torch.equal(model.linear.weight, live)


def test_the_average_names_tied_weights_as_the_state_dict_does_and_reloads() -> None:
    model = Small()
    average = MovingAverage(model, decay=0.5)
    with torch.no_grad():
        model.linear.weight.zero_()
    average.update()
    saved = {name: tensor.clone() for name, tensor in average.tensors().items()}
    assert set(saved) == set(model.state_dict())
    again = MovingAverage(model, decay=0.5)
    again.load(saved, updates=1)
    average.update()
    again.update()
    for name, tensor in average.tensors().items():
        assert torch.equal(tensor, again.tensors()[name]), name
