"""Caption metrics: the field's programs, and examples worked out by hand.

Needs what the metrics need: pycocoevalcap and a Java runtime.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from compressor.errors import DataError
from compressor.evaluate import captioning
from compressor.evaluate.captioning import (
    FIGURES,
    LABELS,
    METRICS,
    CaptionScores,
    Metric,
    caption_metrics,
    difference_interval,
)
from tests.evaluate.captions import GENERATED, REFERENCES

AWKWARD = {
    "a line\r\nbreak\x0b here\u2028and\x85there": "a line break here and there",
    "a dog \U0001f600 on a beach \ud83d": "a dog on a beach",
    "a dog ||| on ||| a beach": "a dog | | | on | | | a beach",
    "a dog \0 on a beach\n": "a dog on a beach",
    " ... ! ?": "",
    "": "",
}
"""Captions that break a protocol of lines, and ordinary ones that must score the same."""
TAGGED = {"tag": "a dog <a href='q|||r'> on a beach", "blank tag": "a dog <a href='q r'> on a beach"}
"""The tokeniser leaves a tag whole, and with it what parts the captions of a METEOR line."""
LONG = "a man and a dog walk on the beach " * 40
FAST: tuple[Metric, ...] = ("bleu", "rouge_l", "cider")


@pytest.fixture(scope="module")
def scores() -> CaptionScores:
    """All metrics but SPICE over ordinary and awkward captions; METEOR starts once for this file."""
    generated, references = dict(GENERATED), dict(REFERENCES)
    for number, captions in enumerate(AWKWARD.items()):
        for name, caption in zip(("odd", "plain"), captions, strict=True):
            generated[f"{name} {number}"] = caption
            references[f"{name} {number}"] = ["a dog on a beach", "there is a line\nof dogs ||| here"]
    for name, caption in TAGGED.items():
        generated[name], references[name] = caption, ["a dog on a beach", "dogs"]
    generated["long"], references["long"] = LONG, ["a man and a dog", "...", "people on the beach"]
    return caption_metrics(generated, references, ("bleu", "meteor", "rouge_l", "cider"))


def test_figures_are_those_of_the_packages_own_tokeniser_and_scorers() -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    gts = tokenizer.tokenize({k: [{"caption": text} for text in v] for k, v in REFERENCES.items()})
    res = tokenizer.tokenize({k: [{"caption": v}] for k, v in GENERATED.items()})
    ours = caption_metrics(GENERATED, REFERENCES, FAST).figures
    bleu, bleu_each = Bleu(4).compute_score(gts, res, verbose=0)
    for order in range(4):
        assert ours[f"bleu_{order + 1}"].value == pytest.approx(100 * bleu[order], rel=1e-12)
        assert ours[f"bleu_{order + 1}"].per_caption == pytest.approx(100 * np.array(bleu_each[order]))
    for name, scorer in (("cider", Cider()), ("rouge_l", Rouge())):
        value, each = scorer.compute_score(gts, res)
        assert ours[name].value == pytest.approx(100 * value, rel=1e-12)
        assert ours[name].per_caption == pytest.approx(100 * each, rel=1e-12)


def test_meteor_is_what_the_packages_own_wrapper_said(scores: CaptionScores) -> None:
    """Recorded from pycocoevalcap 1.2's `Meteor` on the five ordinary captions."""
    each = scores.figures["meteor"].per_caption
    assert each is not None
    assert each[:5] == pytest.approx(RECORDED_METEOR, rel=1e-12)


RECORDED_METEOR = [89.0909090909091, 39.58413635160436, 17.391304347826086, 28.915662650602407, 100.0]


def test_bleu_by_hand() -> None:
    # 8 of 9 words; 5 of the 7 pairs of words; the nearest references have 4 and 5 words, as the captions.
    generated = {"x": "the cat sat down", "y": "a dog is running fast"}
    references = {"x": ["the cat sat here", "one two three four five six"], "y": ["a dog is running fast"]}
    figures = caption_metrics(generated, references, ["bleu"]).figures
    assert figures["bleu_1"].value == pytest.approx(100 * 8 / 9, rel=1e-6)
    assert figures["bleu_2"].value == pytest.approx(100 * math.sqrt(8 / 9 * 6 / 7), rel=1e-6)
    assert set(figures) == set(FIGURES["bleu"])


