"""transformers CLIP and SigLIP teachers against their own processors, tokenisers and models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from compressor.errors import MissingResourceError, ModelError
from compressor.recipe.teacher import TransformersTeacher
from compressor.students.dual_encoder import parameter_counts
from compressor.teachers.comparison import MEAN_TOLERANCE, SAMPLE_TEXTS, WORST_TOLERANCE, sample_pictures
from compressor.teachers.load import load_teacher, missing_resources


def teacher(path: Path) -> TransformersTeacher:
    return TransformersTeacher(kind="transformers", path=path)


@pytest.fixture(params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(f"{request.param}_folder")
    return found


@pytest.fixture
def copy(clip_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(clip_folder, tmp_path / "copy")


def change(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_ids_equal_the_models_own_tokenizer(folder: Path) -> None:
    model = load_teacher(teacher(folder))
    own = AutoTokenizer.from_pretrained(folder)
    length = model.preprocessor.text.context_length
    texts = [*SAMPLE_TEXTS, "\U0001f415 &amp; <b>", "ÀÉÎ õü", "<|endoftext|> in the middle", "x" * 3000]
    expected = own(texts, padding="max_length", max_length=length, truncation=True)["input_ids"]
    assert np.array_equal(model.preprocessor.texts(texts), np.array(expected))


def test_pixels_are_within_the_stated_tolerance_of_the_models_own_processor(folder: Path) -> None:
    model = load_teacher(teacher(folder))
    own = AutoImageProcessor.from_pretrained(folder)
    levels = 255 * np.array(model.preprocessor.image.std)[:, None, None]
    for picture in sample_pictures():
        theirs = np.asarray(own(images=picture, return_tensors="np")["pixel_values"])[0]
        difference = np.abs(model.preprocessor.images([picture])[0] - theirs) * levels
        assert difference.mean() <= MEAN_TOLERANCE
        assert difference.max() <= WORST_TOLERANCE


def test_embeddings_equal_the_models_own(folder: Path) -> None:
    model = load_teacher(teacher(folder))
    own = AutoModel.from_pretrained(folder).eval()
    pixels = torch.randn(2, 3, 32, 32)
    ids = torch.from_numpy(model.preprocessor.texts(SAMPLE_TEXTS))
    with torch.no_grad():
        image = torch.nn.functional.normalize(own.get_image_features(pixel_values=pixels).pooler_output)
        text = torch.nn.functional.normalize(own.get_text_features(input_ids=ids).pooler_output)
        torch.testing.assert_close(model.encoder.encode_image(pixels), image)
        torch.testing.assert_close(model.encoder.encode_text(ids), text)
        assert model.encoder.embed_dim == image.shape[1]
        torch.testing.assert_close(model.encoder.logit_scale, own.logit_scale.exp().reshape(()))
        bias = getattr(own, "logit_bias", None)
    if bias is None:
        assert model.encoder.logit_bias is None
    else:
        torch.testing.assert_close(model.encoder.logit_bias, bias.reshape(()))


def test_a_teacher_is_frozen_and_its_sides_are_counted(folder: Path) -> None:
    encoder = load_teacher(teacher(folder)).encoder
    assert isinstance(encoder, torch.nn.Module)
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    counts = parameter_counts(encoder)
    encoder.requires_grad_(True)
    encoder.encode_image(torch.randn(1, 3, 32, 32)).sum().backward()
    assert counts["image"] == sum(p.numel() for p in encoder.parameters() if p.grad is not None)


def test_both_sides_trace_with_any_batch(folder: Path) -> None:
    model = load_teacher(teacher(folder))
    encoder = model.encoder

    class Pair(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, pixels: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.encoder.encode_image(pixels), self.encoder.encode_text(ids)

    pixels, ids = torch.randn(3, 3, 32, 32), torch.from_numpy(model.preprocessor.texts(SAMPLE_TEXTS[:3]))
    batch = torch.export.Dim("batch")
    traced = torch.export.export(
        Pair().eval(), (pixels[:2], ids[:2]), dynamic_shapes=({0: batch}, {0: batch})
    )
    with torch.no_grad():
        for found, expected in zip(traced.module()(pixels, ids), Pair()(pixels, ids), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_missing_files_are_named(copy: Path, tmp_path: Path) -> None:
    (copy / "tokenizer.json").unlink()
    (copy / "model.safetensors").unlink()
    (sentence,) = missing_resources(teacher(copy))
    assert "model.safetensors or model.safetensors.index.json, tokenizer.json" in sentence
    with pytest.raises(MissingResourceError):
        load_teacher(teacher(copy))
    assert "is not there" in missing_resources(teacher(tmp_path / "nowhere"))[0]
    assert (
        missing_resources(TransformersTeacher(kind="transformers", name="openai/clip-vit-base-patch32")) != []
    )


def test_a_rehearsal_needs_no_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert "random weights" in load_teacher(teacher(copy), rehearse=True).origin


def test_truncated_weights_are_one_sentence(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_teacher(teacher(copy))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [{"vision_config": 3}, {"projection_dim": "wide"}, {"text_config": []}])
def test_a_configuration_that_is_none_is_one_sentence(copy: Path, damage: dict[str, Any]) -> None:
    change(copy / "config.json", **damage)
    with pytest.raises(ModelError, match=r"config\.json is no configuration for transformers") as caught:
        load_teacher(teacher(copy))
    assert "\n" not in str(caught.value)


def test_weights_of_other_sizes_are_named(copy: Path) -> None:
    change(copy / "config.json", projection_dim=24)
    with pytest.raises(ModelError, match=r"other sizes than its config\.json says: .*projection"):
        load_teacher(teacher(copy))


def test_another_model_family_is_refused(copy: Path) -> None:
    change(copy / "config.json", model_type="bert", architectures=["BertModel"])
    with pytest.raises(ModelError, match="is a 'bert', a teacher must be one of clip, siglip"):
        load_teacher(teacher(copy))


def processor_file(folder: Path) -> Path:
    return next(
        folder / name
        for name in ("preprocessor_config.json", "processor_config.json")
        if (folder / name).is_file()
    )


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"do_normalize": False}, "without do_normalize"),
        ({"rescale_factor": 1.0}, "only 1/255"),
        ({"size": {"shortest_edge": 48}}, "resizes to 48 and crops"),
        (
            {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}},
            "makes 48 pixels, its image tower takes 32",
        ),
        ({"do_center_crop": False}, "without a crop"),
    ],
)
def test_a_processor_that_cannot_be_reproduced_is_refused(
    copy: Path, keys: dict[str, Any], sentence: str
) -> None:
    change(processor_file(copy), **keys)
    with pytest.raises(ModelError, match=sentence):
        load_teacher(teacher(copy))


def test_an_end_of_text_id_that_the_tokenizer_never_writes_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 5
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="looks for end-of-text id 5, its tokenizer writes 49407"):
        load_teacher(teacher(copy))


def test_a_tokenizer_with_more_ids_than_the_tower_is_refused(copy: Path, siglip_folder: Path) -> None:
    change(copy / "config.json")
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append(
        {
            "id": 49408,
            "content": "<new>",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
    )
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="49409 token ids, 49408 in its text tower"):
        load_teacher(teacher(copy))
