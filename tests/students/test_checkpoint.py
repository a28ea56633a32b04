"""Checkpoints: what comes back, what is refused, what never reaches the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from compressor.errors import ModelError
from compressor.preprocess.spec import TextSpec
from compressor.preprocess.text import Tokenizer
from compressor.students.build import build_student
from compressor.students.checkpoint import CHECKPOINT_FILES, load_checkpoint, save_checkpoint
from compressor.students.dual_encoder import DualEncoder
from compressor.students.encoder import Model
from tests.students.conftest import CAPTIONS, student_section
from tests.students.test_towers import BERT, CLIP_VISION

PIXELS = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


def embeddings(model: Model) -> torch.Tensor:
    encoder = model.encoder
    assert isinstance(encoder, DualEncoder)
    encoder.eval()
    with torch.no_grad():
        text = encoder.encode_text(torch.from_numpy(model.preprocessor.texts(CAPTIONS)))
        return torch.cat([encoder.encode_image(PIXELS), text])


def test_a_student_comes_back_equal(student: Model, tmp_path: Path) -> None:
    save_checkpoint(student, tmp_path / "c")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == sorted(CHECKPOINT_FILES)
    again = load_checkpoint(tmp_path / "c")
    assert again.fingerprint == student.fingerprint
    assert (again.name, again.origin, again.config) == (student.name, student.origin, student.config)
    assert torch.equal(embeddings(again), embeddings(student))
    assert not again.encoder.training  # type: ignore[attr-defined]


def test_half_precision_halves_the_file_and_loads_as_fp32(student: Model, tmp_path: Path) -> None:
    save_checkpoint(student, tmp_path / "full")
    save_checkpoint(student, tmp_path / "half", dtype="float16")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    again = load_checkpoint(tmp_path / "half")
    assert {p.dtype for p in again.encoder.parameters()} == {torch.float32}  # type: ignore[attr-defined]
    assert torch.nn.functional.cosine_similarity(embeddings(again), embeddings(student)).min() > 0.9999
    # saving what was loaded from half precision loses nothing more
    save_checkpoint(again, tmp_path / "again", dtype="float16")
    assert load_checkpoint(tmp_path / "again").fingerprint == again.fingerprint


def test_saving_twice_writes_the_same_bytes(student: Model, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_checkpoint(student, tmp_path / name)
    for file in CHECKPOINT_FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_no_path_of_this_machine_is_kept(
    student: Model, tokenizer: tuple[Tokenizer, TextSpec], tmp_path: Path
) -> None:
    encoder = student.encoder
    assert isinstance(encoder, DualEncoder)
    save_file(dict(encoder.text_tower.state_dict()), tmp_path / "t.safetensors")
    text = student_section().text.model_dump() | {"weights": str(tmp_path / "t.safetensors")}
    save_checkpoint(build_student(student_section(text=text), *tokenizer), tmp_path / "c")
    assert str(tmp_path) not in (tmp_path / "c" / "config.json").read_text()
    (tmp_path / "t.safetensors").unlink()
    load_checkpoint(tmp_path / "c")


def test_students_with_transformers_towers_come_back_equal(
    tokenizer: tuple[Tokenizer, TextSpec], tmp_path: Path
) -> None:
    section = student_section(
        image={"kind": "transformers", "config": CLIP_VISION, "input": {"size": 32}},
        text={"kind": "pretrained", "config": BERT | {"vocab_size": 400}, "context_length": 12},
    )
    model = build_student(section, *tokenizer)
    save_checkpoint(model, tmp_path / "c")
    assert torch.equal(embeddings(load_checkpoint(tmp_path / "c")), embeddings(model))


@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_a_missing_or_damaged_file_is_one_sentence(student: Model, tmp_path: Path, name: str) -> None:
    save_checkpoint(student, tmp_path / "c")
    path = tmp_path / "c" / name
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\x00" * 200):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=name) as caught:
            load_checkpoint(tmp_path / "c")
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(ModelError, match=f"{name} missing"):
        load_checkpoint(tmp_path / "c")


def test_a_missing_tensor_is_named(student: Model, tmp_path: Path) -> None:
    save_checkpoint(student, tmp_path / "c")
    path = tmp_path / "c" / "model.safetensors"
    tensors = load_file(path)
    del tensors["text_projection.weight"]
    save_file(tensors, path)
    with pytest.raises(ModelError, match=r"missing: text_projection\.weight"):
        load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema_version": 99}, "schema version 99 is newer"),
        ({"family": "open_clip"}, "not a student"),
        ({"family": 3}, "does not describe a model"),
        ({"student": {"embed_dim": 3}}, "student."),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(
    student: Model, tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    save_checkpoint(student, tmp_path / "c")
    path = tmp_path / "c" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=sentence):
        load_checkpoint(tmp_path / "c")


def test_an_interrupted_save_leaves_the_old_checkpoint(
    student: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(student, tmp_path / "c")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("compressor.students.checkpoint.save_weights", fail)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(student, tmp_path / "c")
    assert load_checkpoint(tmp_path / "c").fingerprint == student.fingerprint
    assert [path.name for path in tmp_path.iterdir() if path.name != "hub"] == ["c"]


def test_the_weights_file_is_plain_safetensors(student: Model, tmp_path: Path) -> None:
    save_checkpoint(student, tmp_path / "c")
    with safe_open(tmp_path / "c" / "model.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(student.encoder.state_dict())  # type: ignore[attr-defined]
