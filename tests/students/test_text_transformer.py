"""The text tower against a float64 reference written from the definition, and what padding must not do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.students.text_transformer import (
    Pool,
    TextTransformer,
    pool_tokens,
    token_mask,
    without_padding,
)

PAD, EOS, LENGTH, WIDTH, HEADS = 0, 2, 7, 8, 2


def tower(causal: bool = False, pool: Pool = "mean", eos: int | None = EOS) -> TextTransformer:
    torch.manual_seed(3)
    made = TextTransformer(20, PAD, eos, WIDTH, 2, HEADS, 2.0, LENGTH, causal, pool)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.eval()


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / math.sqrt(x.var() + 1e-5) * weight + bias


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x])


def reference(model: TextTransformer, ids: list[int]) -> np.ndarray:
    """One row, token by token, in float64."""
    p = {name: value.double().numpy() for name, value in model.state_dict().items()}
    end = next((k for k, token in enumerate(ids) if token == EOS), LENGTH)
    counts = [k <= end for k in range(LENGTH)]
    x = [p["token_embedding.weight"][token] + p["position_embedding"][k] for k, token in enumerate(ids)]
    for b in range(2):
        name = f"blocks.{b}."
        normed = [layer_norm(row, p[name + "norm1.weight"], p[name + "norm1.bias"]) for row in x]
        qkv = [p[name + "attention.qkv.weight"] @ row + p[name + "attention.qkv.bias"] for row in normed]
        d = WIDTH // HEADS
        for i in range(LENGTH):
            heads = []
            for h in range(HEADS):
                query = qkv[i][h * d : (h + 1) * d]
                scores = []
                for j in range(LENGTH):
                    key = qkv[j][WIDTH + h * d : WIDTH + (h + 1) * d]
                    seen = counts[j] and (j <= i or not model.causal)
                    scores.append(query @ key / math.sqrt(d) if seen else -math.inf)
                weights = np.exp(np.array(scores) - max(scores))
                weights /= weights.sum()
                heads.append(
                    sum(
                        weights[j] * qkv[j][2 * WIDTH + h * d : 2 * WIDTH + (h + 1) * d]
                        for j in range(LENGTH)
                    )
                )
            x[i] = (
                x[i]
                + p[name + "attention.out.weight"] @ np.concatenate(heads)
                + p[name + "attention.out.bias"]
            )
        for i in range(LENGTH):
            hidden = layer_norm(x[i], p[name + "norm2.weight"], p[name + "norm2.bias"])
            hidden = gelu(p[name + "mlp.0.weight"] @ hidden + p[name + "mlp.0.bias"])
            x[i] = x[i] + p[name + "mlp.2.weight"] @ hidden + p[name + "mlp.2.bias"]
    rows = [layer_norm(row, p["norm.weight"], p["norm.bias"]) for row in x]
    if model.pool == "first":
        return rows[0]
    kept = [row for row, counted in zip(rows, counts, strict=True) if counted]
    return kept[-1] if model.pool == "last" else sum(kept) / len(kept)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pool", ["mean", "last", "first"])
def test_equals_the_definition(causal: bool, pool: Pool) -> None:
    model = tower(causal, pool)
    rows = [[1, 5, 6, EOS, 0, 0, 0], [1, 9, 0, 7, 8, 4, EOS], [1, EOS, 0, 0, 0, 0, 0]]
    with torch.no_grad():
        found = model(torch.tensor(rows)).numpy()
    for row, ids in zip(found, rows, strict=True):
        np.testing.assert_allclose(row, reference(model, ids), atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(3, 19), min_size=1, max_size=5), st.lists(st.integers(0, 19), min_size=5, max_size=5)
)
def test_what_follows_the_end_of_text_has_no_effect(words: list[int], rest: list[int]) -> None:
    model = tower()
    ids = ([1, *words, EOS] + [PAD] * LENGTH)[:LENGTH]
    other = ([1, *words, EOS] + rest + [PAD] * LENGTH)[:LENGTH]
    with torch.no_grad():
        torch.testing.assert_close(model(torch.tensor([ids])), model(torch.tensor([other])))


def test_id_zero_inside_a_text_counts_where_an_end_of_text_token_exists() -> None:
    ids = torch.tensor([[1, 5, 0, 6, EOS, 0, 0]])
    assert token_mask(ids, PAD, EOS).tolist() == [[True] * 5 + [False] * 2]
    assert token_mask(ids, PAD, None).tolist() == [[True, True, False, True, True, False, False]]


@pytest.mark.parametrize("eos", [None, EOS])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pool", ["mean", "last", "first"])
def test_a_row_of_padding_has_a_finite_embedding_and_finite_gradients(
    eos: int | None, causal: bool, pool: Pool
) -> None:
    model = tower(causal, pool, eos)
    features = model(torch.zeros(2, LENGTH, dtype=torch.long))
    features.square().sum().backward()
    assert torch.isfinite(features).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_row_does_not_depend_on_its_batch() -> None:
    model = tower()
    rows = torch.tensor([[1, 5, 6, EOS, 0, 0, 0], [1, 9, 3, 7, 8, 4, EOS]])
    with torch.no_grad():
        torch.testing.assert_close(model(rows)[:1], model(rows[:1]))


def test_last_pooling_takes_the_last_counted_token() -> None:
    tokens = torch.arange(12.0).reshape(1, 4, 3)
    counts = torch.tensor([[True, True, True, False]])
    assert pool_tokens(tokens, counts, "last").tolist() == [[6.0, 7.0, 8.0]]
    assert pool_tokens(tokens, counts, "mean").tolist() == [[3.0, 4.0, 5.0]]


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    model = TextTransformer(20, PAD, EOS, WIDTH, 1, HEADS, 2.0, LENGTH, dropout=0.5)
    ids = torch.tensor([[1, 5, 6, EOS, 0, 0, 0]])
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


def test_queries_keys_and_mask_of_a_block_can_be_seen_by_a_hook() -> None:
    model = tower()
    seen: list[tuple[torch.Tensor, ...]] = []
    model.blocks[1].attention.attend.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    model(torch.tensor([[1, 5, 6, EOS, 0, 0, 0], [1, 9, EOS, 0, 0, 0, 0]]))
    ((query, key, value, mask),) = seen
    assert query.shape == key.shape == value.shape == (2, HEADS, 4, WIDTH // HEADS)
    assert mask.tolist() == [[[[True] * 4]], [[[True] * 3 + [False]]]]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pool", ["mean", "last", "first"])
def test_columns_that_are_padding_in_every_row_change_nothing(pool: Pool, causal: bool) -> None:
    torch.manual_seed(0)
    model = TextTransformer(20, PAD, EOS, WIDTH, 2, HEADS, 2.0, LENGTH, causal=causal, pool=pool).eval()
    ids = torch.tensor([[1, 5, 6, EOS, 0, 0, 0], [1, EOS, 0, 0, 0, 0, 0]])
    full_row = torch.tensor([[1, 9, 3, 7, 8, 4, EOS]])
    with torch.no_grad():
        torch.testing.assert_close(model(ids), model(torch.cat([ids, full_row]))[:2])


def test_padding_between_tokens_is_kept_where_no_end_of_text_decides() -> None:
    ids = torch.tensor([[1, PAD, 5, PAD], [1, PAD, PAD, PAD]])
    kept, counts = without_padding(ids, token_mask(ids, PAD, None))
    assert kept.tolist() == [[1, PAD, 5], [1, PAD, PAD]]
    assert counts.tolist() == [[True, False, True], [True, False, False]]


def test_no_rows_at_all_keep_their_width() -> None:
    ids = torch.zeros(0, 7, dtype=torch.long)
    assert without_padding(ids, token_mask(ids, PAD, EOS))[0].shape == (0, 7)
