"""Whole runs with a teacher of one modality, and with several teachers at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from compressor.data import open_pairs
from compressor.errors import DataError, MissingResourceError
from compressor.export.pytorch import TorchEncoder
from compressor.pipeline.folder import RunFolder
from compressor.pipeline.plan import make_plan
from compressor.recipe.data import ScenesData, Split
from compressor.recipe.load import load_recipe
from compressor.runtime.bundle import Bundle
from compressor.students.checkpoint import load_checkpoint
from tests.integration.conftest import Run
from tests.integration.photos import write_folder
from tests.integration.test_kinds_of_runs import curve, facts
from tests.integration.tiny import DATA, SIZE, TEACHER, merged, write_recipe, write_teacher

NAME = "vit_tiny_patch16_224"
OPTIONS: dict[str, Any] = {"embed_dim": 32, "depth": 1, "num_heads": 2}
REGRESSION = [{"kind": "task"}, {"kind": "regression"}]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Where `run` leaves its files."""
    return RunFolder(tmp_path / "runs" / "tiny")


@pytest.fixture(scope="module")
def sees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A timm teacher with weights of its own."""
    path = tmp_path_factory.mktemp("timm") / "vit.safetensors"
    torch.manual_seed(3)
    save_file(timm.create_model(NAME, img_size=SIZE, num_classes=5, **OPTIONS).state_dict(), path)
    return {"kind": "timm", "name": NAME, "path": str(path), "size": SIZE, "options": OPTIONS}


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A BERT with a word-level tokeniser."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    captions = [c for row in open_pairs(ScenesData.model_validate(DATA), "train").rows for c in row.captions]
    backend = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.train_from_iterator(captions, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"]))
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", model_max_length=24
    ).save_pretrained(folder)
    torch.manual_seed(4)
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=backend.get_vocab_size(), max_position_embeddings=24, **sizes)
    BertModel(config).save_pretrained(folder)
    return {"kind": "text", "path": str(folder), "context_length": 24}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second teacher, of another width."""
    changed = merged(TEACHER, {"embed_dim": 16, "tokenizer": {"kind": "train", "vocab_size": 280}})
    return write_teacher(tmp_path_factory.mktemp("models") / "other", changed, seed=8)


def test_an_image_teacher_and_a_student_with_a_shared_block(
    run: Run, folder: RunFolder, sees: dict[str, Any], tmp_path: Path
) -> None:
    results = run(
        teacher=sees,
        student={"shared": {"layers": 1}},
        distill={"losses": REGRESSION, "balancer": {"kind": "uncertainty"}, "control": True},
        export={"precisions": ["fp32", "int8"]},
        goals=[
            "quality.student.rsum >= 0",
            "artifacts.fp32.image.cosine > 0.99",
            "retention.student_minus_control >= -600",
        ],
    )
    assert results is not None
    assert [goal.verdict for goal in results.goals] == ["met"] * 3
    assert set(results.quality) == {"student", "control"}
    student, control, kept = results.quality["student"], results.quality["control"], results.rsum_kept
    assert student is not None
    assert control is not None
    assert kept is not None
    assert (kept.rsum, kept.rsum_interval, kept.control_rsum) == (None, None, None)
    assert kept.student_minus_control == pytest.approx(student.rsum - control.rsum)
    assert kept.student_minus_control_interval is not None
    assert results.latency is not None
    assert results.latency.pair.teacher is None
    assert results.latency.p50_ratio is None
    assert results.size.teacher is None
    assert not folder.bundle_of("teacher").exists()
    told = facts(folder, "teacher")
    assert (told["kind"], told["embed_dim"], told["origin"]) == ("timm", 32, f"timm {NAME}")
    assert facts(folder, "cache")["store"]["images"] == 48
    assert facts(folder, "cache")["store"]["texts"] == 0
    assert "not available" in (folder.root / "report.md").read_text()
    records = curve(folder)
    assert {"task", "regression"} == set(records[0]["losses"])
    assert records[-1]["losses"]["regression"] < records[0]["losses"]["regression"]

    student = load_checkpoint(folder.checkpoint)
    parameters = Bundle.open(folder.bundle).manifest.parameters
    block = 2 * 16 + 16 * 32 + 32 + 32 * 16 + 16
    assert parameters["total"] == parameters["image"] + parameters["text"] + block + 1
    assert any(weight.abs().sum() > 0 for weight in student.encoder.shared.blocks[0].outer.parameters())  # type: ignore[attr-defined]
    captions = ["a red circle", "a blue square above a star"]
    served = Bundle.open(folder.bundle, precision="fp32").encode_texts(captions)
    np.testing.assert_allclose(served, TorchEncoder(student).encode_texts(captions), atol=1e-4)


