"""An inherited student is a model like any other: of its family, loadable, trainable, inheritable."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from compressor.students.checkpoint import save_checkpoint
from compressor.students.encoder import Encoder, Model
from compressor.students.inherit import inherit_uniform
from compressor.students.inherit_sizes import Cut, TowerCut
from compressor.teachers.checkpoint import load_any_checkpoint
from tests.students.clips import SMALL, TEXTS, embeddings, pixels, weights

# ---------------------------------------------------------------- a model like any other


def test_a_student_is_a_model_of_the_teachers_family(clip_teacher: Model) -> None:
    before = copy.deepcopy(clip_teacher.config)
    student = inherit_uniform(clip_teacher, SMALL)
    assert isinstance(student.encoder, Encoder)
    assert student.encoder.embed_dim == 12
    assert student.preprocessor is clip_teacher.preprocessor
    assert student.config["family"] == clip_teacher.config["family"]
    assert clip_teacher.config == before
    assert "layers 0, 2, 4 of 5" in student.origin
    assert "2 of 4 heads" in student.origin
    assert student.fingerprint != clip_teacher.fingerprint
    rows = embeddings(student)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))


def test_the_activation_stays(clip_teachers: dict[str, Model]) -> None:
    assert inherit_uniform(clip_teachers["open_clip"], SMALL).config["model_cfg"]["quick_gelu"] is True
    keys = inherit_uniform(clip_teachers["transformers"], SMALL).config["transformers"]
    assert keys["vision_config"]["hidden_act"] == keys["text_config"]["hidden_act"] == "quick_gelu"


def test_every_weight_of_a_student_trains(clip_teacher: Model) -> None:
    student = inherit_uniform(clip_teacher, SMALL)
    encoder: Any = student.encoder
    ids = torch.from_numpy(student.preprocessor.texts(TEXTS[:3]))
    image, text = encoder.train()(pixels(), ids)
    (torch.nn.functional.cross_entropy(encoder.logit_scale * image @ text.T, torch.arange(3))).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
    assert not any(parameter.requires_grad for parameter in clip_teacher.encoder.parameters())  # type: ignore[attr-defined]


def test_padding_does_not_reach_the_embedding(clip_teacher: Model) -> None:
    student = inherit_uniform(clip_teacher, SMALL)
    ids = torch.from_numpy(student.preprocessor.texts(TEXTS[:1]))
    end = ids[0].tolist().index(student.preprocessor.text.eos_id)
    other = ids.clone()
    other[0, end + 1 :] = 7  # any ordinary token below the end-of-text id
    with torch.no_grad():
        torch.testing.assert_close(student.encoder.encode_text(other), student.encoder.encode_text(ids))


def test_weights_in_half_precision_are_upcast(clip_teacher: Model) -> None:
    half = copy.deepcopy(clip_teacher)
    half.encoder.half()  # type: ignore[attr-defined]
    student = inherit_uniform(half, SMALL)
    assert {value.dtype for value in weights(student).values()} == {torch.float32}
    assert student.fingerprint == inherit_uniform(clip_teacher, SMALL).fingerprint


def test_a_student_can_be_inherited_from(clip_teacher: Model) -> None:
    first = inherit_uniform(clip_teacher, Cut(TowerCut(width=40), TowerCut(width=24), embed_dim=14))
    second = inherit_uniform(first, Cut(TowerCut(width=32), TowerCut(width=16), embed_dim=12))
    at_once = inherit_uniform(clip_teacher, Cut(TowerCut(width=32), TowerCut(width=16), embed_dim=12))
    assert second.fingerprint == at_once.fingerprint


def test_a_checkpoint_brings_a_student_back(clip_teacher: Model, tmp_path: Path) -> None:
    student = inherit_uniform(clip_teacher, SMALL)
    save_checkpoint(student, tmp_path / "c")
    again = load_any_checkpoint(tmp_path / "c")
    assert torch.equal(embeddings(again), embeddings(student))
    assert (again.fingerprint, again.name, again.origin) == (
        student.fingerprint,
        student.name,
        student.origin,
    )
