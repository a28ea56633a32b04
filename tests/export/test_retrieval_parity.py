from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.export.parity import RecallSet
from compressor.export.pytorch import embed_images, embed_texts
from compressor.export.retrieval_parity import RetrievalParity, compare_retrieval, overlap_of_best
from compressor.recipe.outcome import ParityBounds
from tests.export.toys import ToyEncoder, toy_model, toy_samples

Rows = NDArray[np.float32]


class FunctionTower:
    """A function as a tower."""

    def __init__(self, encode: Callable[[Any], Rows]) -> None:
        self.run = encode


def random_unit(count: int, width: int, seed: int) -> Rows:
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Perfect(ToyEncoder):
    """Image k is row k of the identity, and so is caption k: PyTorch finds everything."""

    def encode_image(self, pixel_values: Any) -> Any:
        return pixel_values[:, 0, 0, : self.embed_dim]

    def encode_text(self, input_ids: Any) -> Any:
        return torch.eye(self.embed_dim)[input_ids[:, 0]]


def perfect(count: int) -> tuple[Perfect, RecallSet]:
    pixels = np.zeros((count, 3, 1, count), np.float32)
    pixels[:, 0, 0, :] = np.eye(count)
    batches = [pixels[: count // 3], pixels[count // 3 :]]
    recall = RecallSet(lambda: iter(batches), count, np.arange(count)[:, None], np.arange(count))
    return Perfect(300, count), recall


def test_equal_embeddings_lose_nothing_and_wrong_pairs_lose_all() -> None:
    """The control: an artifact whose texts are those of other images must fail on recall."""
    count = 20
    encoder, recall = perfect(count)
    table = np.eye(count, dtype=np.float32)
    image = FunctionTower(lambda x: x[:, 0, 0, :])
    text = FunctionTower(lambda ids: table[ids[:, 0]])
    shuffled = FunctionTower(lambda ids: table[count - 1 - ids[:, 0]])
    found = compare_retrieval(encoder, {"same": (image, text), "shuffled": (image, shuffled)}, recall, 50)  # type: ignore[dict-item]
    assert found["same"] == RetrievalParity(0.0, (0.0, 0.0), 1.0)
    assert found["same"].fault(ParityBounds()) == ""
    # Every right answer ties with 18 others at cosine 0 and stands last: no recall is left.
    assert (found["shuffled"].delta, found["shuffled"].interval) == (-100.0, (-100.0, -100.0))
    assert found["shuffled"].fault(ParityBounds()) == "Recall@K is 100.00 points below PyTorch's, more than 1"


def test_a_shuffled_pairing_fails_on_the_best_answers_alone() -> None:
    """Where recall is not held against it (its bound is the worst there is), the overlap still is."""
    _, recall = perfect(60)
    table = torch.from_numpy(random_unit(60, 60, 1))

    class Spread(Perfect):
        def encode_text(self, input_ids: Any) -> Any:
            return table[input_ids[:, 0]]

    encoder = Spread(300, 60)
    image = FunctionTower(lambda x: x[:, 0, 0, :])
    wrong = FunctionTower(lambda ids: table[59 - ids[:, 0]].numpy())
    found = compare_retrieval(encoder, {"wrong": (image, wrong)}, recall, 20)["wrong"]  # type: ignore[dict-item]
    bounds = ParityBounds(recall_delta=-100)
    assert found.overlap < bounds.overlap
    assert "best answers are among PyTorch's, less than 70%" in found.fault(bounds)


def test_the_images_are_read_once_for_all_artifacts() -> None:
    model = toy_model()
    samples = toy_samples(model)
    assert samples.recall is not None
    first = samples.recall.pixel_batches
    passes: list[int] = []

    def batches() -> Any:
        passes.append(1)
        return first()

    towers = (
        FunctionTower(lambda x: embed_images(model.encoder, x)),
        FunctionTower(lambda x: embed_texts(model.encoder, x)),
    )
    recall = replace(samples.recall, pixel_batches=batches)
    found = compare_retrieval(model.encoder, {"a": towers, "b": towers}, recall, 20)  # type: ignore[dict-item]
    assert [parity.delta for parity in found.values()] == [0, 0]
    assert passes == [1]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), queries=st.integers(1, 9), gallery=st.integers(2, 130))
def test_overlap_is_the_share_of_common_best_answers(seed: int, queries: int, gallery: int) -> None:
    own = random_unit(queries, 6, seed), random_unit(gallery, 6, seed + 1)
    other = random_unit(queries, 6, seed + 2), random_unit(gallery, 6, seed + 3)
    best = min(10, max(1, gallery // 10))
    common = 0
    for query in range(queries):
        tops = []
        for rows, answers in (own, other):
            scores = [float(rows[query] @ answer) for answer in answers]
            tops.append(set(sorted(range(gallery), key=lambda k: -scores[k])[:best]))
        common += len(tops[0] & tops[1])
    assert overlap_of_best(own, other) == pytest.approx(common / (best * queries))
    assert overlap_of_best(own, own) == 1


def test_equal_answers_are_shared_whichever_comes_first() -> None:
    gallery = np.repeat(random_unit(30, 5, 0), 4, axis=0)
    queries = random_unit(12, 5, 1)
    noisy = gallery + np.random.default_rng(2).normal(size=gallery.shape).astype(np.float32) * 1e-9
    turned = noisy[np.arange(120).reshape(30, 4)[:, ::-1].ravel()]
    assert overlap_of_best((queries, gallery), (queries, turned)) == 1
