"""One door to all teachers: checkpoints of every family, what is missing, what cannot be run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compressor.errors import MissingResourceError, ModelError
from compressor.recipe.base import resolve_path
from compressor.recipe.teacher import (
    CheckpointTeacher,
    EmbeddingsTeacher,
    OpenClipTeacher,
    TransformersTeacher,
)
from compressor.students import hub
from compressor.students.build import build_student, build_tokenizer
from compressor.students.checkpoint import save_checkpoint
from compressor.students.encoder import Model
from compressor.teachers.load import load_teacher, missing_resources
from tests.students.conftest import CAPTIONS, student_section
from tests.teachers.conftest import write_open_clip


def checkpoint(path: Path) -> CheckpointTeacher:
    return CheckpointTeacher(kind="checkpoint", path=path)


def small_student() -> Model:
    torch.manual_seed(0)
    return build_student(student_section(), *build_tokenizer(student_section().tokenizer, CAPTIONS * 3, 12))


def test_a_checkpoint_of_ours_teaches(tmp_path: Path) -> None:
    model = small_student()
    save_checkpoint(model, tmp_path / "c")
    assert missing_resources(checkpoint(tmp_path / "c")) == []
    teacher = load_teacher(checkpoint(tmp_path / "c"))
    assert teacher.fingerprint == model.fingerprint
    assert teacher.origin.startswith("checkpoint c: mobilenetv3")
    assert isinstance(teacher.encoder, torch.nn.Module)
    assert not any(parameter.requires_grad for parameter in teacher.encoder.parameters())


def test_the_checkpoint_of_a_run_is_called_by_the_run(tmp_path: Path) -> None:
    save_checkpoint(small_student(), tmp_path / "mine" / "checkpoint")
    teacher = load_teacher(checkpoint(tmp_path / "mine" / "checkpoint"))
    assert teacher.origin.startswith("checkpoint mine: mobilenetv3")
    assert teacher.origin.endswith(", trained from nothing"), "not: random weights, which it no longer has"


def test_the_shipped_teacher_says_its_licence_and_that_it_was_trained() -> None:
    teacher = load_teacher(checkpoint(Path(resolve_path("builtin:scenes_teacher"))))
    assert teacher.licence.startswith("Apache-2.0, trained from nothing on drawn scenes")
    assert "random weights" not in teacher.origin


@pytest.mark.parametrize("family", ["open_clip", "clip", "siglip"])
def test_a_fine_tuned_teacher_of_any_family_comes_back_from_its_checkpoint(
    family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    section: OpenClipTeacher | TransformersTeacher
    if family == "open_clip":
        section = OpenClipTeacher(kind="open_clip", name="tiny", path=write_open_clip(tmp_path / "tiny"))
    else:
        section = TransformersTeacher(kind="transformers", path=request.getfixturevalue(f"{family}_folder"))
    model = load_teacher(section)
    assert isinstance(model.encoder, torch.nn.Module)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(1.01)
    save_checkpoint(model, tmp_path / "tuned")
    assert str(tmp_path) not in (tmp_path / "tuned" / "config.json").read_text()
    again = load_teacher(checkpoint(tmp_path / "tuned"))
    assert again.fingerprint != model.fingerprint  # the model's own was taken before the weights changed
    ids = torch.from_numpy(model.preprocessor.texts(["a dog", "two dogs on a beach"]))
    size = model.preprocessor.image.size
    pixels = torch.randn(2, 3, size, size)
    assert torch.equal(again.encoder.encode_text(ids), model.encoder.encode_text(ids))
    assert torch.equal(again.encoder.encode_image(pixels), model.encoder.encode_image(pixels))
    assert again.encoder.embed_dim == model.encoder.embed_dim


def test_a_checkpoint_that_is_not_whole_is_said_before_loading(tmp_path: Path) -> None:
    assert "is not there" in missing_resources(checkpoint(tmp_path / "nowhere"))[0]
    with pytest.raises(MissingResourceError, match="is not there"):
        load_teacher(checkpoint(tmp_path / "nowhere"))
    save_checkpoint(small_student(), tmp_path / "c")
    (tmp_path / "c" / "tokenizer.json").unlink()
    assert missing_resources(checkpoint(tmp_path / "c")) == [
        f"The teacher's checkpoint {tmp_path / 'c'} lacks tokenizer.json: copy the whole folder."
    ]


def test_an_unknown_family_is_refused(tmp_path: Path) -> None:
    save_checkpoint(small_student(), tmp_path / "c")
    path = tmp_path / "c" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"family": "oracle"}))
    with pytest.raises(ModelError, match="family 'oracle'"):
        load_teacher(checkpoint(tmp_path / "c"))


def test_a_model_without_a_description_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be saved"):
        save_checkpoint(replace(small_student(), config={}), tmp_path / "c")


def test_stored_embeddings_cannot_be_run(tmp_path: Path) -> None:
    section = EmbeddingsTeacher(kind="embeddings", path=tmp_path / "e.safetensors")
    with pytest.raises(ModelError, match="cannot be run"):
        load_teacher(section)
    assert "e.safetensors" in missing_resources(section)[0]


def test_an_unreachable_hub_is_found_out_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert hub.hub_answers() is False
    (sentence,) = missing_resources(TransformersTeacher(kind="transformers", name="someone/clip"))
    assert "not reachable from here" in sentence


def test_a_cached_repository_is_used_without_the_hub(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--someone--bert"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert hub.missing_on_hub("someone/bert", ("config.json",)) is None
    assert hub.fetch_repository("someone/bert", ("config.json",)) == snapshot
    assert "model.safetensors" in str(
        hub.missing_on_hub("someone/bert", ("config.json", "model.safetensors"))
    )
