"""Rows of models that write: which text a picture shows, questions by picture, limits and splits."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import decoders

from compressor.data import missing_data, open_pairs
from compressor.data.decoded import DecodedImages
from compressor.data.generation import GenerationSet
from compressor.data.question_pairs import QuestionPairs
from compressor.errors import DataError
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spec import ImageSpec
from compressor.preprocess.text import parse_pipeline
from compressor.preprocess.tokenizers import train_bpe
from compressor.recipe.data import Limit, ScenesData, ScenesQuestionsData, VqaData
from compressor.recipe.training import Augmentation

ASKED = ScenesQuestionsData(
    kind="scenes_questions", image_size=32, train=8, val=3, test=3, per_scene=3, limit=Limit(train=5)
)


def rows_of(folder: Path, pairs: object, prompt: str = "") -> GenerationSet:
    texts = ["a picture of red blue shapes and squares with circles what colour is the it how many yes no"]
    tokenizer, text = train_bpe(texts, 300, 120)
    preprocessor = Preprocessor(
        ImageSpec(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), text, tokenizer
    )
    decoded = DecodedImages.build(pairs, 32, folder / "decoded")  # type: ignore[arg-type]
    return GenerationSet(pairs, decoded, preprocessor, Augmentation(), 0, prompt=prompt)  # type: ignore[arg-type]


def spelled(rows: GenerationSet, ids: np.ndarray) -> list[str]:
    pipeline = parse_pipeline(rows.student.tokenizer.to_json())
    pipeline.decoder = decoders.ByteLevel()
    dropped = {0, 1, 2}  # padding, opening, closing
    return [pipeline.decode([i for i in row if i not in dropped]).strip() for row in ids.tolist()]


def test_a_caption_is_written_behind_its_prompt(tmp_path: Path) -> None:
    pairs = open_pairs(ScenesData(kind="scenes", image_size=32, train=4, val=1, test=1), "train")
    rows = rows_of(tmp_path, pairs, "a picture of")
    batch = rows.batch([2, 0], epoch=1)
    assert batch.target_ids is not None
    told = spelled(rows, batch.target_ids.numpy())
    chosen = [pairs.rows[i].captions[rows.sample_caption(i, 1)] for i in (2, 0)]
    assert told == [f"a picture of {caption}" for caption in chosen]


def test_a_question_has_one_of_its_own_answers(tmp_path: Path) -> None:
    pairs = open_pairs(ASKED, "train")
    assert isinstance(pairs, QuestionPairs)
    rows = rows_of(tmp_path, pairs)
    seen = set()
    for epoch in range(6):
        batch = rows.batch(range(5), epoch)
        assert batch.target_ids is not None
        answers, questions = (spelled(rows, ids.numpy()) for ids in (batch.target_ids, batch.input_ids))
        for i, (answer, question) in enumerate(zip(answers, questions, strict=True)):
            row = pairs.questions[pairs.rows[i].caption_ids[int(batch.caption[i])]]
            assert question == row.question
            assert answer in row.answers
            seen.add((i, question))
    assert len(seen) > 8


def test_answers_are_drawn_as_often_as_people_gave_them(tmp_path: Path) -> None:
    root = write_vqa(tmp_path / "vqa", images=3)
    rows = rows_of(tmp_path, open_pairs(VqaData(kind="vqa", root=root), "test"))
    drawn = Counter(spelled(rows, rows._ids[[rows.target_of(0, 0, e) for e in range(400)]])[0:400])
    assert set(drawn) == {"yes", "no"}
    assert 0.6 < drawn["yes"] / 400 < 0.8  # seven of ten people


def test_limits_count_pictures_and_keep_all_their_questions() -> None:
    whole = open_pairs(ASKED.model_copy(update={"limit": Limit()}), "train")
    part = open_pairs(ASKED, "train")
    assert isinstance(part, QuestionPairs)
    assert [len(whole.rows), len(part.rows)] == [8, 5]
    assert {row.id for row in part.rows} < {row.id for row in whole.rows}
    assert len(part.questions) == 15
    assert part.fingerprint != whole.fingerprint
    places = [[row.id for row in whole.rows].index(row.id) for row in part.rows]
    for k, place in enumerate(places):
        assert part.image(k).tobytes() == whole.image(place).tobytes()


def test_the_training_images_of_vqa_are_shared_out(tmp_path: Path) -> None:
    root = write_vqa(tmp_path, images=6)
    section = VqaData(kind="vqa", root=root, held_out=2)
    train, val, test = (open_pairs(section, split) for split in ("train", "val", "test"))
    assert {row.id for row in train.rows} | {row.id for row in val.rows} == {str(k) for k in range(6)}
    assert [len(val.rows), len(train.rows), len(test.rows)] == [2, 4, 6]
    assert missing_data(section) == []
    with pytest.raises(DataError, match=r"data\.held_out is 6, and there are 6 training images"):
        open_pairs(VqaData(kind="vqa", root=root, held_out=6), "train")
    assert any("questions are missing" in line for line in missing_data(VqaData(kind="vqa", root=root / "x")))


def write_vqa(root: Path, images: int) -> Path:
    """VQA v2 as it unpacks, with grey pictures."""
    for subset in ("train2014", "val2014"):
        (root / subset).mkdir(parents=True)
        asked, answered = [], []
        for k in range(images):
            Image.new("RGB", (40, 32), (10 * k, 20, 30)).save(root / subset / f"COCO_{subset}_{k:012d}.jpg")
            told = [{"answer": "yes"}] * 7 + [{"answer": "no"}] * 3
            asked.append({"question_id": 10 * k, "image_id": k, "question": "is it red?"})
            answered.append({"question_id": 10 * k, "image_id": k, "answers": told, "answer_type": "yes/no"})
        questions = root / f"v2_OpenEnded_mscoco_{subset}_questions.json"
        questions.write_text(json.dumps({"questions": asked}))
        annotations = root / f"v2_mscoco_{subset}_annotations.json"
        annotations.write_text(json.dumps({"annotations": answered}))
    return root


def test_several_texts_of_a_picture_are_different_ones(tmp_path: Path) -> None:
    pairs = open_pairs(ASKED, "train")
    assert isinstance(pairs, QuestionPairs)
    rows = rows_of(tmp_path, pairs)
    alone = rows.batch(range(5), 2)
    rows.texts_per_image = 3
    batch = rows.batch(range(5), 2)
    assert torch.equal(batch.pixels, alone.pixels)
    assert batch.target_ids is not None
    questions = spelled(rows, batch.input_ids.numpy())
    answers = spelled(rows, batch.target_ids.numpy())
    assert torch.equal(batch.input_ids[::3], alone.input_ids)
    for i in range(5):
        own = [pairs.questions[name] for name in pairs.rows[i].caption_ids]
        told = dict(zip(questions[3 * i : 3 * i + 3], answers[3 * i : 3 * i + 3], strict=True))
        assert sorted(told) == sorted(row.question for row in own)
        assert all(told[row.question] in row.answers for row in own)
