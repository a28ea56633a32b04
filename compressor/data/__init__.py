"""Image-text pairs in. `open_pairs` reads any source a recipe can name. Torch-free at import."""

from __future__ import annotations

from typing import assert_never

from compressor.data.pairs import PairSet, RawPairSet, Row
from compressor.data.subset import limited
from compressor.recipe.data import (
    CocoCaptionsData,
    DataSection,
    FolderData,
    HuggingFaceData,
    KarpathyData,
    ScenesData,
    ScenesQuestionsData,
    Split,
    TableData,
    VqaData,
    WebDatasetData,
)

__all__ = ["PairSet", "RawPairSet", "Row", "missing_data", "open_pairs"]


def open_pairs(section: DataSection, split: Split, seed: int = 0) -> PairSet:
    """The rows of one split, at most `data.limit.<split>` of them.

    The limit takes the first rows of a shuffle by `seed`, and keeps them in the source's order. A source of
    questions gives `QuestionPairs`, whose captions are the questions.

    Raises:
        MissingResourceError: files are not where the recipe says.
        DataError: the annotations are malformed, ids repeat, or the split has no rows.
        MissingDependencyError: the source needs an extra that is not installed.
    """
    whole = _open(section, split)
    kept = limited(whole, getattr(section.limit, split), seed)
    if isinstance(section, ScenesQuestionsData | VqaData):
        from compressor.data.question_pairs import QuestionPairs, limited_questions

        assert isinstance(whole, QuestionPairs)
        return limited_questions(whole, kept.rows)
    return kept


def missing_data(section: DataSection) -> list[str]:
    """What is not there, a sentence each: what is missing, where it was looked for, how to get it.

    Reads no annotations. An empty list does not promise that the content is good.
    """
    if isinstance(section, KarpathyData):
        from compressor.data import karpathy

        return karpathy.missing(section)
    if isinstance(section, CocoCaptionsData):
        from compressor.data import coco

        return coco.missing(section)
    if isinstance(section, TableData):
        from compressor.data import table

        return table.missing(section)
    if isinstance(section, FolderData):
        from compressor.data import folder

        return folder.missing(section)
    if isinstance(section, HuggingFaceData):
        from compressor.data import huggingface

        return huggingface.missing(section)
    if isinstance(section, WebDatasetData):
        from compressor.data import webdataset

        return webdataset.missing(section)
    if isinstance(section, VqaData):
        from compressor.data.question_pairs import missing_questions

        return missing_questions(section)
    return []


def _open(section: DataSection, split: Split) -> PairSet:
    if isinstance(section, ScenesData):
        from compressor.data.scenes import ScenesPairs

        return ScenesPairs(section, split)
    if isinstance(section, KarpathyData):
        from compressor.data.karpathy import open_karpathy

        return open_karpathy(section, split)
    if isinstance(section, CocoCaptionsData):
        from compressor.data.coco import open_coco

        return open_coco(section, split)
    if isinstance(section, TableData):
        from compressor.data.table import open_table

        return open_table(section, split)
    if isinstance(section, FolderData):
        from compressor.data.folder import open_folder

        return open_folder(section, split)
    if isinstance(section, HuggingFaceData):
        from compressor.data.huggingface import open_huggingface

        return open_huggingface(section, split)
    if isinstance(section, WebDatasetData):
        from compressor.data.webdataset import open_webdataset

        return open_webdataset(section, split)
    if isinstance(section, ScenesQuestionsData | VqaData):
        from compressor.data.question_pairs import open_questions

        return open_questions(section, split)
    assert_never(section)
