"""Inherited students: exactly the promised part of the teacher, of its own family, loadable and trainable."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from compressor.errors import ModelError
from compressor.recipe.teacher import OpenClipTeacher, TransformersTeacher
from compressor.students.checkpoint import save_checkpoint
from compressor.students.dual_encoder import parameter_counts
from compressor.students.encoder import Encoder, Model
from compressor.students.inherit import inherit_uniform, plan_inheritance
from compressor.students.inherit_plan import kept_layers
from compressor.students.inherit_sizes import Cut, TowerCut
from compressor.students.outline import outline_encoder
from compressor.teachers.checkpoint import load_any_checkpoint
from compressor.teachers.load import load_teacher
from compressor.teachers.open_clip_source import architecture
from compressor.teachers.open_clip_teacher import build_architecture
from tests.teachers.conftest import clip_vocabulary, write_open_clip

IMAGE = {"layers": 5, "width": 48, "heads": 6, "hidden": 120}
TEXT = {"layers": 4, "width": 32, "heads": 4, "hidden": 80}
EMBED_DIM = 16
"""Both families are built to these sizes: heads are 8 wide, MLPs 2.5 times the width."""

OPEN_CLIP: dict[str, Any] = {
    "embed_dim": EMBED_DIM,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 16,
        "layers": 5,
        "width": 48,
        "head_width": 8,
        "mlp_ratio": 2.5,
        "ls_init_value": 0.5,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "layers": 4,
        "width": 32,
        "heads": 4,
        "mlp_ratio": 2.5,
    },
}
FAMILIES = ("open_clip", "transformers")
SMALL = Cut(TowerCut(layers=3, width=32, heads=4), TowerCut(layers=2, width=16, heads=2), embed_dim=12)
TEXTS = ("a dog", "Two CHILDREN, one in a red coat; it's raining_hard!!", "", " ".join(["word"] * 120))


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """A teacher of each family, loaded from its original's format, with weights of fp16 and uneven norms."""
    folders = {name: tmp_path_factory.mktemp(name) for name in FAMILIES}
    write_open_clip(folders["open_clip"], model_cfg=OPEN_CLIP)
    write_transformers(folders["transformers"])
    sections = (
        OpenClipTeacher(kind="open_clip", name="tiny", path=folders["open_clip"]),
        TransformersTeacher(kind="transformers", path=folders["transformers"]),
    )
    found: dict[str, Model] = {section.kind: load_teacher(section) for section in sections}
    for model in found.values():
        assert isinstance(model.encoder, nn.Module)
        for parameter in model.encoder.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            parameter.copy_(parameter.half())
    return found


@pytest.fixture(params=FAMILIES)
def teacher(request: pytest.FixtureRequest, teachers: dict[str, Model]) -> Model:
    return teachers[request.param]


def write_transformers(folder: Path) -> None:
    """A small transformers CLIP with CLIP's own tokeniser and processor."""
    torch.manual_seed(0)
    image, text = (
        {
            "num_hidden_layers": tower["layers"],
            "hidden_size": tower["width"],
            "num_attention_heads": tower["heads"],
            "intermediate_size": tower["hidden"],
        }
        for tower in (IMAGE, TEXT)
    )
    image |= {"image_size": 32, "patch_size": 16}
    text |= {"vocab_size": 49408, "pad_token_id": 49407}
    config = CLIPConfig(text_config=text, vision_config=image, projection_dim=EMBED_DIM)
    CLIPModel(config).save_pretrained(folder)
    vocabulary, merges = clip_vocabulary()
    CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)


def pixels() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def embeddings(model: Model) -> Tensor:
    """Of three pictures and of texts that are short, long, empty and cut."""
    with torch.no_grad():
        texts = model.encoder.encode_text(torch.from_numpy(model.preprocessor.texts(TEXTS)))
        return torch.cat([model.encoder.encode_image(pixels()), texts])


def weights(model: Model) -> dict[str, Tensor]:
    assert isinstance(model.encoder, nn.Module)
    return {name.removeprefix("model."): value for name, value in model.encoder.state_dict().items()}


def modules(model: Model) -> tuple[nn.ModuleList, nn.ModuleList]:
    """The layers of both towers."""
    own: Any = model.encoder.model  # type: ignore[attr-defined]
    if model.config["family"] == "open_clip":
        return own.visual.transformer.resblocks, own.transformer.resblocks
    return own.vision_model.encoder.layers, own.text_model.encoder.layers


def count(tower: dict[str, int], *, tokens: int, positions: int, norms: int, scales: int) -> int:
    """Parameters of a transformer tower, from the definition."""
    width, hidden = tower["width"], tower["hidden"]
    attention = 4 * (width * width + width)
    mlp = 2 * width * hidden + hidden + width
    layer = attention + mlp + 2 * 2 * width + scales * width
    return tower["layers"] * layer + (tokens + positions + 2 * norms) * width


# ---------------------------------------------------------------- what is kept


