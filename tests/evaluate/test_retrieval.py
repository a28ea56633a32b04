from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import DataError, ModelError
from compressor.evaluate.retrieval import fold_mean, retrieval
from compressor.report.results import ModelQuality


def reference(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> dict[str, list[float]]:
    """The protocol with loops and float64, a score at a time."""

    def unit(row: np.ndarray) -> list[float]:
        wide = [float(x) for x in row]
        norm = sum(x * x for x in wide) ** 0.5
        return [x / norm for x in wide] if norm else wide

    image_rows, text_rows = [unit(row) for row in images], [unit(row) for row in texts]
    score = [
        [round(2**23 * sum(a * b for a, b in zip(i, t, strict=True))) for t in text_rows] for i in image_rows
    ]
    image_ranks, image_map, text_ranks = [], [], []
    for i in range(len(images)):
        own = sorted((score[i][t] for t in range(len(texts)) if owner[t] == i), reverse=True)
        if not own:
            continue
        foreign = [score[i][t] for t in range(len(texts)) if owner[t] != i]
        ranks = [sum(f >= s for f in foreign) + place for place, s in enumerate(own, start=1)]
        image_ranks.append(ranks[0])
        image_map.append(
            sum(k / rank for k, rank in enumerate(ranks, start=1) if rank <= len(own)) / len(own)
        )
    for t in range(len(texts)):
        right = score[owner[t]][t]
        better = sum(score[i][t] > right for i in range(len(images)))
        equal = sum(score[i][t] == right for i in range(len(images)) if i != owner[t])
        text_ranks.append(better + equal + 1)
    return {"image_ranks": image_ranks, "image_map": image_map, "text_ranks": text_ranks}


@st.composite
def galleries(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Small galleries with coarse coordinates, so that ties, duplicates and rows of zeros are common."""
    images, texts, width = draw(st.integers(1, 7)), draw(st.integers(1, 14)), draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    levels = draw(st.integers(1, 4))
    generator = np.random.default_rng(seed)
    rows = generator.integers(-levels, levels + 1, size=(images + texts, width)).astype(np.float32)
    return rows[:images], rows[images:], generator.integers(0, images, size=texts)


@settings(max_examples=150, deadline=None)
@given(galleries(), st.sampled_from([1, 2, 3, 512]))
def test_ranks_equal_the_definition_whatever_the_chunk(gallery: tuple, chunk: int) -> None:
    images, texts, owner = gallery
    found, expected = retrieval(images, texts, owner, chunk), reference(images, texts, owner)
    assert found.image_ranks.tolist() == expected["image_ranks"]
    assert found.text_ranks.tolist() == expected["text_ranks"]
    np.testing.assert_allclose(found.image_map_r, expected["image_map"], atol=1e-12)
    assert found.queries.tolist() == sorted(set(owner.tolist()))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ranks_of_generic_embeddings_equal_the_definition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    images, texts = (
        generator.normal(size=(9, 6)).astype(np.float32),
        generator.normal(size=(20, 6)).astype(np.float32),
    )
    owner = generator.integers(0, 9, size=20)
    found, expected = retrieval(images, texts, owner, 4), reference(images, texts, owner)
    assert found.image_ranks.tolist() == expected["image_ranks"]
    assert found.text_ranks.tolist() == expected["text_ranks"]


def quality_by_hand(expected: dict[str, list[float]]) -> dict[str, float]:
    recall = {
        f"{way}_r{k}": 100 * sum(rank <= k for rank in expected[ranks]) / len(expected[ranks])
        for way, ranks in (("i2t", "image_ranks"), ("t2i", "text_ranks"))
        for k in (1, 5, 10)
    }
    return {**recall, "rsum": sum(recall.values())}


def test_quality_holds_the_recalls_ranks_and_map_of_the_definition() -> None:
    generator = np.random.default_rng(3)
    images = generator.normal(size=(40, 5)).astype(np.float32)
    owner = np.repeat(np.arange(40), 3)
    texts = images[owner] + generator.normal(size=(120, 5)).astype(np.float32)
    expected = reference(images, texts, owner)
    quality = retrieval(images, texts, owner).quality()
    for name, value in quality_by_hand(expected).items():
        assert getattr(quality, name) == pytest.approx(value)
    assert 0 < quality.rsum < 600
    assert (
        quality.i2t.median_rank
        == sorted(expected["image_ranks"])[19:21][0] / 2 + sorted(expected["image_ranks"])[20] / 2
    )
    assert quality.t2i.mean_rank == pytest.approx(sum(expected["text_ranks"]) / 120)
    assert quality.i2t.map_r == pytest.approx(100 * sum(expected["image_map"]) / 40)
    assert quality.t2i.map_r == pytest.approx(quality.t2i_r1)
    assert (quality.images, quality.captions) == (40, 120)


def test_a_perfect_model_scores_600_and_full_map() -> None:
    images = np.eye(12, dtype=np.float32)
    owner = np.repeat(np.arange(12), 5)
    quality = retrieval(images, images[owner], owner).quality()
    assert quality.rsum == 600
    assert quality.i2t.map_r == quality.t2i.map_r == 100
    assert quality.i2t.mean_rank == quality.t2i.median_rank == 1


@pytest.mark.parametrize("width", [7, 64, 200])
def test_a_collapsed_model_scores_zero_although_its_sums_are_inexact(width: int) -> None:
    row = np.random.default_rng(0).normal(size=width).astype(np.float32)
    row /= np.linalg.norm(row)
    owner = np.repeat(np.arange(60), 5)
    quality = retrieval(np.tile(row, (60, 1)), np.tile(row, (300, 1)), owner, chunk=37).quality()
    assert quality.rsum == 0
    assert quality.i2t.map_r == 0
    assert quality.t2i.mean_rank == 60
    assert quality.i2t.mean_rank == 296  # 295 foreign captions as good, then the first of its own


def test_a_model_whose_images_and_texts_are_orthogonal_scores_zero() -> None:
    generator = np.random.default_rng(4)
    image, text = np.linalg.qr(generator.normal(size=(50, 2)))[0].T
    owner = np.arange(70)
    assert retrieval(np.tile(image, (70, 1)), np.tile(text, (70, 1)), owner, chunk=33).quality().rsum == 0


def test_embeddings_that_differ_by_less_than_float32_resolves_are_ties() -> None:
    row = np.random.default_rng(1).normal(size=32)
    images = row + 1e-12 * np.random.default_rng(2).normal(size=(30, 32))
    assert retrieval(images, images, np.arange(30)).quality().rsum == 0


def test_an_image_without_captions_stands_in_the_gallery_but_asks_nothing() -> None:
    images = np.asarray([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    texts = np.asarray([[0.9, 0.1], [0, 1]], np.float32)
    ranks = retrieval(images, texts, np.asarray([1, 2]))
    assert ranks.queries.tolist() == [1, 2]
    assert ranks.text_ranks.tolist() == [2, 1]  # image 0 has no caption and still beats image 1


def test_order_of_the_captions_does_not_matter() -> None:
    generator = np.random.default_rng(5)
    images, texts = generator.normal(size=(8, 4)), generator.normal(size=(20, 4))
    owner = generator.integers(0, 8, size=20)
    shuffle = generator.permutation(20)
    plain, shuffled = retrieval(images, texts, owner), retrieval(images, texts[shuffle], owner[shuffle])
    assert shuffled.text_ranks.tolist() == plain.text_ranks[shuffle].tolist()
    assert shuffled.image_ranks.tolist() == plain.image_ranks.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["image", "text"])
def test_an_embedding_that_is_not_finite_is_refused_by_row(side: str, value: float) -> None:
    embeds = {"image": np.ones((4, 3), np.float32), "text": np.ones((4, 3), np.float32)}
    embeds[side][2, 1] = value
    with pytest.raises(ModelError, match=f"1 of 4 {side} embeddings.*row 2"):
        retrieval(embeds["image"], embeds["text"], np.arange(4))


def test_shapes_and_rows_that_do_not_fit_are_refused() -> None:
    images, texts = np.ones((3, 4)), np.ones((5, 4))
    with pytest.raises(DataError, match="width"):
        retrieval(images, np.ones((5, 6)), np.zeros(5, int))
    with pytest.raises(DataError, match="5 text embeddings need as many"):
        retrieval(images, texts, np.zeros(4, int))
    with pytest.raises(DataError, match="caption 3 names image row 3"):
        retrieval(images, texts, np.asarray([0, 1, 2, 3, 0]))
    with pytest.raises(DataError, match="at least one caption"):
        retrieval(images, np.ones((0, 4)), np.zeros(0, int))


def test_fold_mean_is_the_mean_of_the_folds_measured_alone() -> None:
    generator = np.random.default_rng(11)
    images = generator.normal(size=(50, 6))
    owner = np.repeat(np.arange(50), 2)
    texts = images[owner] + 0.8 * generator.normal(size=(100, 6))
    folds: list[ModelQuality] = []
    for fold in range(5):
        mine = np.flatnonzero(owner // 10 == fold)
        folds.append(
            retrieval(images[fold * 10 : fold * 10 + 10], texts[mine], owner[mine] - fold * 10).quality()
        )
    found = fold_mean(images, texts, owner, folds=5)
    for name in ("i2t_r1", "t2i_r5", "t2i_r10", "rsum"):
        assert getattr(found, name) == pytest.approx(np.mean([getattr(q, name) for q in folds]))
    assert found.t2i.mean_rank == pytest.approx(np.mean([q.t2i.mean_rank for q in folds]))
    assert found.rsum > retrieval(images, texts, owner).quality().rsum  # a smaller gallery is easier
    with pytest.raises(DataError, match="50 images do not divide into 7"):
        fold_mean(images, texts, owner, folds=7)


def test_no_block_of_scores_is_larger_than_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    from compressor.evaluate import retrieval as module

    largest = 0
    plain = module._in_steps

    def watched(cosines: np.ndarray) -> np.ndarray:
        nonlocal largest
        largest = max(largest, cosines.size)
        return plain(cosines)

    monkeypatch.setattr(module, "_in_steps", watched)
    generator = np.random.default_rng(0)
    module.retrieval(
        generator.normal(size=(90, 3)), generator.normal(size=(300, 3)), generator.integers(0, 90, 300), 16
    )
    assert largest == 16 * 16
