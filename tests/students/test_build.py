"""The student as a whole: determinism, temperature, sizes, tokenisers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from compressor.errors import ModelError
from compressor.pipeline.student import outline_student
from compressor.preprocess.spec import TextSpec
from compressor.preprocess.text import Tokenizer
from compressor.recipe.models import FileTokenizer, StudentSection
from compressor.students.build import build_student, build_tokenizer
from compressor.students.dual_encoder import DualEncoder, parameter_counts
from compressor.students.encoder import Encoder, Model
from compressor.students.weights import hash_weights
from tests.students.conftest import CAPTIONS, student_section
from tests.students.test_towers import BERT, CLIP_VISION

Tokens = tuple[Tokenizer, TextSpec]


def encoder_of(model: Model) -> DualEncoder:
    assert isinstance(model.encoder, DualEncoder)
    return model.encoder


def sizes_of(section: StudentSection) -> dict[str, int]:
    """Parameters by side, of a student that is never made."""
    outline = outline_student(section, None)
    assert outline is not None
    return outline.parameters


def test_embeddings_are_unit_rows_of_the_recipes_width(student: Model) -> None:
    encoder = encoder_of(student).eval()
    assert isinstance(encoder, Encoder)
    with torch.no_grad():
        image = encoder.encode_image(torch.randn(3, 3, 32, 32))
        text = encoder.encode_text(torch.from_numpy(student.preprocessor.texts([*CAPTIONS, ""])))
    assert image.shape == (3, 24)
    assert text.shape == (4, 24)
    assert image.dtype == text.dtype == torch.float32
    torch.testing.assert_close(torch.cat([image, text]).norm(dim=1), torch.ones(7))


def test_embeddings_are_fp32_under_autocast(student: Model) -> None:
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert encoder_of(student).eval().encode_image(torch.randn(2, 3, 32, 32)).dtype == torch.float32


def test_the_same_seed_builds_the_same_student(student: Model, tokenizer: Tokens) -> None:
    torch.manual_seed(0)
    assert build_student(student_section(), *tokenizer).fingerprint == student.fingerprint
    torch.manual_seed(1)
    assert build_student(student_section(), *tokenizer).fingerprint != student.fingerprint


def test_one_changed_weight_changes_the_fingerprint(student: Model) -> None:
    encoder = encoder_of(student)
    before = hash_weights(encoder)
    with torch.no_grad():
        encoder.text_projection.weight[0, 0] += 1e-3
    assert hash_weights(encoder) != before


def test_the_temperature_starts_where_the_recipe_says_and_stays_below_a_hundred(student: Model) -> None:
    encoder = encoder_of(student)
    assert encoder.logit_scale.item() == pytest.approx(1 / 0.07, rel=1e-5)
    assert encoder.logit_bias is None
    with torch.no_grad():
        encoder.log_logit_scale.fill_(10.0)
    scale = encoder.logit_scale
    assert scale.item() == pytest.approx(100.0, rel=1e-5)
    scale.backward()
    assert encoder.log_logit_scale.grad is not None
    assert encoder.log_logit_scale.grad.item() == pytest.approx(100.0, rel=1e-5)
    assert encoder.log_logit_scale.item() == pytest.approx(math.log(100.0), rel=1e-6)


def test_sizes_are_known_without_building_weights(student: Model) -> None:
    # Training stopped before 300 tokens, so the plan counts a few more embedding rows than the student has.
    vocab = student.preprocessor.tokenizer.vocab_size
    assert vocab <= 300
    sizes = sizes_of(student_section())
    built = parameter_counts(encoder_of(student))
    assert sizes["image"] == built["image"]
    assert sizes["text"] == built["text"] + (300 - vocab) * 32
    assert sizes["total"] == sizes["image"] + sizes["text"] + 1


def test_sizes_of_transformers_towers_are_known_too() -> None:
    section = student_section(
        image={"kind": "transformers", "config": CLIP_VISION, "input": {"size": 32}},
        text={"kind": "pretrained", "config": BERT | {"vocab_size": 400}, "context_length": 12},
    )
    sizes = sizes_of(section)
    assert sizes["text"] > 400 * 16
    assert sizes["total"] == sizes["image"] + sizes["text"] + 1


def test_a_sides_parameters_are_exactly_those_with_a_gradient_from_it(student: Model) -> None:
    encoder = encoder_of(student).eval()
    encoder.encode_image(torch.randn(2, 3, 32, 32)).sum().backward()
    touched = sum(p.numel() for p in encoder.parameters() if p.grad is not None)
    assert touched == parameter_counts(encoder)["image"]


def test_the_text_tower_starts_from_a_file_or_from_a_whole_checkpoint(
    student: Model, tokenizer: Tokens, tmp_path: Path
) -> None:
    tower = encoder_of(student).text_tower
    save_file(dict(tower.state_dict()), tmp_path / "tower.safetensors")
    save_file(dict(encoder_of(student).state_dict()), tmp_path / "whole.safetensors")
    text = student_section().text.model_dump()
    for name in ("tower", "whole"):
        torch.manual_seed(9)
        section = student_section(text=text | {"weights": str(tmp_path / f"{name}.safetensors")})
        made = encoder_of(build_student(section, *tokenizer))
        assert hash_weights(made.text_tower) == hash_weights(tower)
        assert f"{name}.safetensors" in build_student(section, *tokenizer).origin


def test_a_tokenizer_of_another_length_is_refused(tokenizer: Tokens) -> None:
    text = student_section().text.model_dump() | {"context_length": 16}
    with pytest.raises(ModelError, match=r"12 tokens, student\.text\.context_length is 16"):
        build_student(student_section(text=text), *tokenizer)


def test_a_tokenizer_comes_from_a_file_as_from_training(tokenizer: Tokens, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer[0].to_json(), encoding="utf-8")
    again, _ = build_tokenizer(FileTokenizer(kind="file", path=path), (), 12)
    assert (again(CAPTIONS) == tokenizer[0](CAPTIONS)).all()