def test_a_text_teacher_says_nothing_of_bare_pictures(
    run: Run, folder: RunFolder, reads: dict[str, Any], tmp_path: Path
) -> None:
    root = write_folder(tmp_path / "photos", without={"train": range(0, 32, 2)})
    sections = {"teacher": reads, "data": {"kind": "folder", "path": str(root)}}
    losses = [{"kind": "task"}, {"kind": "regression", "normalize": False}]
    run(**sections, until="distill", distill={"losses": losses})
    assert facts(folder, "cache")["store"]["images"] == 0
    stored = curve(folder)
    assert all(np.isfinite(record["total"]) for record in stored)
    shutil.rmtree(folder.training)
    run(**sections, until="distill", distill={"losses": losses, "signals": "live"})
    for one, two in zip(stored, curve(folder), strict=True):
        assert one["losses"]["regression"] == pytest.approx(two["losses"]["regression"], rel=5e-3)
    bare = write_folder(tmp_path / "bare", without={"train": range(32)})
    with pytest.raises(DataError, match="the training pictures have no captions"):
        run(teacher=reads, data={"kind": "folder", "path": str(bare)}, distill={"losses": REGRESSION[1:]})


def mean_cosines(members: list[tuple[Path, float]]) -> tuple[np.ndarray, list[int]]:
    """The weighted mean of the members' own cosines on the test split, and whose each caption is."""
    pairs = open_pairs(ScenesData.model_validate(DATA), "test")
    images = [pairs.image(i) for i in range(len(pairs.rows))]
    captions = [caption for row in pairs.rows for caption in row.captions]
    mean = np.zeros((len(images), len(captions)))
    for path, share in members:
        encoder = TorchEncoder(load_checkpoint(path))
        mean += share * (encoder.encode_images(images) @ encoder.encode_texts(captions).T)
    return mean, [i for i, row in enumerate(pairs.rows) for _ in row.captions]


def test_an_ensemble_teaches_and_is_measured_as_one(
    run: Run, folder: RunFolder, teacher: Path, other: Path
) -> None:
    members = [{"kind": "checkpoint", "path": str(path), "batch_size": 16} for path in (teacher, other)]
    losses = [{"kind": "feature"}, {"kind": "affinity", "ensemble": "distributions"}]
    section = {"kind": "ensemble", "members": members, "weights": [1, 3]}
    results = run(teacher=section, distill={"losses": losses}, goals=["retention.rsum >= 0"])
    assert results is not None
    assert results.goals[0].verdict == "met"
    found = results.quality["teacher"]
    assert found is not None
    assert (found.source, found.precision) == ("embeddings", "fp32")
    assert results.retention is not None
    assert results.latency is not None
    assert results.latency.pair.teacher is None
    assert results.size.teacher is None
    told = facts(folder, "teacher")
    assert told["embed_dim"] == 24 + 16
    assert [member["embed_dim"] for member in told["members"]] == [24, 16]
    assert told["origin"].startswith("an ensemble of checkpoint ")
    assert len(list((folder.cache / "store").iterdir())) == 2
    assert facts(folder, "cache")["store"]["images"] == 2 * 48

    cosines, owners = mean_cosines([(teacher, 0.25), (other, 0.75)])
    places = []
    for image, row in enumerate(cosines):
        best = max(value for value, owner in zip(row, owners, strict=True) if owner == image)
        foreign = [value for value, owner in zip(row, owners, strict=True) if owner != image]
        places.append(1 + sum(value >= best for value in foreign))
    for k, recall in ((1, found.i2t_r1), (5, found.i2t_r5), (10, found.i2t_r10)):
        assert recall == pytest.approx(100 * np.mean([place <= k for place in places]))

    stored = curve(folder)
    shutil.rmtree(folder.training)
    run(teacher=section, until="distill", distill={"losses": losses, "signals": "live"})
    for one, two in zip(stored, curve(folder), strict=True):
        assert one["losses"]["affinity"] == pytest.approx(two["losses"]["affinity"], rel=2e-2, abs=1e-4)


