"""Models written as the folder of their own library, which loads them and gives the same embeddings."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import tokenizers
import torch
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

from compressor.errors import ModelError
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spec import TextSpec
from compressor.preprocess.text import Tokenizer
from compressor.preprocess.tokenizers import clip_tokenizer
from compressor.recipe.teacher import OpenClipTeacher, TransformersTeacher
from compressor.students.encoder import Model
from compressor.students.inherit import inherit_uniform
from compressor.students.original_format import save_original
from compressor.teachers.comparison import SAMPLE_TEXTS, WORST_TOLERANCE, check_pixels, sample_pictures
from compressor.teachers.load import load_teacher
from tests.students.clips import OPEN_CLIP, SMALL, embeddings, write_transformers
from tests.teachers.conftest import write_open_clip

WITH_OWN_TOKENIZER = OPEN_CLIP | {
    "text_cfg": OPEN_CLIP["text_cfg"]
    | {
        "context_length": 20,
        "vocab_size": 300,
        "hf_tokenizer_name": "somebody/tokenizer",
        "tokenizer_kwargs": {"clean": "lower"},
    }
}


def open_clip_teacher(folder: Path) -> Model:
    return load_teacher(OpenClipTeacher(kind="open_clip", name="tiny", path=folder))


def transformers_teacher(folder: Path) -> Model:
    return load_teacher(TransformersTeacher(kind="transformers", path=folder))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A student out of a transformers teacher."""
    folder = tmp_path_factory.mktemp("clip")
    write_transformers(folder)
    return inherit_uniform(transformers_teacher(folder), SMALL)


def ours(model: Model) -> tuple[Tensor, Tensor]:
    """Embeddings of sample pictures and texts, all preprocessing included."""
    with torch.no_grad():
        image = model.encoder.encode_image(
            torch.from_numpy(model.preprocessor.images(list(sample_pictures())))
        )
        return image, model.encoder.encode_text(torch.from_numpy(model.preprocessor.texts(SAMPLE_TEXTS)))


def with_changes(model: Model, **image: Any) -> Model:
    """The model with another image preprocessing."""
    old = model.preprocessor
    spec = old.image.model_copy(update=image)
    return replace(model, preprocessor=Preprocessor(spec, old.text, old.tokenizer))


def test_open_clip_loads_what_was_written(tmp_path: Path) -> None:
    preprocess = {"resize_mode": "longest", "mean": [0.5, 0.4, 0.3]}
    source = write_open_clip(tmp_path / "teacher", model_cfg=OPEN_CLIP, preprocess=preprocess)
    student = inherit_uniform(open_clip_teacher(source), SMALL)
    save_original(student, tmp_path / "student")
    shutil.rmtree(tmp_path / "teacher")
    own, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'student'}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'student'}")
    image, text = ours(student)
    with torch.no_grad():
        pixels = torch.stack([transform(picture) for picture in sample_pictures()])
        torch.testing.assert_close(
            own.eval().encode_image(pixels, normalize=True), image, atol=1e-4, rtol=1e-3
        )
        torch.testing.assert_close(own.encode_text(tokenize(list(SAMPLE_TEXTS)), normalize=True), text)
    again = open_clip_teacher(tmp_path / "student")
    assert again.fingerprint == student.fingerprint
    assert torch.equal(embeddings(again), embeddings(student))


def test_transformers_loads_what_was_written(clip: Model, tmp_path: Path) -> None:
    save_original(clip, tmp_path / "student")
    own = CLIPModel.from_pretrained(tmp_path / "student")
    processor = CLIPProcessor.from_pretrained(tmp_path / "student")
    inputs = processor(
        text=list(SAMPLE_TEXTS),
        images=list(sample_pictures()),
        return_tensors="pt",
        padding="max_length",
        truncation=True,
    )
    with torch.no_grad():
        output = own.eval()(**inputs)
    image, text = ours(clip)
    torch.testing.assert_close(output.image_embeds, image, atol=2e-3, rtol=1e-2)
    torch.testing.assert_close(output.text_embeds, text, atol=1e-5, rtol=1e-4)
    again = transformers_teacher(tmp_path / "student")
    assert again.preprocessor.image == clip.preprocessor.image
    assert np.array_equal(again.preprocessor.texts(SAMPLE_TEXTS), clip.preprocessor.texts(SAMPLE_TEXTS))
    assert torch.equal(embeddings(again), embeddings(clip))


def test_a_squashing_processor_does_what_the_model_did(clip: Model, tmp_path: Path) -> None:
    model = with_changes(clip, resize="squash", interpolation="bilinear", std=(0.5, 0.5, 0.5))
    save_original(model, tmp_path / "student")
    own = CLIPImageProcessor.from_pretrained(tmp_path / "student")
    worst = check_pixels(
        model.preprocessor.image,
        lambda picture: np.asarray(own(images=picture, return_tensors="np")["pixel_values"])[0],
        "student",
    )
    assert worst <= WORST_TOLERANCE


def test_a_tokenizer_of_its_own_goes_with_an_open_clip_model(
    tokenizer: tuple[Tokenizer, TextSpec], tmp_path: Path
) -> None:
    content = json.loads(tokenizer[0].to_json()) | {"padding": None, "truncation": None}
    pipeline = tokenizers.Tokenizer.from_str(json.dumps(content))
    source = write_open_clip(tmp_path / "teacher", model_cfg=WITH_OWN_TOKENIZER)
    PreTrainedTokenizerFast(tokenizer_object=pipeline, pad_token="[PAD]").save_pretrained(source)
    student = inherit_uniform(open_clip_teacher(source), SMALL)
    save_original(student, tmp_path / "student")
    shutil.rmtree(source)
    again = open_clip_teacher(tmp_path / "student")
    texts = [*SAMPLE_TEXTS, "A large STAR... &lt;3"]
    assert np.array_equal(again.preprocessor.texts(texts), student.preprocessor.texts(texts))
    kept = PreTrainedTokenizerFast.from_pretrained(tmp_path / "student")
    assert (kept.pad_token, kept.eos_token) == ("[PAD]", "[EOS]")


def test_what_the_format_cannot_say_is_refused_and_nothing_is_replaced(clip: Model, tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "before").write_text("as it was")
    tokenizer, text = clip_tokenizer(77)  # cleans texts outside of its tokenizer.json, pads with another id
    other = replace(clip, preprocessor=Preprocessor(clip.preprocessor.image, text, tokenizer))
    with pytest.raises(ModelError, match="would give other ids"):
        save_original(other, tmp_path / "student")
    with pytest.raises(ModelError, match="pads its pictures"):
        save_original(with_changes(clip, resize="pad"), tmp_path / "student")
    assert [path.name for path in tmp_path.iterdir() if path.name != "hub"] == ["student"]
    assert [path.name for path in (tmp_path / "student").iterdir()] == ["before"]


def test_models_of_other_families_are_refused(student: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="family 'student'"):
        save_original(student, tmp_path / "student")
    assert not (tmp_path / "student").exists()