def test_keeping_everything_gives_the_teachers_own_embeddings(teacher: Model) -> None:
    spelled = Cut(TowerCut(5, 48, 6), TowerCut(4, 32, 4), EMBED_DIM)
    for cut in (Cut(), spelled):
        student = inherit_uniform(teacher, cut)
        assert torch.equal(embeddings(student), embeddings(teacher))
        assert torch.equal(student.encoder.logit_scale, teacher.encoder.logit_scale)


def test_dropping_layers_is_removing_them_from_the_teacher(teacher: Model) -> None:
    student = inherit_uniform(teacher, Cut(TowerCut(layers=3), TowerCut(layers=2)))
    shorter = copy.deepcopy(teacher)
    for layers, gone in zip(modules(shorter), ((3, 1), (2, 1)), strict=True):
        for layer in gone:
            del layers[layer]
    assert torch.equal(embeddings(student), embeddings(shorter))
    assert not torch.allclose(embeddings(student), embeddings(teacher), atol=1e-3)


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


def slices(whole: Tensor, *kept: list[int]) -> list[Any]:
    """The named rows, of each the named columns, picked one by one."""
    rows = [whole[row] for row in kept[0]]
    return [slices(row, *kept[1:]) if kept[1:] else row.tolist() for row in rows]


def test_open_clip_weights_are_the_stated_slices(teachers: dict[str, Model]) -> None:
    teacher = teachers["open_clip"]
    student = inherit_uniform(teacher, Cut(TowerCut(layers=3, width=24, heads=4), embed_dim=12))
    ours, theirs = weights(student), weights(teacher)
    channels, hidden = list(range(24)), list(range(60))
    heads = [head * 8 + channel for head in range(4) for channel in range(6)]  # 4 of 6, each 6 wide of 8
    parts = [part * 48 + row for part in range(3) for row in heads]  # queries, keys, values
    expected: dict[str, tuple[list[int], ...]] = {
        "ln_1.weight": (channels,),
        "attn.in_proj_weight": (parts, channels),
        "attn.in_proj_bias": (parts,),
        "attn.out_proj.weight": (channels, heads),
        "ls_2.gamma": (channels,),
        "mlp.c_fc.weight": (hidden, channels),
        "mlp.c_fc.bias": (hidden,),
        "mlp.c_proj.weight": (channels, hidden),
    }
    for layer, source in ((0, 0), (1, 2), (2, 4)):
        for name, kept in expected.items():
            whole = theirs[f"visual.transformer.resblocks.{source}.{name}"]
            assert ours[f"visual.transformer.resblocks.{layer}.{name}"].tolist() == slices(whole, *kept)
    assert ours["visual.conv1.weight"].tolist() == slices(theirs["visual.conv1.weight"], channels)
    position = "visual.positional_embedding"
    assert ours[position].tolist() == slices(theirs[position], list(range(5)), channels)
    assert ours["visual.proj"].tolist() == slices(theirs["visual.proj"], channels, list(range(12)))
    assert ours["text_projection"].tolist() == slices(
        theirs["text_projection"], list(range(32)), list(range(12))
    )


def test_transformers_weights_are_the_stated_slices(teachers: dict[str, Model]) -> None:
    teacher = teachers["transformers"]
    student = inherit_uniform(teacher, Cut(text=TowerCut(layers=2, width=16, heads=4), embed_dim=12))
    ours, theirs = weights(student), weights(teacher)
    channels, hidden = list(range(16)), list(range(40))
    heads = [head * 8 + channel for head in range(4) for channel in range(4)]  # all 4, each 4 wide of 8
    expected: dict[str, tuple[list[int], ...]] = {
        "self_attn.q_proj.weight": (heads, channels),
        "self_attn.k_proj.bias": (heads,),
        "self_attn.v_proj.weight": (heads, channels),
        "self_attn.out_proj.weight": (channels, heads),
        "layer_norm2.weight": (channels,),
        "mlp.fc1.weight": (hidden, channels),
        "mlp.fc2.weight": (channels, hidden),
    }
    for layer, source in ((0, 0), (1, 3)):
        for name, kept in expected.items():
            whole = theirs[f"text_model.encoder.layers.{source}.{name}"]
            assert ours[f"text_model.encoder.layers.{layer}.{name}"].tolist() == slices(whole, *kept)
    tokens, space = "text_model.embeddings.token_embedding.weight", list(range(12))
    assert ours[tokens][::999].tolist() == slices(theirs[tokens][::999], list(range(50)), channels)
    text, image = "text_projection.weight", "visual_projection.weight"
    assert ours[text].tolist() == slices(theirs[text], space, channels)
    assert ours[image].tolist() == slices(theirs[image], space, list(range(48)))


def test_every_weight_comes_from_the_teacher(teacher: Model) -> None:
    student = inherit_uniform(teacher, SMALL)
    known = {value for tensor in weights(teacher).values() for value in tensor.flatten().tolist()}
    for tensor in weights(student).values():
        assert known.issuperset(tensor.flatten().tolist())


