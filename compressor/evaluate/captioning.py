"""Captions scored as the field scores them: BLEU, METEOR, ROUGE-L, CIDEr and SPICE by pycocoevalcap.

The protocol is COCO's (arXiv 1504.00325): captions are tokenised by the Stanford PTB tokeniser, one generated
caption an image is compared with all reference captions of that image. A metric that cannot be computed here
says why; nothing is approximated, and no other tokeniser takes the place of the missing one. Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from compressor.errors import DataError
from compressor.evaluate.caption_programs import (
    Programs,
    find_programs,
    import_scorer,
    meteor,
    spice,
    tokenise,
)
from compressor.evaluate.java import NotAvailableError
from compressor.evaluate.resampling import SummedFigure, mean_of_units, resampled_interval
from compressor.files import hash_json
from compressor.report.results import Interval

Floats = npt.NDArray[np.float64]
Metric = Literal["bleu", "meteor", "rouge_l", "cider", "spice"]

METRICS: tuple[Metric, ...] = get_args(Metric)
FIGURES: Mapping[Metric, tuple[str, ...]] = MappingProxyType(
    {
        "bleu": ("bleu_1", "bleu_2", "bleu_3", "bleu_4"),
        "meteor": ("meteor",),
        "rouge_l": ("rouge_l",),
        "cider": ("cider",),
        "spice": ("spice",),
    }
)
"""The figures that each metric gives."""
LABELS: Mapping[str, str] = MappingProxyType(
    {name: name.upper().replace("_", "-") for names in FIGURES.values() for name in names}
    | {"cider": "CIDEr"}
)
"""The figures as the field writes them."""

_ORDERS = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure in the field's scale (times 100), or the sentence that says why there is none.

    `per_caption` (N,), also times 100, are the package's scores of single captions. Their mean is the figure
    for ROUGE-L, CIDEr and SPICE; BLEU and METEOR are computed from counts summed over the corpus, and the
    mean of their per-caption scores is another number. `statistics` (N, S) and `of_sums`, which makes figures
    (R,) of resampled sums of them (R, S), are what an interval needs.
    """

    value: float | None
    unavailable: str | None = None
    per_caption: Floats | None = None
    statistics: Floats | None = None
    of_sums: Callable[[Floats], Floats] | None = None

    def interval(self, resamples: int = 1000, seed: int = 0) -> Interval | None:
        """95 % bootstrap interval over images; None for METEOR and for what is not available.

        CIDEr's weights of words stay those of all references, as a retrieval gallery stays the full one.
        METEOR has none: its corpus figure is no function of sums over captions that the program tells.
        """
        if self.statistics is None or self.of_sums is None:
            return None
        return resampled_interval(self.statistics, self.of_sums, resamples, seed)


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """The figures by name (`FIGURES`), over the images `ids` in this order."""

    ids: tuple[str, ...]
    figures: Mapping[str, Figure]

    def summed(self, name: str) -> SummedFigure | None:
        """What resampling needs of one figure; None for METEOR and for what is not available."""
        figure = self.figures[name]
        if figure.statistics is None or figure.of_sums is None:
            return None
        return SummedFigure(hash_json(self.ids), figure.statistics, figure.of_sums)


def caption_metrics(
    generated: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    metrics: Sequence[Metric] = METRICS,
) -> CaptionScores:
    """Score one generated caption an image against the image's reference captions.

    Any strings are accepted as captions. References without a word are left out; a generated caption without
    a word scores nothing. Both mappings are by image and must name the same images.

    Raises:
        DataError: an image has no generated caption, none to compare with, or there are no images at all.
        ValueError: a metric of another name.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise ValueError(f"there is no caption metric {metric!r}; there are {', '.join(METRICS)}")
    _check_same_images(generated, references)
    ids = tuple(generated)
    try:
        corpus = _Corpus.of(ids, generated, references)
    except NotAvailableError as error:
        return CaptionScores(ids, {name: _missing(name, error) for m in metrics for name in FIGURES[m]})
    figures: dict[str, Figure] = {}
    for metric in metrics:
        try:
            figures |= _SCORERS[metric](corpus)
        except NotAvailableError as error:
            figures |= {name: _missing(name, error) for name in FIGURES[metric]}
    return CaptionScores(ids, figures)


def difference_interval(
    first: Figure, second: Figure, resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """95 % interval of first - second on the same resamples (paired); None where one has no interval.

    Both must be the same figure of the same images in the same order.
    """
    return _paired_interval(first, second, np.subtract, resamples, seed)


def ratio_interval(first: Figure, second: Figure, resamples: int = 1000, seed: int = 0) -> Interval | None:
    """95 % interval of first / second, as `difference_interval`; None also where second falls to zero."""
    return _paired_interval(first, second, _divided, resamples, seed)


def _paired_interval(
    first: Figure,
    second: Figure,
    compare: Callable[[Floats, Floats], Floats],
    resamples: int,
    seed: int,
) -> Interval | None:
    if (
        first.statistics is None
        or second.statistics is None
        or first.of_sums is None
        or second.of_sums is None
    ):
        return None
    if first.statistics.shape != second.statistics.shape:
        raise DataError("two models can only be compared on the same captions; not across different ones")
    one, other, width = first.of_sums, second.of_sums, first.statistics.shape[1]
    return resampled_interval(
        np.hstack([first.statistics, second.statistics]),
        lambda sums: compare(one(sums[:, :width]), other(sums[:, width:])),
        resamples,
        seed,
    )


def _divided(values: Floats, by: Floats) -> Floats:
    return np.divide(values, by, out=np.full(len(by), np.nan, np.float64), where=by > 0)


@dataclass(frozen=True, slots=True)
class _Corpus:
    """Tokenised captions, and the programs that tokenised them."""

    programs: Programs
    generated: list[str]
    references: list[list[str]]

    @classmethod
    def of(
        cls, ids: Sequence[str], generated: Mapping[str, str], references: Mapping[str, Sequence[str]]
    ) -> _Corpus:
        programs = find_programs()
        told = [generated[name] for name in ids]
        tokens = tokenise(programs, told + [text for name in ids for text in references[name]])
        rest = iter(tokens[len(ids) :])
        kept = []
        for name in ids:
            kept.append([text for text in (next(rest) for _ in references[name]) if text])
            if not kept[-1]:
                raise DataError(f"no reference caption of the image {name!r} holds a word")
        return cls(programs, tokens[: len(ids)], kept)

    def for_package(self) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
        """References and generated captions as the package's scorers take them."""
        return dict(enumerate(self.references)), {k: [text] for k, text in enumerate(self.generated)}


