"""What an inherited student may be: the layers that are kept, the sizes and families that are refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import ModelError
from compressor.students.encoder import Model
from compressor.students.inherit import inherit_uniform, plan_inheritance
from compressor.students.inherit_plan import kept_layers
from compressor.students.inherit_sizes import Cut, TowerCut
from compressor.students.outline import outline_encoder
from compressor.teachers.open_clip_source import architecture
from compressor.teachers.open_clip_teacher import build_architecture
from tests.students.clips import OPEN_CLIP, count


@given(st.integers(1, 60).flatmap(lambda owned: st.tuples(st.just(owned), st.integers(1, owned))))
def test_kept_layers_are_spread_evenly_between_the_first_and_the_last(sizes: tuple[int, int]) -> None:
    owned, asked = sizes
    layers = kept_layers(owned, asked)
    assert len(layers) == asked
    assert layers[0] == 0
    assert asked == 1 or layers[-1] == owned - 1
    for index, layer in enumerate(layers[1:], start=1):
        assert layer > layers[index - 1]
        assert abs(layer - index * (owned - 1) / (asked - 1)) <= 0.5


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("cut", "sentence"),
    [
        (Cut(TowerCut(layers=6)), r"inherit\.image\.layers is 6, the teacher has 5: allowed are 1 to 5"),
        (Cut(TowerCut(layers=0)), r"inherit\.image\.layers is 0"),
        (Cut(text=TowerCut(width=40)), r"inherit\.text\.width is 40, the teacher has 32"),
        (Cut(text=TowerCut(width=24, heads=5)), r"inherit\.text\.heads is 5, the teacher has 4"),
        (Cut(text=TowerCut(width=20)), r"width is 20, the teacher's heads are 8 wide: take a multiple of 8"),
        (Cut(TowerCut(width=32, heads=5)), r"inherit\.image\.width 32 is not a multiple of .*heads 5"),
        (Cut(TowerCut(width=32, heads=2)), r"2 heads of 32 channels are 16 wide, .* are 8: .* least 4 heads"),
        (Cut(TowerCut(heads=3)), r"3 heads of 48 channels are 16 wide"),
        (Cut(embed_dim=17), r"inherit\.embed_dim is 17, the teacher has 16"),
    ],
)
def test_sizes_that_the_teacher_does_not_have_are_refused(
    clip_teacher: Model, cut: Cut, sentence: str
) -> None:
    with pytest.raises(ModelError, match=sentence) as caught:
        inherit_uniform(clip_teacher, cut)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("RN50", "its image tower is a ResNet"),
        ("coca_ViT-B-32", "it is a CoCa"),
        ("ViT-B-16-SigLIP", "it is a SigLIP"),
        ("convnext_base", "its image tower is a timm model"),
        ("roberta-ViT-B-32", "its text tower is a transformers model"),
    ],
)
def test_other_open_clip_families_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        plan_inheritance({"family": "open_clip", "model_cfg": architecture(name)}, Cut())
    assert "\n" not in str(caught.value)


def test_other_blocks_of_open_clip_are_refused_by_their_weights() -> None:
    config = copy.deepcopy(OPEN_CLIP)
    config["text_cfg"]["qk_norm"] = True
    plan = plan_inheritance({"family": "open_clip", "model_cfg": config}, Cut())
    own = build_architecture(config).state_dict()
    with pytest.raises(ModelError, match=r"it has a 'transformer\.resblocks\.0\.attn\.ln_q\.weight'"):
        plan.weights(own, own)


def test_other_families_are_refused(clip_teacher: Model) -> None:
    with pytest.raises(ModelError, match="it is a 'siglip'"):
        plan_inheritance({"family": "transformers", "transformers": {"model_type": "siglip"}}, Cut())
    with pytest.raises(ModelError, match="family 'student'"):
        plan_inheritance({"family": "student"}, Cut())


# ---------------------------------------------------------------- full size, without weights


def test_a_full_size_student_is_planned_without_any_weights() -> None:
    config: dict[str, Any] = {"family": "open_clip", "model_cfg": architecture("ViT-L-14-quickgelu")}
    plan = plan_inheritance(config, Cut(TowerCut(layers=12, width=512), TowerCut(layers=6, width=384), 512))
    assert plan.image.layers == (0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21, 23)
    assert plan.config["model_cfg"] == {
        "embed_dim": 512,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 224,
            "layers": 12,
            "width": 512,
            "patch_size": 14,
            "head_width": 64,
        },
        "text_cfg": architecture("ViT-L-14")["text_cfg"] | {"layers": 6, "width": 384, "heads": 6},
    }
    with torch.device("meta"):
        student = plan.build()
        cut = plan.weights(student.model.state_dict(), build_architecture(config["model_cfg"]).state_dict())
    assert {name: value.shape for name, value in cut.items()} == {
        name: value.shape for name, value in student.model.state_dict().items()
    }
    image = {"layers": 12, "width": 512, "hidden": 2048}
    text = {"layers": 6, "width": 384, "hidden": 1536}
    outline = outline_encoder(student, 224, 77)
    patches = count(image, tokens=3 * 14 * 14 + 1, positions=257, norms=2, scales=0)
    assert outline.parameters["image"] == patches + 512 * 512
    assert outline.parameters["text"] == (
        count(text, tokens=49408, positions=77, norms=1, scales=0) + 384 * 512
    )
