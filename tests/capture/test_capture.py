"""Attaching, taking, detaching; several captures and models side by side; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    BertConfig,
    BertModel,
    BlipVisionConfig,
    BlipVisionModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from compressor.capture import AttentionCapture, tower
from compressor.errors import ModelError
from compressor.students.dual_encoder import DualEncoder
from compressor.students.text_transformer import TextTransformer

BODY: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
VISION: dict[str, Any] = BODY | {"image_size": 16, "patch_size": 8}
WORDS = {"vocab_size": 16, "max_position_embeddings": 8, "eos_token_id": 2, "pad_token_id": 1}
TEXT: dict[str, Any] = BODY | WORDS
PIXELS = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def clip(config: CLIPVisionConfig | None = None, seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    return CLIPVisionModel(config or CLIPVisionConfig(**(VISION | changes))).eval()


def traces(model: nn.Module) -> list[str]:
    """What a capture could have left on a model."""
    return [
        name
        for name, module in model.named_modules()
        if "forward" in module.__dict__ or module._forward_hooks or module._forward_pre_hooks
    ]


def weights_of(model: nn.Module, layer: int) -> Tensor:
    with AttentionCapture(model, [layer]) as capture, torch.no_grad():
        model(PIXELS)
        return capture.take()[0].weights


def vit(**changes: Any) -> Any:
    small: dict[str, Any] = {"embed_dim": 16, "depth": 2, "num_heads": 2, "img_size": 16, "num_classes": 0}
    return timm.create_model("vit_tiny_patch16_224", **(small | changes))


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "transformers": clip,
    "blip": lambda: BlipVisionModel(BlipVisionConfig(**VISION)),
    "timm": vit,
    "open_clip": lambda: (
        open_clip.CLIP(
            16,
            {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
            {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 2},
        ).visual
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_detaching_leaves_the_model_as_it_was(family: str) -> None:
    model = FAMILIES[family]()
    names = list(model.state_dict())
    before = traces(model)
    captures = [AttentionCapture(model, "last"), AttentionCapture(model, [0, 1])]
    assert len(traces(model)) > len(before)
    assert list(model.state_dict()) == names
    model(PIXELS)
    assert [len(capture.take()) for capture in captures] == [1, 2]
    for capture in captures:
        capture.detach()
        capture.detach()
    assert traces(model) == before
    again = AttentionCapture(model)
    model(PIXELS)
    assert len(again.take()) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_an_exception_detaches(family: str) -> None:
    model = FAMILIES[family]()
    before = traces(model)
    with pytest.raises(RuntimeError), AttentionCapture(model):
        model(PIXELS[:, :2])
    with pytest.raises(KeyboardInterrupt), AttentionCapture(model):
        raise KeyboardInterrupt
    assert traces(model) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_a_paused_capture_leaves_the_model_alone_until_it_goes_on(family: str) -> None:
    model = FAMILIES[family]()
    before = traces(model)
    with AttentionCapture(model) as capture:
        watched = traces(model)
        model(PIXELS)
        with capture.paused():
            assert traces(model) == before
            model(PIXELS[:1])
        with pytest.raises(KeyboardInterrupt), capture.paused():
            raise KeyboardInterrupt
        assert traces(model) == watched
        (attention,) = capture.take()
        assert len(attention.weights) == len(PIXELS)  # of the pass before the pause
        model(PIXELS[:1])
        (attention,) = capture.take()
        assert len(attention.weights) == 1
        with capture.paused():
            capture.detach()
        assert traces(model) == before


def test_layers_come_in_the_order_asked_for() -> None:
    model = clip(num_hidden_layers=4)
    with AttentionCapture(model, ["last", 0, 2]) as capture:
        model(PIXELS)
        taken = capture.take()
    assert [attention.layer for attention in taken] == [3, 0, 2]
    for attention in taken:
        assert torch.equal(attention.weights.detach(), weights_of(model, attention.layer))


def test_maps_are_given_away_once_and_replaced_by_the_next_forward() -> None:
    model = clip()
    with AttentionCapture(model) as capture, torch.no_grad():
        model(PIXELS)
        model(PIXELS[:1])
        (attention,) = capture.take()
        assert attention.weights.shape == (1, 2, 5, 5)
        with pytest.raises(ModelError, match="layer 1 gave no map: run the model before every take"):
            capture.take()


def test_maps_carry_gradients_only_if_the_model_ran_with_them() -> None:
    model = clip()
    with AttentionCapture(model) as capture:
        model(PIXELS)
        assert capture.take()[0].weights.requires_grad
        with torch.no_grad():
            model(PIXELS)
        assert not capture.take()[0].weights.requires_grad


def test_two_models_of_one_configuration_object_do_not_disturb_each_other() -> None:
    config = CLIPVisionConfig(**VISION)
    teacher, student, bystander = (clip(config, seed) for seed in range(3))
    expected = [weights_of(teacher, 1), weights_of(student, 0)]
    outputs = [model(PIXELS).last_hidden_state for model in (teacher, student, bystander)]
    first, second = AttentionCapture(teacher), AttentionCapture(student, [0])
    with torch.no_grad():
        during = [teacher(PIXELS).last_hidden_state]
    during += [model(PIXELS).last_hidden_state for model in (student, bystander)]
    taken = [*first.take(), *second.take()]
    for attention, reference in zip(taken, expected, strict=True):
        assert torch.equal(attention.weights.detach(), reference)
    assert [attention.weights.requires_grad for attention in taken] == [False, True]
    for output, reference in zip(during, outputs, strict=True):
        assert torch.equal(output, reference)
    first.detach()
    student(PIXELS)
    assert torch.equal(second.take()[0].weights.detach(), expected[1])
    assert traces(teacher) == []
    assert config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "model",
    [
        clip(attention_dropout=0.5),
        BlipVisionModel(BlipVisionConfig(**VISION, attention_dropout=0.5)),
        vit(attn_drop_rate=0.5),
    ],
    ids=["transformers", "blip", "timm"],
)
def test_the_map_is_the_one_before_attention_dropout(model: nn.Module) -> None:
    expected = weights_of(model.eval(), 0)
    assert torch.equal(weights_of(model.train(), 0), expected)


def test_checkpointed_blocks_give_maps_with_their_gradients() -> None:
    model = clip()
    blocks = model.encoder.layers
    with AttentionCapture(model, [0]) as capture:
        model(PIXELS)
        (attention,) = capture.take()
        attention.weights.square().sum().backward()
        expected = blocks[0].self_attn.q_proj.weight.grad.clone()
        model.zero_grad()
        hidden = model.pre_layrnorm(model.embeddings(PIXELS))
        checkpoint(lambda x: blocks[0](x, None), hidden, use_reentrant=False)
        (attention,) = capture.take()
        attention.weights.square().sum().backward()
    torch.testing.assert_close(blocks[0].self_attn.q_proj.weight.grad, expected)


def test_both_towers_of_a_student_at_once() -> None:
    text = TextTransformer(16, pad_id=1, eos_id=2, width=16, layers=2, heads=2, context_length=8)
    image = vit(num_heads=4)
    image.width = 16
    student = DualEncoder(image, text, embed_dim=8)
    ids = torch.tensor([[5, 3, 2, 1], [5, 3, 4, 2]])
    with (
        AttentionCapture(tower(student, "image")) as pictures,
        AttentionCapture(tower(student, "text")) as words,
    ):
        student(PIXELS, ids)
        (picture,), (word,) = pictures.take(), words.take()
    assert (picture.weights.shape, picture.grid, picture.prefix_tokens) == ((2, 4, 2, 2), (1, 1), 1)
    assert (word.weights.shape, word.grid, word.prefix_tokens) == ((2, 2, 4, 4), None, 0)
    assert word.counted_keys().tolist() == [[True, True, True, False], [True, True, True, True]]


@pytest.mark.parametrize(
    ("model", "which", "message"),
    [
        (
            timm.create_model("swin_tiny_patch4_window7_224"),
            "self",
            "SwinTransformer has no self-attention that can be captured: the families are transformers CLIP,",
        ),
        (timm.create_model("mobilenetv3_small_050"), "self", "MobileNetV3 has no self-attention"),
        (
            timm.create_model("vit_wee_patch16_reg1_gap_256", attn_layer="diff", depth=1),
            "self",
            "VisionTransformer has no self-attention",
        ),
        (clip(), "cross", "CLIPVisionModel has no cross-attention"),
        (
            CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION)),
            "self",
            "several stacks of attention layers, give one: text_model.encoder.layers, vision_model",
        ),
    ],
    ids=["swin", "no attention", "differential", "no cross-attention", "two towers"],
)
def test_models_without_an_adapter_are_refused(model: nn.Module, which: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        AttentionCapture(model, "last", which)


@pytest.mark.parametrize("layers", [[2], [-1], [0, 7]])
def test_a_layer_that_is_not_there_is_refused(layers: list[int]) -> None:
    model = clip()
    with pytest.raises(ModelError, match=f"no attention layer {layers[-1]} in CLIPVisionModel: it has 2"):
        AttentionCapture(model, layers)
    assert traces(model) == []


def test_no_layer_at_all_is_refused() -> None:
    with pytest.raises(ModelError, match="no attention layer was named"):
        AttentionCapture(clip(), [])


def test_a_model_that_runs_eager_is_told_how_to_run() -> None:
    model = BertModel._from_config(BertConfig(**TEXT), attn_implementation="eager")
    with AttentionCapture(model) as capture:
        model(torch.tensor([[5, 3, 2]]))
        with pytest.raises(ModelError, match=r"gave no map: .*attn_implementation='sdpa'"):
            capture.take()


def test_random_patch_dropout_is_refused() -> None:
    model = vit(img_size=64, patch_drop_rate=0.5).train()
    with AttentionCapture(model) as capture:
        model(torch.randn(1, 3, 64, 64))
        with pytest.raises(ModelError, match="9 tokens of 4 x 4 patches"):
            capture.take()


def test_under_autocast_the_map_is_fp32_and_the_output_does_not_change() -> None:
    model = clip()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        before = model(PIXELS).last_hidden_state
        with AttentionCapture(model, [0]) as capture:
            during = model(PIXELS).last_hidden_state
            (attention,) = capture.take()
    assert torch.equal(before, during)
    assert attention.weights.dtype == torch.float32
    torch.testing.assert_close(attention.weights, weights_of(model, 0), atol=1e-2, rtol=0)
