"""What a BLIP writes: greedy search and beams against search by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BlipForConditionalGeneration

from compressor.recipe.blip import Head
from compressor.students.blip import BlipGenerator
from compressor.students.generator import GenerativeModel
from tests.students.blips import END, PIXELS, TOKENS, Teachers, questions, rows


def test_greedy_search_follows_the_forced_logits(writer: GenerativeModel) -> None:
    written = writer.generator.generate(PIXELS, questions(writer), beams=1, max_length=9)
    asked = questions(writer)
    for row in range(3):
        ids = [2]
        for _ in range(8):
            target = torch.tensor([[*ids, END]])
            logits = writer.generator(PIXELS[[row]], target, rows(asked, [row])).logits
            ids.append(int(logits[0, len(ids) - 1].argmax()))
            if ids[-1] == END:
                break
        expected = [token for token in ids[1:] if token != END]
        assert [token for token in written[row].tolist() if token != 0] == expected


def test_a_beam_as_wide_as_the_vocabulary_finds_the_best_text(writer: GenerativeModel) -> None:
    """Two tokens, every one of which is tried by hand: mean log-probability of what was written."""
    generator = writer.generator
    size = generator.vocabulary.size
    written = generator.generate(PIXELS, questions(writer), beams=size, max_length=3)
    for row in range(3):
        asked = rows(questions(writer), [row])
        pairs = torch.tensor([[2, first, 9] for first in range(1, size)])
        many = [row] * len(pairs)
        asked_often = None if asked is None else asked.expand(len(pairs), -1)
        with torch.no_grad():
            logits = generator(PIXELS[many], pairs, asked_often).logits.double()
        scores = logits.log_softmax(dim=-1)
        best: float = -np.inf
        found: list[int] = []
        for first in range(1, size):
            start = float(scores[first - 1, 0, first])
            if first == END:
                best, found = max((best, found), (start, [END]))
                continue
            second = int(scores[first - 1, 1].argmax())
            mean = (start + float(scores[first - 1, 1, second])) / 2
            best, found = max((best, found), (mean, [first, second]))
        assert [x for x in written[row].tolist() if x != 0] == [x for x in found if x not in (0, END)]


def test_what_is_written_does_not_depend_on_the_batch(writer: GenerativeModel) -> None:
    together = writer.generator.generate(PIXELS, questions(writer), beams=3, max_length=12)
    for row in range(3):
        alone = writer.generator.generate(
            PIXELS[[row]], rows(questions(writer), [row]), beams=3, max_length=12
        )
        assert writer.spell(together[[row]]) == writer.spell(alone)


def test_the_configuration_of_a_model_does_not_change_its_search(
    teachers: Teachers, blip_folders: dict[Head, Path]
) -> None:
    written = teachers("caption").generator.generate(PIXELS)
    own = BlipForConditionalGeneration.from_pretrained(blip_folders["caption"]).eval()
    own.text_decoder.generation_config.update(num_beams=1, max_length=4, repetition_penalty=3.0)
    vocabulary = teachers("caption").generator.vocabulary
    assert torch.equal(BlipGenerator(own, vocabulary).generate(PIXELS), written)


def test_a_text_is_not_shorter_than_asked(writer: GenerativeModel) -> None:
    generator = writer.generator
    assert isinstance(generator, BlipGenerator)
    with torch.no_grad():
        generator.text_decoder.cls.predictions.bias[END] += 100.0
        short = generator.generate(PIXELS, questions(writer), max_length=12)
        long = generator.generate(PIXELS, questions(writer), max_length=12, min_length=6)
    assert (short == 0).all()
    assert ((long != 0).sum(dim=1) >= 5).all()


def test_written_ids_are_spelled_as_words(writer: GenerativeModel) -> None:
    ids = torch.tensor([[TOKENS.index("red"), TOKENS.index("dog"), TOKENS.index("##s"), 0, 0], [0] * 5])
    assert writer.spell(ids) == ["red dogs", ""]


@pytest.mark.parametrize("length", [1, 49])
def test_a_length_the_model_cannot_write_is_refused(writer: GenerativeModel, length: int) -> None:
    with pytest.raises(ValueError, match=f"max_length is {length}"):
        writer.generator.generate(PIXELS, questions(writer), max_length=length)
