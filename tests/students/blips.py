"""Small BLIPs in transformers' format: two layers, 32 channels, pictures of 32 pixels, few words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertTokenizer, BlipConfig, BlipImageProcessor, PreTrainedModel

from compressor.recipe.blip import BlipStudent, BlipTeacher, Head
from compressor.students.blip import BlipGenerator
from compressor.students.generator import GenerativeModel
from compressor.teachers.blip_teacher import load_blip

Teachers = Callable[..., GenerativeModel]
"""(head, further keys of the teacher's section) -> a model."""

WORDS = "a the of on in is it what how many colour picture red green blue square circle star two left dog"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
TOKENS = [*SPECIAL, *WORDS.split(), *(x for x in LETTERS if x != "a"), *("##" + x for x in LETTERS[:26])]
START = len(TOKENS)
"""[DEC], which the tokeniser does not know; [ENC] follows."""
END = SPECIAL.index("[SEP]")
SIDE = 32

VISION: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": SIDE,
    "patch_size": 8,
    "initializer_range": 0.1,
}
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 48,
    "vocab_size": START + 2,
    "bos_token_id": START,
    "sep_token_id": END,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
CAPTIONS = ("a red square left of a blue circle", "two dogs", "the green star is on the left of it")
QUESTIONS = ("what is it", "what colour is the square left of the star", "how many")
ANSWERS = ("dog", "red", "two")
PIXELS = torch.linspace(-2, 2, 3 * 3 * SIDE * SIDE).sin().reshape(3, 3, SIDE, SIDE)


def blip_config(
    vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **keys: Any
) -> BlipConfig:
    """The configuration of a small BLIP, with keys replaced."""
    return BlipConfig(vision_config=VISION | (vision or {}), text_config=TEXT | (text or {}), **keys)


def write_blip(folder: Path, kind: type[PreTrainedModel], config: BlipConfig | None = None) -> Path:
    """Model, tokeniser and processor as the hub's BLIP folders hold them; biases are random too."""
    torch.manual_seed(0)
    model = kind(config or blip_config(image_text_hidden_size=12))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    BlipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """The lower-casing WordPiece tokeniser of the tests."""
    vocabulary = {token: row for row, token in enumerate(TOKENS)}
    BertTokenizer(vocab=vocabulary, model_max_length=512).save_pretrained(folder)


def student(
    image: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **keys: Any
) -> BlipStudent:
    """A student half as deep as the teacher, with keys replaced."""
    sizes: dict[str, Any] = {"layers": 1, "width": 16, "heads": 1, "mlp_ratio": 2}
    return BlipStudent.model_validate(
        {
            "kind": "blip",
            "image": sizes | {"patch": 8, "size": SIDE} | (image or {}),
            "text": sizes | {"context_length": 40} | (text or {}),
        }
        | keys
    )


def load_teacher(folder: Path, head: Head, **keys: Any) -> GenerativeModel:
    """The teacher of a folder of `write_blip`, with keys of its section replaced."""
    section = {"kind": "blip", "head": head, "path": folder, "context_length": 16} | keys
    return load_blip(BlipTeacher.model_validate(section))


def blip(model: GenerativeModel) -> BlipGenerator:
    assert isinstance(model.generator, BlipGenerator)
    return model.generator


def targets(model: GenerativeModel) -> Tensor:
    """What each of three pictures is to be answered, or called."""
    return torch.from_numpy(model.target_ids(CAPTIONS if model.generator.head == "caption" else ANSWERS))


def questions(model: GenerativeModel) -> Tensor | None:
    if model.generator.head == "caption":
        return None
    return torch.from_numpy(model.question_ids(QUESTIONS))


def rows(ids: Tensor | None, chosen: list[int]) -> Tensor | None:
    return None if ids is None else ids[chosen]


@torch.no_grad()
def forced(model: GenerativeModel, target_ids: Tensor, chosen: list[int] | None = None) -> Tensor:
    """Logits of the chosen pictures, all three of them by default."""
    chosen = chosen or [0, 1, 2]
    output = model.generator(PIXELS[chosen], target_ids[chosen], rows(questions(model), chosen))
    return output.logits


@torch.no_grad()
def logits(model: GenerativeModel) -> Tensor:
    """Of all three pictures, resized to what the model looks at."""
    side = blip(model).image_size
    pixels = torch.nn.functional.interpolate(PIXELS, (side, side))
    return model.generator(pixels, targets(model), questions(model)).logits