def test_heads_and_parameters_are_as_asked(teacher: Model) -> None:
    student = inherit_uniform(teacher, SMALL)
    assert isinstance(student.encoder, nn.Module)
    counts = parameter_counts(student.encoder)
    scales = 2 if teacher.config["family"] == "open_clip" else 0
    image = {"layers": 3, "width": 32, "hidden": 80}
    text = {"layers": 2, "width": 16, "hidden": 40}
    patches = count(image, tokens=3 * 16 * 16 + 1, positions=5, norms=2, scales=scales)
    assert counts["image"] == patches + 32 * 12
    assert counts["text"] == count(text, tokens=49408, positions=77, norms=1, scales=0) + 16 * 12
    for layers, heads in zip(modules(student), (4, 2), strict=True):
        attention: list[Any] = [getattr(layer, "attn", None) or layer.self_attn for layer in layers]
        assert {part.num_heads for part in attention} == {heads}


def test_heads_follow_the_width_at_the_teachers_head_width(teacher: Model) -> None:
    student = inherit_uniform(teacher, Cut(TowerCut(width=24)))
    explicit = inherit_uniform(teacher, Cut(TowerCut(width=24, heads=3)))
    assert student.fingerprint == explicit.fingerprint
    assert plan_inheritance(teacher.config, Cut(TowerCut(width=24))).image.student.heads == 3


# ---------------------------------------------------------------- a model like any other


def test_a_student_is_a_model_of_the_teachers_family(teacher: Model) -> None:
    before = copy.deepcopy(teacher.config)
    student = inherit_uniform(teacher, SMALL)
    assert isinstance(student.encoder, Encoder)
    assert student.encoder.embed_dim == 12
    assert student.preprocessor is teacher.preprocessor
    assert student.config["family"] == teacher.config["family"]
    assert teacher.config == before
    assert "layers 0, 2, 4 of 5" in student.origin
    assert "2 of 4 heads" in student.origin
    assert student.fingerprint != teacher.fingerprint
    rows = embeddings(student)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))


def test_the_activation_stays(teachers: dict[str, Model]) -> None:
    assert inherit_uniform(teachers["open_clip"], SMALL).config["model_cfg"]["quick_gelu"] is True
    keys = inherit_uniform(teachers["transformers"], SMALL).config["transformers"]
    assert keys["vision_config"]["hidden_act"] == keys["text_config"]["hidden_act"] == "quick_gelu"


def test_every_weight_of_a_student_trains(teacher: Model) -> None:
    student = inherit_uniform(teacher, SMALL)
    encoder: Any = student.encoder
    ids = torch.from_numpy(student.preprocessor.texts(TEXTS[:3]))
    image, text = encoder.train()(pixels(), ids)
    (torch.nn.functional.cross_entropy(encoder.logit_scale * image @ text.T, torch.arange(3))).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
    assert not any(parameter.requires_grad for parameter in teacher.encoder.parameters())  # type: ignore[attr-defined]


def test_padding_does_not_reach_the_embedding(teacher: Model) -> None:
    student = inherit_uniform(teacher, SMALL)
    ids = torch.from_numpy(student.preprocessor.texts(TEXTS[:1]))
    end = ids[0].tolist().index(student.preprocessor.text.eos_id)
    other = ids.clone()
    other[0, end + 1 :] = 7  # any ordinary token below the end-of-text id
    with torch.no_grad():
        torch.testing.assert_close(student.encoder.encode_text(other), student.encoder.encode_text(ids))


def test_weights_in_half_precision_are_upcast(teacher: Model) -> None:
    half = copy.deepcopy(teacher)
    half.encoder.half()  # type: ignore[attr-defined]
    student = inherit_uniform(half, SMALL)
    assert {value.dtype for value in weights(student).values()} == {torch.float32}
    assert student.fingerprint == inherit_uniform(teacher, SMALL).fingerprint


def test_a_student_can_be_inherited_from(teacher: Model) -> None:
    first = inherit_uniform(teacher, Cut(TowerCut(width=40), TowerCut(width=24), embed_dim=14))
    second = inherit_uniform(first, Cut(TowerCut(width=32), TowerCut(width=16), embed_dim=12))
    at_once = inherit_uniform(teacher, Cut(TowerCut(width=32), TowerCut(width=16), embed_dim=12))
    assert second.fingerprint == at_once.fingerprint


def test_a_checkpoint_brings_a_student_back(teacher: Model, tmp_path: Path) -> None:
    student = inherit_uniform(teacher, SMALL)
    save_checkpoint(student, tmp_path / "c")
    again = load_any_checkpoint(tmp_path / "c")
    assert torch.equal(embeddings(again), embeddings(student))
    assert (again.fingerprint, again.name, again.origin) == (
        student.fingerprint,
        student.name,
        student.origin,
    )


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
def test_sizes_that_the_teacher_does_not_have_are_refused(teacher: Model, cut: Cut, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence) as caught:
        inherit_uniform(teacher, cut)
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


def test_other_families_are_refused(teacher: Model) -> None:
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
