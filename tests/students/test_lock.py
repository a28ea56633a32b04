"""A locked image side: nothing that sees pixels moves, and the rest learns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compressor.distill.gradcache import MicroBatches, Towers
from compressor.preprocess.spec import ImageSpec
from compressor.students.lock import lock_image
from tests.students.blips import ANSWERS, PIXELS, QUESTIONS, Teachers

SPEC = ImageSpec(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Tower(nn.Sequential):
    """What would move without being trained: BatchNorm, and dropout that blurs."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 8)
        )


class Encoder(nn.Module):
    """Two towers with the names that an encoder of this project has."""

    image_prefixes = ("visual.tower.", "visual.projection.")
    logit_scale = torch.tensor(5.0)

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.ModuleDict({"tower": Tower(), "projection": nn.Linear(8, 6)})
        self.text = nn.Sequential(nn.Embedding(10, 6), nn.Flatten(), nn.Linear(18, 6))

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        found: Tensor = self.visual["projection"](self.visual["tower"](pixel_values))
        return found

    def encode_text(self, input_ids: Tensor) -> Tensor:
        found: Tensor = self.text(input_ids)
        return found


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def step(model: nn.Module, backward: Callable[[], None]) -> None:
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    backward()
    optimizer.step()


@pytest.mark.parametrize("size", [6, 2])
def test_weights_and_statistics_of_the_image_side_stay(size: int) -> None:
    torch.manual_seed(0)
    encoder = Encoder()
    lock_image(encoder)
    before = snapshot(encoder)
    pixels, ids = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8), torch.randint(0, 10, (6, 3))
    towers = Towers(encoder, SPEC)  # type: ignore[arg-type]

    def backward() -> None:
        leaves = MicroBatches(towers, size, seed_piece=lambda number: None).embed(pixels, ids)
        (leaves.image * leaves.text).sum().backward()
        leaves.backward()

    step(encoder, backward)
    after = encoder.state_dict()
    for name, value in before.items():
        assert after[name].equal(value) == name.startswith(encoder.image_prefixes), name


def test_pictures_are_seen_without_dropout_while_the_rest_trains() -> None:
    torch.manual_seed(0)
    encoder = Encoder()
    lock_image(encoder)
    pixels = torch.randn(4, 3, 8, 8)
    sharp = encoder.eval().encode_image(pixels)
    encoder.train()
    assert encoder.encode_image(pixels).equal(sharp)
    assert not sharp.requires_grad
    assert encoder.text.training


@pytest.mark.parametrize("head", ["caption", "vqa"])
def test_a_writer_learns_the_words_alone(teachers: Teachers, head: str) -> None:
    model = teachers(head)
    generator = model.generator
    assert isinstance(generator, nn.Module)
    generator.requires_grad_(True)
    lock_image(generator)
    before = snapshot(generator)
    answers = torch.from_numpy(model.preprocessor.texts(list(ANSWERS))).long()
    questions = torch.from_numpy(model.preprocessor.texts(list(QUESTIONS))).long()
    asked = questions if head == "vqa" else None
    step(generator, lambda: generator(PIXELS, answers, asked).logits.square().mean().backward())
    moved = {name for name, value in before.items() if not generator.state_dict()[name].equal(value)}
    assert moved
    assert not any(name.startswith("vision_model.") for name in moved)
    assert any("crossattention" in name for name in moved), "how a picture is read is still learned"
