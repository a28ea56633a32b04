"""What an exported model is compared with its original on: given pictures and texts, or drawn scenes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from compressor.data import open_pairs
from compressor.data.bad import BadSamples
from compressor.data.pairs import PairSet
from compressor.errors import BadImageError, DataError
from compressor.export.samples import CalibrationSamples, ParitySamples
from compressor.export.writer_samples import WriterSamples
from compressor.pipeline.exporting.request import ExportRequest
from compressor.recipe.data import DataSection, QuestionsData, ScenesData, ScenesQuestionsData
from compressor.students.encoder import Model
from compressor.students.generator import GenerativeModel

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
RECALL_IMAGES = 1000
"""Pictures on which Recall@K is compared, at most."""
DRAWN = "drawn scenes, because no data were given (--data or --images compares it on yours)"
_SMALLEST, _LARGEST = 32, 512  # sides of a drawn scene


@dataclass(frozen=True)
class Samples:
    """Pictures with texts that belong together (`pairs`), or only stand beside each other; and in words what
    they are."""

    pairs: PairSet
    kept: list[int]
    related: bool
    about: str


def open_samples(request: ExportRequest, image_size: int, asks: bool, progress: Progress) -> Samples:
    """The rows to compare on, those that decode: of the request's data, or drawn.

    `asks`: the model answers questions. Raises `DataError` for questions where captions are needed and the
    other way round, and as `open_pairs` does.
    """
    section, count = request.recipe.data, request.recipe.export.parity.samples
    if section is None:
        drawn = _drawn(image_size, count, asks)
        return Samples(open_pairs(drawn, "val"), list(range(count)), False, DRAWN)
    if asks != isinstance(section, QuestionsData):
        needs = "questions (kind scenes_questions or vqa)" if asks else "captions, not questions"
        raise DataError(f"this model is compared on pictures with {needs}; data.kind is {section.kind}")
    pairs = open_pairs(section, request.split)
    kept = _decodable(pairs, max(count, RECALL_IMAGES), section.max_bad_fraction, progress)
    return Samples(pairs, kept, True, f"{len(kept)} images of {section.kind}, {request.split}")


def parity_samples(model: Model, samples: Samples, count: int) -> tuple[ParitySamples, str]:
    """For a dual encoder, with what is to be said of them. Recall@K is left out where texts are not the
    pictures' own."""
    if any(samples.pairs.rows[index].captions for index in samples.kept):
        found = ParitySamples.of_pairs(
            samples.pairs, samples.kept, model.preprocessor, count, recall_images=RECALL_IMAGES
        )
        return (found if samples.related else replace(found, recall=None)), samples.about
    shown = min(count, len(samples.kept))
    kept = [samples.kept[step * len(samples.kept) // shown] for step in range(shown)]
    if len(kept) < 2:
        raise DataError(f"an exported model is compared on two images at least, there are {len(kept)}")
    scenes = open_pairs(_drawn(_SMALLEST, count, asks=False), "val")
    texts = ParitySamples.of_pairs(scenes, range(count), model.preprocessor, count, recall_images=2)
    pixels = model.preprocessor.images([samples.pairs.image(index) for index in kept])
    about = f"{samples.about}, without captions: texts are those of drawn scenes, Recall@K is not compared"
    return ParitySamples(pixels, texts.input_ids), about


def writer_samples(model: GenerativeModel, samples: Samples, count: int) -> WriterSamples:
    """For a model that writes: pictures with captions, or with questions and answers."""
    return WriterSamples.of_pairs(samples.pairs, samples.kept, model, count)


def calibration_samples(request: ExportRequest, model: Model) -> CalibrationSamples | str | None:
    """Training pairs for static int8, or the reason why the data that were given have none, so that only this
    precision is not made. None where no data are given: scenes do not show what photos reach."""
    section, export = request.recipe.data, request.recipe.export
    if section is None or "int8_static" not in export.precisions or isinstance(section, QuestionsData):
        return None
    try:
        pairs = open_pairs(section, "train")
        if not any(row.captions for row in pairs.rows):
            return f"{request.given} has no captions, which int8_static is calibrated on"
        return CalibrationSamples.of_pairs(pairs, model.preprocessor, export.calibration.samples)
    except DataError as error:  # names folders of this machine, which no bundle does
        log.warning("%s", error)
        return f"{request.given} has no training pairs that int8_static could be calibrated on"


def _drawn(image_size: int, count: int, asks: bool) -> DataSection:
    size = min(max(image_size, _SMALLEST), _LARGEST)
    if asks:
        return ScenesQuestionsData(kind="scenes_questions", image_size=size, val=count)
    return ScenesData(kind="scenes", image_size=size, val=count)


def _decodable(pairs: PairSet, most: int, max_bad_fraction: float, progress: Progress) -> list[int]:
    """At most `most` rows, spread evenly, whose pictures decode."""
    count = min(most, len(pairs.rows))
    bad = BadSamples(count, max_bad_fraction, log)
    kept = []
    for step in range(count):
        index = step * len(pairs.rows) // count
        try:
            pairs.image(index)
            kept.append(index)
        except BadImageError as error:
            bad.add(pairs.rows[index].id, error.reason)
        progress(step + 1, count)
    return kept


def asks_questions(model: Model | GenerativeModel) -> bool:
    """True for a model that answers questions."""
    return isinstance(model, GenerativeModel) and model.generator.head == "vqa"
