"""Small BLIPs that are a part of their teacher."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compressor.errors import ModelError
from compressor.recipe.blip import BlipStudent, Head
from compressor.students.blip_build import build_blip_student
from compressor.students.inherit_plan import kept_layers
from tests.students.blips import Teachers, blip, logits, student


def full_size(**image: Any) -> BlipStudent:
    sizes: dict[str, Any] = {"layers": 2, "width": 32, "heads": 2, "mlp_ratio": 2}
    return student(image=sizes | image, text=sizes | {"context_length": 48}, start="inherit")


@pytest.mark.parametrize("head", ["caption", "vqa"])
def test_a_student_of_the_teachers_sizes_inherits_its_logits(teachers: Teachers, head: Head) -> None:
    teacher = teachers(head)
    model = build_blip_student(full_size(), teacher)
    assert torch.equal(logits(model), logits(teacher))
    assert "made out of its teacher: image layers 0, 1 of 2" in model.origin


def test_an_inherited_position_is_interpolated_only_for_another_picture(teachers: Teachers) -> None:
    name = "vision_model.embeddings.position_embedding"
    table = blip(teachers("caption")).state_dict()[name]
    small = blip(build_blip_student(full_size(size=16), teachers("caption"))).state_dict()[name]
    assert small.shape == (1, 5, 32)
    assert torch.equal(small[:, 0], table[:, 0])
    grid = table[0, 1:].reshape(4, 4, 32).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(grid, (2, 2), mode="bicubic", antialias=True)
    torch.testing.assert_close(small[0, 1:], expected[0].flatten(1).T, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("head", ["caption", "vqa"])
def test_an_inherited_weight_is_a_part_of_the_teachers(teachers: Teachers, head: Head) -> None:
    """Every tensor of a narrower student by index lists written out from the definition."""
    teacher = blip(teachers(head))
    sizes = {"layers": 1, "width": 16, "heads": 2, "mlp_ratio": 1.5}  # heads half as wide as the teacher's
    section = student(image=sizes, text=sizes, start="inherit")
    made = blip(build_blip_student(section, teachers(head))).state_dict()
    channels, hidden = list(range(16)), list(range(24))
    heads = [16 * head + channel for head in range(2) for channel in range(8)]
    three = [32 * part + row for part in range(3) for row in heads]
    layer = str(kept_layers(2, 1)[0])
    for name, value in made.items():
        source = teacher.state_dict()[
            name.replace(".layer.0.", f".layer.{layer}.").replace(".layers.0.", f".layers.{layer}.")
        ]
        output = channels
        if name.endswith(
            ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias")
        ):
            output = heads
        elif ".qkv." in name:
            output = three
        elif ".fc1." in name or ".intermediate." in name:
            output = hidden
        if "position_embeddings" in name:
            expected = source[:40, :16]
        elif "word_embeddings" in name or "decoder.weight" in name:
            expected = source[:, :16]
        elif name.endswith(("predictions.bias", "decoder.bias")):
            expected = source
        elif "class_embedding" in name or "position_embedding" in name:
            expected = source[..., :16]
        elif source.ndim == 1 or ".patch_embedding." in name:
            expected = source[output]
        else:
            inputs = channels
            if ".projection.weight" in name or ("attention.output.dense.weight" in name):
                inputs = heads
            elif ".fc2." in name or (name.endswith("output.dense.weight") and "attention" not in name):
                inputs = hidden
            expected = source[output][:, inputs]
        assert torch.equal(value, expected), name


@pytest.mark.parametrize(
    ("image", "text", "sentence"),
    [
        ({"layers": 3}, {}, "student.image: layers is 3, the teacher it inherits from has 2"),
        ({"width": 48}, {}, "student.image: width is 48"),
        ({}, {"heads": 4}, "student.text: heads is 4"),
        (
            {},
            {"width": 24, "heads": 1},
            "student.text: width / heads is 24, the teacher it inherits from has 16",
        ),
        ({}, {"mlp_ratio": 8.0}, "student.text: width x mlp_ratio is 128"),
        ({"patch": 16}, {}, "student.image.patch is 16, to inherit it must be the teacher's 8"),
        ({}, {"context_length": 49}, "context_length is 49, the teacher has 48 positions"),
    ],
)
def test_more_than_the_teacher_has_cannot_be_inherited(
    teachers: Teachers, image: dict[str, Any], text: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ModelError, match=sentence):
        build_blip_student(student(image=image, text=text, start="inherit"), teachers("caption"))