def test_an_ensemble_takes_embeddings_of_a_model_that_is_not_here(
    run: Run, folder: RunFolder, teacher: Path, other: Path, tmp_path: Path
) -> None:
    """Members that are read give what they would give if they were run."""
    paths = [teacher, other]
    running = [{"kind": "checkpoint", "path": str(path)} for path in paths]
    path = tmp_path / "other.safetensors"
    write_embeddings(other, path)
    given = {"kind": "embeddings", "path": str(path)}
    found = {}
    for name, members in (("run", running), ("read", [running[0], given])):
        section = {"kind": "ensemble", "members": members}
        results = run(name=name, teacher=section, distill={"losses": [{"kind": "feature"}]})
        assert results is not None
        found[name] = results.quality["teacher"]
        assert curve(RunFolder(folder.root.parent / name))
    assert found["run"].rsum == pytest.approx(found["read"].rsum, abs=7)  # type: ignore[union-attr]


def write_embeddings(checkpoint: Path, path: Path) -> None:
    """What a model makes of all splits, with ids."""
    from safetensors.numpy import save_file as save_arrays

    encoder = TorchEncoder(load_checkpoint(checkpoint))
    images: list[np.ndarray] = []
    texts: list[np.ndarray] = []
    image_ids: list[str] = []
    text_ids: list[str] = []
    for split in get_args(Split):
        pairs = open_pairs(ScenesData.model_validate(DATA), split)
        images.append(encoder.encode_images([pairs.image(i) for i in range(len(pairs.rows))]))
        texts.append(encoder.encode_texts([caption for row in pairs.rows for caption in row.captions]))
        image_ids += [row.id for row in pairs.rows]
        text_ids += [name for row in pairs.rows for name in row.caption_ids]
    arrays = {"image_embeds": np.concatenate(images), "text_embeds": np.concatenate(texts)}
    metadata = {"image_ids": json.dumps(image_ids), "text_ids": json.dumps(text_ids)}
    save_arrays(arrays, path, metadata)


def test_what_is_missing_and_how_large_it_would_be_is_known_before(
    tmp_path: Path, sees: dict[str, Any], reads: dict[str, Any], teacher: Path, other: Path, run: Run
) -> None:
    absent = sees | {"path": str(tmp_path / "absent.safetensors")}
    with pytest.raises(MissingResourceError, match=r"weights .*absent\.safetensors are not there"):
        run(teacher=absent, distill={"losses": REGRESSION})
    members = [{"kind": "checkpoint", "path": str(path)} for path in (teacher, other)]
    sections = {"sees": sees, "reads": reads, "both": {"kind": "ensemble", "members": members}}
    plans = {}
    for name, section in sections.items():
        losses = [{"kind": "feature"}] if name == "both" else REGRESSION
        recipe = write_recipe(tmp_path / name, teacher=section, distill={"losses": losses, "control": False})
        plans[name] = make_plan(load_recipe(recipe).recipe, tmp_path / "runs")
    assert [plans[name]["teacher"]["embed_dim"] for name in plans] == [32, 24, 40]
    assert (plans["sees"]["teacher"]["gflops_text"], plans["reads"]["teacher"]["gflops_image"]) == (0, 0)
    captions = sum(len(row.captions) for row in open_pairs(ScenesData.model_validate(DATA), "train").rows)
    assert plans["sees"]["store_bytes"] == 48 * (2 * 32 + 16)
    assert plans["reads"]["store_bytes"] == captions * (2 * 24 + 16)
    assert plans["both"]["store_bytes"] == (48 + captions) * (2 * 40 + 16)


def test_a_rehearsal_of_a_unimodal_teacher_needs_no_weights(run: Run, folder: RunFolder) -> None:
    teacher = {"kind": "timm", "name": NAME, "size": SIZE, "options": OPTIONS}
    results = run(teacher=teacher, distill={"losses": REGRESSION}, rehearse=True)
    assert results is not None
    assert "random weights" in facts(RunFolder(folder.root.parent / "tiny-rehearsal"), "teacher")["origin"]
