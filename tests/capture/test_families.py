"""For every family: the maps are the eager model's, and the model does not notice that it is watched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from compressor.capture import AttentionCapture
from tests.capture.model_case import COUNTS, Case
from tests.capture.other_cases import OPEN_CLIP, OWN, TIMM
from tests.capture.transformers_cases import BLIP, TRANSFORMERS

CASES = [*TRANSFORMERS, *BLIP, *TIMM, *OPEN_CLIP, *OWN]
Load = Callable[..., nn.Module]


@pytest.fixture(scope="module")
def folders() -> dict[str, Path]:
    return {}


@pytest.fixture
def load(case: Case, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Load:
    """The model of a case, saved once and read back."""
    if case.name not in folders:
        folders[case.name] = tmp_path_factory.mktemp("model")
        case.save(folders[case.name])
    return lambda *, eager=False: case.load(folders[case.name], eager)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_maps_are_the_eager_models(case: Case, load: Load) -> None:
    model = load()
    with torch.no_grad():
        expected = case.maps(load(eager=True))
        with AttentionCapture(case.tower(model), range(case.layers), case.which) as capture:
            case.run(model)
            taken = capture.take()
    assert len(taken) == len(expected) == case.layers
    for number, (attention, reference) in enumerate(zip(taken, expected, strict=True)):
        assert attention.layer == number
        assert (attention.grid, attention.prefix_tokens) == (case.grid, case.prefix_tokens)
        assert attention.weights.dtype == torch.float32
        torch.testing.assert_close(attention.weights, reference.float(), atol=1e-5, rtol=0)
        far = reference.amax(-1) * reference.shape[-1] > 1.5
        assert far.float().mean() > 0.3, "a nearly uniform map would agree with anything"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_output_does_not_change(case: Case, load: Load) -> None:
    model = load()
    with torch.no_grad():
        before = case.run(model)
        with AttentionCapture(case.tower(model), "last", case.which) as capture:
            during = case.run(model)
            capture.take()
        after = case.run(model)
    assert torch.equal(before, during)
    assert torch.equal(before, after)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_through_the_maps_are_the_eager_models(case: Case, load: Load) -> None:
    model, eager = load().train(), load(eager=True).train()
    with AttentionCapture(case.tower(model), [0, "last"], case.which) as capture:
        case.run(model)
        watched = [attention.weights for attention in capture.take()]
    reference = case.maps(eager)
    scalar(watched).backward()
    scalar([reference[0], reference[-1]]).backward()
    expected = {name: value.grad for name, value in eager.named_parameters() if value.grad is not None}
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 1e-2
    for name, parameter in model.named_parameters():
        if name in expected:
            assert parameter.grad is not None, name
            torch.testing.assert_close(
                parameter.grad, expected[name], atol=1e-5 * largest, rtol=1e-3, msg=name
            )
        else:
            assert parameter.grad is None or not parameter.grad.any(), name


@pytest.mark.parametrize("case", [case for case in CASES if case.padded], ids=str)
def test_counted_keys_are_those_that_the_model_does_not_mask(case: Case, load: Load) -> None:
    model = load()
    with torch.no_grad(), AttentionCapture(case.tower(model), "last", case.which) as capture:
        case.run(model)
        (attention,) = capture.take()
    if case.name == "bert cross":
        expected = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    else:
        expected = COUNTS
    assert torch.equal(attention.counted_keys(), expected.bool())


@pytest.mark.parametrize("case", [case for case in CASES if case.fused], ids=str)
def test_only_the_chosen_layer_materialises_a_map(
    case: Case, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    # nn.MultiheadAttention has one more path, for evaluation alone, that a dispatcher cannot see into.
    monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)
    model = load()
    with torch.no_grad():
        with Operators() as plain:
            case.run(model)
        with AttentionCapture(case.tower(model), "last", case.which) as capture, Operators() as watched:
            case.run(model)
            shape = tuple(capture.take()[0].weights.shape)
    assert plain.fused == watched.fused >= case.layers
    assert shape not in plain.softmaxes
    assert watched.softmaxes == [shape, *plain.softmaxes]  # SigLIP pools by one more attention of its own


def scalar(maps: list[Tensor]) -> Tensor:
    """A function of the maps with a gradient everywhere."""
    generator = torch.Generator().manual_seed(2)
    return torch.stack(
        [(weights * torch.randn(weights.shape, generator=generator)).sum() for weights in maps]
    ).sum()


class Operators(TorchDispatchMode):
    """Counts fused attention and notes the shape of every softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = 0
        self.softmaxes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if "scaled_dot_product" in str(func):
            self.fused += 1
        elif "softmax" in str(func):
            self.softmaxes.append(tuple(result.shape))
        return result
