"""VQA v2's own JSON: a file of questions, a file of people's answers, a folder of COCO's images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from compressor.data.files import (
    FilePairs,
    path_inside,
    read_annotations,
    refuse_absent_images,
    refuse_duplicates,
    typed,
)
from compressor.data.pairs import Row
from compressor.data.questions import QuestionRow, QuestionSet
from compressor.errors import DataError, MissingResourceError
from compressor.files import hash_json
from compressor.preprocess.text import mend_surrogates
from compressor.recipe.data import Split

__all__ = ["QuestionFiles", "QuestionRow", "QuestionSet", "VqaFiles", "missing", "official_files", "open_vqa"]

_HELP = "questions and answers are at https://visualqa.org/download.html, images at https://cocodataset.org"
_SUBSETS: Mapping[Split, str] = MappingProxyType({"train": "train2014", "val": "val2014", "test": "test2015"})


@dataclass(frozen=True, slots=True)
class VqaFiles:
    """Where one split lies.

    `annotations` are None where the answers are kept secret. `image_name` makes a file name below `images` of
    COCO's image id, by the rules of `str.format`: "COCO_val2014_{image_id:012d}.jpg".
    """

    questions: Path
    annotations: Path | None
    images: Path
    image_name: str


def official_files(root: Path, split: Split) -> VqaFiles:
    """The names that the official downloads unpack to, all below `root`; test has no annotations."""
    subset = _SUBSETS[split]
    return VqaFiles(
        questions=root / f"v2_OpenEnded_mscoco_{subset}_questions.json",
        annotations=None if split == "test" else root / f"v2_mscoco_{subset}_annotations.json",
        images=root / subset,
        image_name=f"COCO_{subset}_{{image_id:012d}}.jpg",
    )


class QuestionFiles:
    """Questions whose images are files (a `QuestionSet`)."""

    def __init__(
        self, split: str, rows: Sequence[QuestionRow], paths: Mapping[str, Path], *, source: str
    ) -> None:
        """`paths` are by image id. `source` says where images come from; it is part of the fingerprint."""
        self.split = split
        self.rows = rows
        self._position = {image_id: position for position, image_id in enumerate(paths)}
        self._images = FilePairs(
            split, [Row(image_id) for image_id in paths], list(paths.values()), source=source
        )
        asked = [[row.id, row.image_id, row.question, row.answers] for row in rows]
        self.fingerprint = hash_json([self._images.fingerprint, asked])

    def image(self, index: int) -> Image.Image:
        """The image of row `index` as RGB. Raises `BadImageError` where it cannot be read or decoded."""
        return self._images.image(self._position[self.rows[index].image_id])


def open_vqa(files: VqaFiles, split: str) -> QuestionFiles:
    """The questions of one split in the file's order. Row ids are `question_id`, image ids `image_id`.

    Raises:
        MissingResourceError: a file or the images are not there.
        DataError: a file is malformed (file and position), ids repeat, questions and annotations do not
            belong together, or there are no questions.
    """
    absent = missing(files)
    if absent:
        raise MissingResourceError(" ".join(absent))
    source = str(files.questions)
    questions = _by_id(files.questions, "questions")
    answered = None if files.annotations is None else _by_id(files.annotations, "annotations")
    if answered is not None:
        _check_same_questions(questions, answered, files)
    rows: list[QuestionRow] = []
    paths: dict[str, Path] = {}
    for name, (where, entry) in questions.items():
        image = typed(entry.get("image_id"), (int, str), where, "`image_id`")
        text = mend_surrogates(typed(entry.get("question"), str, where, "`question`")).strip()
        facts = {} if answered is None else _answers(*answered[name], image)
        rows.append(QuestionRow(name, str(image), text, **facts))
        if str(image) not in paths:
            paths[str(image)] = path_inside(files.images, _image_name(files.image_name, image, where), where)
    if not rows:
        raise DataError(f"{source}: there are no questions")
    refuse_absent_images(list(paths.values()), source, _HELP)
    return QuestionFiles(split, rows, paths, source=f"vqa {files.images}")


def missing(files: VqaFiles) -> list[str]:
    """What is not there, a sentence each."""
    found = []
    for what, path in (("questions", files.questions), ("annotations", files.annotations)):
        if path is not None and not path.exists():
            found.append(f"The {what} are missing: looked for {path}; {_HELP}.")
    if not files.images.is_dir():
        found.append(f"The images are missing: looked for the folder {files.images}; {_HELP}.")
    return found


def _by_id(path: Path, field: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Where an entry stands and the entry, by its question id."""
    listed = typed(
        typed(read_annotations(path), dict, str(path), "the content").get(field),
        list,
        str(path),
        f"`{field}`",
    )
    entries = list(_entries(listed, f"{path}: {field}"))
    refuse_duplicates((name for name, _, _ in entries), "the question id", str(path))
    return {name: (where, entry) for name, where, entry in entries}


def _entries(listed: list[Any], where: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for position, entry in enumerate(listed):
        place = f"{where}[{position}]"
        entry = typed(entry, dict, place, "the entry")
        yield str(typed(entry.get("question_id"), (int, str), place, "`question_id`")), place, entry


def _check_same_questions(questions: Mapping[str, Any], answered: Mapping[str, Any], files: VqaFiles) -> None:
    for name in questions:
        if name not in answered:
            raise DataError(
                f"{files.annotations}: there are no answers to the question {name!r} of {files.questions}"
            )
    for name in answered:
        if name not in questions:
            raise DataError(f"{files.annotations}: there is no question {name!r} in {files.questions}")


def _answers(where: str, entry: dict[str, Any], image: int | str) -> dict[str, Any]:
    """Answers and types of an annotation. A type that the file does not tell is that of `QuestionRow`."""
    if entry.get("image_id", image) != image:
        raise DataError(f"{where}: its image is {entry['image_id']!r}, that of its question {image!r}")
    listed = typed(entry.get("answers"), list, where, "`answers`")
    if not listed:
        raise DataError(f"{where}: `answers` is empty")
    told = []
    for number, answer in enumerate(listed):
        place = f"{where}.answers[{number}]"
        text = typed(typed(answer, dict, place, "the answer").get("answer"), str, place, "`answer`")
        told.append(mend_surrogates(text))
    facts: dict[str, Any] = {"answers": tuple(told)}
    for field in ("answer_type", "question_type"):
        if field in entry:
            facts[field] = typed(entry[field], str, where, f"`{field}`")
    return facts


def _image_name(pattern: str, image: int | str, where: str) -> str:
    try:
        return pattern.format(image_id=image)
    except (ValueError, LookupError, AttributeError) as error:
        raise DataError(
            f"{where}: the image name {pattern!r} cannot be made of the image id {image!r}: {error}"
        ) from error
