"""The towers of dual encoders by side."""

from __future__ import annotations

import pytest
from torch import nn

from compressor.capture import tower
from compressor.errors import ModelError
from compressor.students.dual_encoder import DualEncoder
from compressor.students.text_transformer import TextTransformer


class Linear(nn.Linear):
    width = 4


def with_parts(**parts: nn.Module) -> nn.Module:
    module = nn.Module()
    for name, part in parts.items():
        module.add_module(name, part)
    return module


def test_a_student_of_ours() -> None:
    text = TextTransformer(16, pad_id=1, eos_id=2, width=8, layers=1, heads=2)
    student = DualEncoder(Linear(4, 4), text, embed_dim=4)
    assert tower(student, "text") is text
    assert tower(student, "image") is student.image_tower


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize(
    ("image", "text"),
    [("vision_model", "text_model"), ("visual", "text"), ("visual", "transformer")],
    ids=["transformers", "open_clip with a text module", "open_clip CLIP"],
)
def test_other_libraries_models(image: str, text: str, wrapped: bool) -> None:
    model = with_parts(**{image: nn.Identity(), text: nn.Identity()})
    encoder = with_parts(model=model) if wrapped else model
    assert tower(encoder, "image") is getattr(model, image)
    assert tower(encoder, "text") is getattr(model, text)


def test_an_encoder_without_the_side_is_refused() -> None:
    with pytest.raises(ModelError, match="Module has no text tower"):
        tower(with_parts(visual=nn.Identity()), "text")
