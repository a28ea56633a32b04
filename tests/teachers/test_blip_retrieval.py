"""BLIP's retrieval model as a dual encoder, against its own scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BlipForConditionalGeneration, BlipForImageTextRetrieval

from compressor.errors import MissingResourceError, ModelError
from compressor.recipe.blip import BlipRetrievalTeacher
from compressor.students.checkpoint import finish, read_description, read_preprocessor, save_checkpoint
from compressor.students.dual_encoder import parameter_counts
from compressor.students.encoder import Encoder
from compressor.students.outline import outline_encoder
from compressor.teachers.blip_folder import missing_blip_files
from compressor.teachers.blip_retrieval import (
    BlipRetrievalEncoder,
    load_blip_retrieval,
    rebuild_blip_retrieval,
)
from compressor.teachers.comparison import SAMPLE_TEXTS
from tests.students.blips import CAPTIONS, write_blip

PIXELS = torch.linspace(-2, 2, 3 * 3 * 32 * 32).sin().reshape(3, 3, 32, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blip(tmp_path_factory.mktemp("itm"), BlipForImageTextRetrieval)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def teacher(path: Path, **keys: float) -> BlipRetrievalTeacher:
    section = {"kind": "blip_retrieval", "path": path, "context_length": 16} | keys
    return BlipRetrievalTeacher.model_validate(section)


def encoder_of(path: Path) -> BlipRetrievalEncoder:
    encoder = load_blip_retrieval(teacher(path)).encoder
    assert isinstance(encoder, BlipRetrievalEncoder)
    return encoder.eval()


def test_cosines_equal_the_models_own_scores(folder: Path) -> None:
    model = load_blip_retrieval(teacher(folder))
    assert isinstance(model.encoder, Encoder)
    encoder = encoder_of(folder)
    own = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    ids = torch.from_numpy(model.preprocessor.texts(CAPTIONS))
    with torch.no_grad():
        image, text = encoder(PIXELS, ids)
        scores = own(
            input_ids=ids, pixel_values=PIXELS, attention_mask=(ids != 0).long(), use_itm_head=False
        ).itm_score
    torch.testing.assert_close(image @ text.T, scores, atol=1e-5, rtol=1e-5)
    assert image.shape == text.shape == (3, encoder.embed_dim)
    torch.testing.assert_close(image.norm(dim=1), torch.ones(3))


def test_padding_changes_no_embedding(folder: Path) -> None:
    encoder = encoder_of(folder)
    preprocessor = load_blip_retrieval(teacher(folder)).preprocessor
    ids = torch.from_numpy(preprocessor.texts([*CAPTIONS, ""]))
    with torch.no_grad():
        together = encoder.encode_text(ids)
        for row in range(len(ids)):
            alone = encoder.encode_text(ids[row, ids[row] != 0][None])
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


def test_ids_equal_the_models_own_tokenizer(folder: Path) -> None:
    preprocessor = load_blip_retrieval(teacher(folder)).preprocessor
    own = AutoTokenizer.from_pretrained(folder)
    expected = own(list(SAMPLE_TEXTS), padding="max_length", max_length=16, truncation=True)["input_ids"]
    assert np.array_equal(preprocessor.texts(SAMPLE_TEXTS), np.array(expected))


def test_the_temperature_is_the_recipes(folder: Path) -> None:
    assert encoder_of(folder).logit_scale.item() == pytest.approx(1 / 0.07)
    warm = load_blip_retrieval(teacher(folder, temperature=0.5)).encoder
    assert warm.logit_scale.item() == pytest.approx(2.0)
    assert warm.logit_bias is None


def test_only_what_embeds_is_kept_and_counted(folder: Path) -> None:
    encoder = encoder_of(folder)
    assert not any("crossattention" in name or "itm_head" in name for name in encoder.state_dict())
    counts = parameter_counts(encoder)
    encoder.encode_image(PIXELS).sum().backward()
    assert counts["image"] == sum(p.numel() for p in encoder.parameters() if p.grad is not None)
    encoder.encode_text(torch.tensor([[2, 7, 3]])).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == ["log_logit_scale"]
    assert counts["image"] + counts["text"] + 1 == counts["total"]


def test_both_sides_trace_with_any_batch(folder: Path) -> None:
    encoder = encoder_of(folder)
    ids = torch.from_numpy(load_blip_retrieval(teacher(folder)).preprocessor.texts(CAPTIONS))
    batch = torch.export.Dim("batch")
    traced = torch.export.export(
        encoder, (PIXELS[:2], ids[:2]), dynamic_shapes=({0: batch}, {0: batch})
    ).module()
    with torch.no_grad():
        for found, expected in zip(traced(PIXELS, ids), encoder(PIXELS, ids), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_its_cost_is_counted_without_weights(folder: Path) -> None:
    encoder = encoder_of(folder)
    counts = parameter_counts(encoder)
    outline = outline_encoder(encoder.to("meta"), 32, 16)
    assert outline.parameters == counts
    assert outline.image_flops > 0
    assert outline.text_flops > 0


def test_a_checkpoint_comes_back_equal(folder: Path, tmp_path: Path) -> None:
    model = load_blip_retrieval(teacher(folder, temperature=0.03))
    save_checkpoint(model, tmp_path / "c")
    described = read_description(tmp_path / "c")
    again = finish(
        described, rebuild_blip_retrieval(described), read_preprocessor(tmp_path / "c"), tmp_path / "c"
    )
    assert again.fingerprint == model.fingerprint
    ids = torch.from_numpy(model.preprocessor.texts(CAPTIONS))
    assert torch.equal(again.encoder.encode_text(ids), model.encoder.encode_text(ids))
    assert torch.equal(again.encoder.encode_image(PIXELS), model.encoder.encode_image(PIXELS))
    assert torch.equal(again.encoder.logit_scale, model.encoder.logit_scale)
    with pytest.raises(ModelError, match="no BLIP configuration"):
        rebuild_blip_retrieval({"blip": {"model_type": "bert"}})


def test_pictures_of_another_size_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="32 x 32 pixels, not 16 x 16"):
        encoder_of(folder).encode_image(torch.zeros(1, 3, 16, 16))


def test_a_captioner_is_refused(tmp_path: Path) -> None:
    folder = write_blip(tmp_path / "caption", BlipForConditionalGeneration)
    with pytest.raises(ModelError, match="needs a BlipForImageTextRetrieval"):
        load_blip_retrieval(teacher(folder))
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"architectures": None}))
    with pytest.raises(ModelError, match="incomplete"):
        load_blip_retrieval(teacher(folder))


def test_missing_weights_are_one_sentence_and_a_rehearsal_goes_without(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (sentence,) = missing_blip_files(teacher(copy))
    assert "lacks model.safetensors" in sentence
    with pytest.raises(MissingResourceError):
        load_blip_retrieval(teacher(copy))
    model = load_blip_retrieval(teacher(copy), rehearse=True)
    assert "random weights" in model.origin
    rows = model.encoder.encode_image(PIXELS)
    assert not torch.allclose(rows[0], rows[1], atol=1e-4)