def _bleu(corpus: _Corpus) -> dict[str, Figure]:
    scorer = import_scorer("bleu.bleu_scorer").BleuScorer(n=_ORDERS)
    for caption, references in zip(corpus.generated, corpus.references, strict=True):
        scorer += (caption, references)
    values, per_caption = scorer.compute_score(option="closest", verbose=0)
    counts = np.array([_bleu_counts(comparison) for comparison in scorer.ctest], np.float64)
    return {
        name: Figure(
            100.0 * values[k],
            per_caption=100.0 * np.array(per_caption[k]),
            statistics=counts,
            of_sums=partial(_bleu_of, order=k + 1),
        )
        for k, name in enumerate(FIGURES["bleu"])
    }


def _bleu_counts(comparison: Mapping[str, Any]) -> list[int]:
    """Words of the caption and of the reference nearest in length, then n-grams by order: shared, and all."""
    words = comparison["testlen"]
    nearest = min(comparison["reflen"], key=lambda length: (abs(length - words), length))
    return [words, nearest, *comparison["correct"], *comparison["guess"]]


def _bleu_of(sums: Floats, order: int) -> Floats:
    """Corpus BLEU, times 100, from counts summed over captions (R, 10) (Papineni et al. 2002, section 2.3).

    The guards against zero are the package's.
    """
    shared, there = sums[:, 2 : 2 + order], sums[:, 2 + _ORDERS : 2 + _ORDERS + order]
    precision = np.prod((shared + 1e-15) / (there + 1e-9), axis=1) ** (1.0 / order)
    ratio = (sums[:, 0] + 1e-15) / (sums[:, 1] + 1e-9)
    return 100.0 * precision * np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))


def _meteor(corpus: _Corpus) -> dict[str, Figure]:
    value, per_caption = meteor(corpus.programs, corpus.generated, corpus.references)
    return {"meteor": Figure(100.0 * value, per_caption=100.0 * np.array(per_caption))}


def _rouge_l(corpus: _Corpus) -> dict[str, Figure]:
    _, per_caption = import_scorer("rouge.rouge").Rouge().compute_score(*corpus.for_package())
    return {"rouge_l": _mean_figure(per_caption)}


def _cider(corpus: _Corpus) -> dict[str, Figure]:
    if len(corpus.generated) < 2:
        raise NotAvailableError(
            "CIDEr weighs words by how few images have them, and needs two images at least"
        )
    _, per_caption = import_scorer("cider.cider").Cider().compute_score(*corpus.for_package())
    return {"cider": _mean_figure(per_caption)}


def _spice(corpus: _Corpus) -> dict[str, Figure]:
    _, per_caption = spice(corpus.programs, corpus.generated, corpus.references)
    return {"spice": _mean_figure(per_caption)}


_SCORERS: Mapping[Metric, Callable[[_Corpus], dict[str, Figure]]] = MappingProxyType(
    {"bleu": _bleu, "meteor": _meteor, "rouge_l": _rouge_l, "cider": _cider, "spice": _spice}
)


def _mean_figure(per_caption: Sequence[float] | Floats) -> Figure:
    scores = 100.0 * np.asarray(per_caption, np.float64)
    statistics = np.stack([scores, np.ones_like(scores)], axis=1)
    return Figure(float(scores.mean()), per_caption=scores, statistics=statistics, of_sums=mean_of_units)


def _missing(name: str, error: NotAvailableError) -> Figure:
    return Figure(None, unavailable=f"{LABELS[name]} is not available here: {error}.")


def _check_same_images(generated: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    if not generated and not references:
        raise DataError("caption metrics need at least one image; there is none")
    for name in references:
        if name not in generated:
            raise DataError(f"the image {name!r} has reference captions, but no generated caption")
    for name in generated:
        if not references.get(name):
            raise DataError(f"the image {name!r} has a generated caption, but no reference captions")
        if isinstance(references[name], str):
            raise DataError(f"the reference captions of the image {name!r} are a string, not a list of them")
