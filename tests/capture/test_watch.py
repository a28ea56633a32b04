"""Watching leaves nothing behind: not on the module, not in the thread, whatever happens in between."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.capture.watch import watch_fused


class Attention(nn.Module):
    def forward(self, x: Tensor, failure: type[BaseException] | None = None) -> Tensor:
        if failure is not None:
            raise failure
        return functional.scaled_dot_product_attention(x, x, x)


X = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))


def test_observers_leave_in_any_order() -> None:
    module = Attention()
    first: list[Tensor] = []
    second: list[Tensor] = []
    stop_first = watch_fused(module, first.append)
    stop_second = watch_fused(module, second.append)
    module(X)
    assert torch.equal(first[0], second[0])
    stop_first()
    module(X)
    assert (len(first), len(second)) == (1, 2)
    stop_second()
    module(X)
    assert (len(first), len(second)) == (1, 2)
    assert "forward" not in module.__dict__


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_inside_ends_the_watch_of_that_call(failure: type[BaseException]) -> None:
    module = Attention()
    seen: list[Tensor] = []
    watch_fused(module, seen.append)
    with pytest.raises(failure):
        module(X, failure)
    functional.scaled_dot_product_attention(X, X, X)
    assert seen == []
    module(X)
    assert len(seen) == 1


def test_a_forward_that_someone_else_replaced_is_kept() -> None:
    module = Attention()
    own = module.forward
    calls: list[Any] = []

    def replaced(*args: Any) -> Tensor:
        calls.append(args)
        return own(*args)

    module.forward = replaced  # type: ignore[assignment, method-assign]
    seen: list[Tensor] = []
    stop = watch_fused(module, seen.append)
    module(X)
    stop()
    assert module.forward is replaced
    assert len(calls) == len(seen) == 1


def test_a_copy_of_a_watched_module_runs_its_own_forward() -> None:
    class Scaled(Attention):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(1.0))

        def forward(self, x: Tensor, failure: type[BaseException] | None = None) -> Tensor:
            return super().forward(x, failure) * self.factor

    module = Scaled()
    seen: list[Tensor] = []
    watch_fused(module, seen.append)
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.factor.fill_(2.0)
    assert torch.allclose(twin(X), 2 * module(X))


def test_grouped_queries_are_matched_with_their_keys() -> None:
    class Grouped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return functional.scaled_dot_product_attention(x, x[:, :1], x[:, :1], enable_gqa=True)

    module = Grouped()
    seen: list[Tensor] = []
    watch_fused(module, seen.append)
    module(X)
    expected = (X @ X[:, :1].transpose(-2, -1) / 2).softmax(-1)
    torch.testing.assert_close(seen[0], expected)
