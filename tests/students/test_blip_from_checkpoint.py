"""A BLIP whose ViT starts from the image tower of a checkpoint of this project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.errors import ModelError
from compressor.preprocess.tokenizers import train_bpe
from compressor.recipe.blip import BlipStudent, BlipTeacher
from compressor.recipe.models import StudentSection
from compressor.students.blip import HEADS, BlipGenerator
from compressor.students.blip_build import build_blip_student
from compressor.students.build import build_student
from compressor.students.checkpoint import save_checkpoint
from compressor.students.dual_encoder import DualEncoder
from compressor.students.generator import GenerativeModel
from compressor.teachers.blip_teacher import load_blip
from tests.students.blips import SIDE, write_blip

VIT: dict[str, Any] = {
    "kind": "timm",
    "name": "vit_tiny_patch16_224",
    "options": {"img_size": SIDE, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
    "input": {"size": SIDE},
}
RESNET: dict[str, Any] = {
    "kind": "timm",
    "name": "resnet18",
    "options": {"channels": [8, 8, 8, 8]},
    "input": {"size": SIDE},
}


def checkpoint(folder: Path, image: dict[str, Any]) -> DualEncoder:
    """A small dual encoder with this image tower, saved to `folder`."""
    torch.manual_seed(0)
    tower = {"kind": "transformer", "width": 16, "layers": 1, "heads": 2, "context_length": 8}
    tokenizer = {"kind": "train", "vocab_size": 300}
    section = StudentSection.model_validate(
        {"embed_dim": 16, "image": image, "text": tower, "tokenizer": tokenizer}
    )
    model = build_student(section, *train_bpe(["a red square", "a blue star"], 300, 8))
    save_checkpoint(model, folder)
    assert isinstance(model.encoder, DualEncoder)
    return model.encoder.eval()


def started(folder: Path, weights: Path, heads: int = 2) -> GenerativeModel:
    """A captioner of the teacher's tokens whose ViT names these weights."""
    teacher = load_blip(
        BlipTeacher(kind="blip", head="caption", path=write_blip(folder, HEADS["caption"]), context_length=16)
    )
    image = {"layers": 2, "width": 32, "heads": heads, "patch": 8, "size": SIDE, "weights": str(weights)}
    text = {"layers": 1, "width": 32, "heads": 2, "context_length": 16}
    section = {"kind": "blip", "image": image, "text": text, "start": "towers"}
    return build_blip_student(BlipStudent.model_validate(section), teacher)


@pytest.mark.parametrize("act_layer", ["gelu", "gelu_tanh", "quick_gelu", "relu", "silu"])
@pytest.mark.parametrize("named", ["folder", "file"])
def test_it_sees_what_the_tower_saw(tmp_path: Path, act_layer: str, named: str) -> None:
    own = VIT | {"options": VIT["options"] | {"act_layer": act_layer}}
    encoder = checkpoint(tmp_path / "c", own)
    weights = tmp_path / "c" if named == "folder" else tmp_path / "c" / "model.safetensors"
    model = started(tmp_path / "teacher", weights)
    assert isinstance(model.generator, BlipGenerator)
    pixels = torch.linspace(-2, 2, 2 * 3 * SIDE * SIDE).sin().reshape(2, 3, SIDE, SIDE)
    with torch.no_grad():
        seen = model.generator.vision_model(pixels).last_hidden_state
        torch.testing.assert_close(
            seen, encoder.image_tower.model.forward_features(pixels), atol=1e-5, rtol=1e-5
        )


def test_another_number_of_heads_is_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path / "c", VIT)
    with pytest.raises(ModelError, match=r"student\.image\.heads is 4, .* was trained with 2"):
        started(tmp_path / "teacher", tmp_path / "c", heads=4)


def test_a_tower_that_is_no_vit_is_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path / "c", RESNET)
    with pytest.raises(ModelError, match=r"no ViT of timm's"):
        started(tmp_path / "teacher", tmp_path / "c")


def test_an_activation_that_blip_lacks_is_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path / "c", VIT | {"options": VIT["options"] | {"act_layer": "mish"}})
    with pytest.raises(ModelError, match=r"BLIP knows no activation like Mish"):
        started(tmp_path / "teacher", tmp_path / "c")