def test_brevity_costs() -> None:
    figures = caption_metrics({"x": "a cat"}, {"x": ["a cat on the sofa"]}, ["bleu"]).figures
    assert figures["bleu_1"].value == pytest.approx(100 * math.exp(1 - 5 / 2), rel=1e-6)


def cider_of(generated: list[str], references: list[list[str]]) -> list[float]:
    """CIDEr-D from its definition (arXiv 1411.5726, section 4): words in, scores times 100 out."""

    def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
        words = text.split()
        return Counter(tuple(words[k : k + n]) for k in range(len(words) - n + 1))

    scores = []
    for caption, mine in zip(generated, references, strict=True):
        total = 0.0
        for n in (1, 2, 3, 4):
            for reference in mine:
                weighed = []
                for text in (caption, reference):
                    vector = {}
                    for gram, count in grams(text, n).items():
                        having = sum(any(gram in grams(r, n) for r in other) for other in references)
                        vector[gram] = count * (math.log(len(references)) - math.log(max(1, having)))
                    weighed.append(vector)
                one, other = weighed
                dot = sum(
                    min(weight, other.get(gram, 0.0)) * other.get(gram, 0.0) for gram, weight in one.items()
                )
                norm = math.sqrt(sum(w * w for w in one.values()) * sum(w * w for w in other.values()))
                apart = sum(grams(caption, 2).values()) - sum(grams(reference, 2).values())
                if norm > 0:
                    total += dot / norm * math.exp(-(apart**2) / (2 * 6.0**2)) / len(mine)
        scores.append(100 * 10 * total / 4)
    return scores


def test_cider_is_its_definition() -> None:
    generated = {"x": "a red bus on a road", "y": "a dog plays on grass", "z": "the sea"}
    references = {
        "x": ["a red bus on the road", "one big red bus"],
        "y": ["two dogs play on grass", "a dog on a lawn", "a dog plays"],
        "z": ["a dog swims in the blue sea", "waves on the sea at night"],
    }
    figure = caption_metrics(generated, references, ["cider"]).figures["cider"]
    expected = cider_of(list(generated.values()), list(references.values()))
    assert figure.per_caption == pytest.approx(expected, rel=1e-9)
    assert figure.value == pytest.approx(np.mean(expected), rel=1e-9)


def test_a_caption_that_is_a_reference_has_full_marks(scores: CaptionScores) -> None:
    position = scores.ids.index("e")
    for name in ("bleu_1", "bleu_4", "meteor", "rouge_l"):
        each = scores.figures[name].per_caption
        assert each is not None
        assert each[position] == pytest.approx(100.0, rel=1e-6)


def test_awkward_captions_score_as_their_plain_forms_and_disturb_no_other(scores: CaptionScores) -> None:
    for name, figure in scores.figures.items():
        each = figure.per_caption
        assert each is not None
        assert len(each) == len(scores.ids)
        assert np.isfinite(each).all()
        for number in range(len(AWKWARD)):
            odd, plain = (each[scores.ids.index(f"{kind} {number}")] for kind in ("odd", "plain"))
            assert odd == plain, (name, number)
        for number, caption in enumerate(AWKWARD.values()):
            if not caption:
                assert each[scores.ids.index(f"odd {number}")] == 0.0


def test_a_tag_does_not_part_a_caption(scores: CaptionScores) -> None:
    each = scores.figures["meteor"].per_caption
    assert each is not None
    assert each[scores.ids.index("tag")] == each[scores.ids.index("blank tag")] > 0


def test_corpus_figures_are_means_only_where_the_metric_is_one(scores: CaptionScores) -> None:
    for name, figure in scores.figures.items():
        assert figure.value is not None
        assert figure.per_caption is not None
        is_mean = figure.value == pytest.approx(float(np.mean(figure.per_caption)), rel=1e-9)
        assert is_mean == (name in ("rouge_l", "cider"))


