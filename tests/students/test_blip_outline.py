"""What a BLIP costs, against the operations that one really does."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from compressor.recipe.blip import Head
from compressor.students.blip import build_blip
from compressor.students.blip_outline import writing_cost
from compressor.students.generator import Vocabulary
from tests.students.blips import END, SIDE, START, blip_config


@pytest.mark.parametrize("head", ["caption", "vqa"])
@pytest.mark.parametrize("size", [(2, 32), (3, 48)])
def test_the_cost_is_what_a_forward_pass_does(head: Head, size: tuple[int, int]) -> None:
    layers, width = size
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": 3 * width}
    text = sizes | {"num_hidden_layers": 1} | ({"hidden_size": 32} if head == "caption" else {})
    config = blip_config(vision=sizes, text=text)
    model = build_blip(config, head, Vocabulary(START + 2, START, END, 0)).eval()
    target, question = 7, 5
    pixels = torch.zeros(1, 3, SIDE, SIDE)
    ids = torch.full((1, target + 1), 4)  # the last one is predicted and not read
    asked = torch.full((1, question), 4) if head == "vqa" else None
    with torch.no_grad(), FlopCounterMode(display=False) as whole:
        model(pixels, ids, asked)
    with torch.no_grad(), FlopCounterMode(display=False) as seeing:
        model.vision_model(pixel_values=pixels)
    cost = writing_cost(config, head, target, question if head == "vqa" else 0)
    assert cost.image_flops == seeing.get_total_flops()
    assert cost.row_flops() == whole.get_total_flops()
    assert cost.row_flops(3) - cost.row_flops() == 2 * cost.text_flops