def test_resampled_bleu_is_the_bleu_of_the_resampled_captions(scores: CaptionScores) -> None:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    # These captions are their own tokens.
    generated = ["a man on a horse", "two dogs", "a b c d e f", ""]
    references = [["a man rides a horse"], ["two big dogs", "dogs"], ["a b c d", "x a b c d e f g"], ["a"]]
    figures = caption_metrics(
        {str(k): text for k, text in enumerate(generated)},
        {str(k): texts for k, texts in enumerate(references)},
        ["bleu"],
    ).figures
    generator = np.random.default_rng(0)
    for _ in range(20):
        drawn = generator.multinomial(4, [0.25] * 4)
        scorer = BleuScorer(n=4)
        for number, times in enumerate(drawn):
            for _ in range(times):
                scorer += (generated[number], references[number])
        expected, _ = scorer.compute_score(option="closest")
        for order in range(4):
            figure = figures[f"bleu_{order + 1}"]
            assert figure.statistics is not None
            assert figure.of_sums is not None
            value = figure.of_sums((drawn @ figure.statistics)[None])
            assert value == pytest.approx([100 * expected[order]], rel=1e-9)


def test_intervals_hold_their_figure_and_meteor_has_none(scores: CaptionScores) -> None:
    for name, figure in scores.figures.items():
        interval = figure.interval(200)
        if name == "meteor":
            assert interval is None
        else:
            assert interval is not None
            assert figure.value is not None
            assert interval.low < figure.value < interval.high
            assert figure.interval(200) == interval


def test_two_models_are_compared_on_the_same_captions() -> None:
    worse = GENERATED | {"e": "a cat sleeps"}
    first = caption_metrics(GENERATED, REFERENCES, FAST).figures
    second = caption_metrics(worse, REFERENCES, FAST).figures
    for name in ("bleu_1", "rouge_l", "cider"):
        same, paired = (difference_interval(first[name], other[name], 200) for other in (first, second))
        assert same is not None
        assert (same.low, same.high) == (0.0, 0.0)
        assert paired is not None
        assert paired.low == pytest.approx(0.0, abs=1e-9)
        assert paired.high > 1.0
    alone = caption_metrics({"a": "a"}, {"a": ["a"]}, ["bleu"]).figures["bleu_1"]
    with pytest.raises(DataError, match="same captions"):
        difference_interval(first["bleu_1"], alone)
    missing = captioning.Figure(None, unavailable="why")
    assert difference_interval(first["bleu_1"], missing) is None


def test_cider_of_one_image_does_not_exist() -> None:
    figures = caption_metrics({"a": "a cat"}, {"a": ["a cat"]}, FAST).figures
    assert figures["cider"].value is None
    assert str(figures["cider"].unavailable).endswith("needs two images at least.")
    assert figures["rouge_l"].value == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("generated", "references", "message"),
    [
        ({}, {}, "at least one image"),
        ({"a": "x"}, {"a": ["x"], "b": ["y"]}, "'b' has reference captions, but no generated caption"),
        ({"a": "x", "b": "y"}, {"a": ["x"]}, "'b' has a generated caption, but no reference captions"),
        ({"a": "x"}, {"a": []}, "'a' has a generated caption, but no reference captions"),
        ({"a": "x"}, {"a": "x"}, "'a' are a string, not a list"),
        ({"a": "x"}, {"a": ["...", " ", ""]}, "no reference caption of the image 'a' holds a word"),
    ],
)
def test_captions_that_cannot_be_compared_are_refused(
    generated: dict[str, str], references: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        caption_metrics(generated, references, FAST)


def test_a_metric_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no caption metric 'clip'; there are bleu, meteor"):
        caption_metrics(GENERATED, REFERENCES, ["clip"])  # type: ignore[list-item]


def test_the_metrics_by_name() -> None:
    assert METRICS == ("bleu", "meteor", "rouge_l", "cider", "spice")
    assert [LABELS[name] for names in FIGURES.values() for name in names] == (
        ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "SPICE"]
    )
