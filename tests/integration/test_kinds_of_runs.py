"""Whole runs of the other kinds: live signals, fine-tuning, stored embeddings, photos, rehearsal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import compressor
from compressor.errors import RecipeError
from compressor.pipeline.folder import RunFolder
from compressor.runtime.bundle import Bundle
from tests.integration.conftest import Run
from tests.integration.photos import write_folder, write_karpathy
from tests.integration.tiny import write_recipe


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Where `run` leaves its files."""
    return RunFolder(tmp_path / "runs" / "tiny")


def curve(folder: RunFolder, role: str = "student") -> list[dict[str, Any]]:
    file = next(folder.training.glob(f"*/{role}/metrics.jsonl"))
    return [json.loads(line) for line in file.read_text().splitlines()]


def facts(folder: RunFolder, stage: str) -> dict[str, Any]:
    record = folder.record(stage)
    assert record is not None
    found = record["facts"]
    assert isinstance(found, dict)
    return found


def test_live_signals_are_the_stored_ones(run: Run, folder: RunFolder) -> None:
    flip = {"augmentation": {"horizontal_flip": 0.5, "crop_scale": [0.7, 1.0], "colour": 0.2}}
    run(until="distill", distill={"signals": "live", **flip})
    assert not (folder.cache / "store").exists()
    live = curve(folder)
    run(until="distill", distill={"signals": "stored", **flip})
    assert (folder.cache / "store").exists()
    stored = list(folder.training.glob("*/student/metrics.jsonl"))
    assert len(stored) == 2
    other = [json.loads(line) for file in stored for line in file.read_text().splitlines()]
    for record in live:
        twins = [twin for twin in other if twin["step"] == record["step"]]
        assert len(twins) == 2
        for name in ("contrastive", "feature"):
            one, two = (twin["losses"][name] for twin in twins)
            assert one == pytest.approx(two, rel=5e-3), "the store holds half precision"


def test_a_teacher_is_fine_tuned_before_it_teaches(run: Run, folder: RunFolder) -> None:
    from compressor.students.checkpoint import load_checkpoint

    tuning = {"steps": 4, "batch_size": 16, "trackers": [], "augmentation": {"horizontal_flip": 0.5}}
    results = run(teacher={"fine_tune": tuning})
    assert results is not None
    told = facts(folder, "teacher")
    assert told["fine_tuning"]["steps"] == 4
    assert results.training["teacher"]["steps"] == 4
    assert "fine-tuned" in told["origin"]
    tuned = load_checkpoint(folder.tuned_teacher)
    assert tuned.fingerprint == told["fingerprint"]
    assert Bundle.open(folder.bundle_of("teacher")).manifest.lineage["model"] == tuned.fingerprint
    plain = run(until="teacher", name="plain")
    assert plain is None
    untuned = facts(RunFolder(folder.root.parent / "plain"), "teacher")
    assert untuned["fingerprint"] != tuned.fingerprint


def test_a_locked_image_side_stays_while_the_text_side_learns(run: Run, folder: RunFolder) -> None:
    from torch import nn

    from compressor.students.checkpoint import load_checkpoint

    tuning = {"steps": 4, "batch_size": 16, "trackers": []}
    assert run(teacher={"fine_tune": tuning | {"lock_image": True}}, until="teacher") is None
    locked = load_checkpoint(folder.tuned_teacher).encoder
    assert run(teacher={"fine_tune": tuning}, until="teacher", name="free") is None
    free = load_checkpoint(RunFolder(folder.root.parent / "free").tuned_teacher).encoder
    assert isinstance(locked, nn.Module)
    assert isinstance(free, nn.Module)
    moved = {name for name, value in free.state_dict().items() if not locked.state_dict()[name].equal(value)}
    assert any(name.startswith(locked.image_prefixes) for name in moved)
    assert any(not name.startswith(locked.image_prefixes) for name in moved)


def test_attention_of_both_towers_beside_every_loss_on_embeddings(
    run: Run, folder: RunFolder, teacher: Path
) -> None:
    losses = [
        *({"kind": kind} for kind in ("contrastive", "feature", "similarity", "hard_negative", "task")),
        *({"kind": kind} for kind in ("affinity", "icl", "gradient", "gram", "rkd_distance")),
        {"kind": "masked_feature", "patch": 8, "fraction": 0.5},
        {"kind": "amad", "variant": "kl", "alpha": "match_initial_scale", "image": {2: 1}},
    ]
    student = {"text": {"context_length": 32}, "tokenizer": {"kind": "file", "path": str(teacher)}}
    results = run(student=student, distill={"losses": losses, "signals": "live", "control": False})
    assert results is not None
    records = curve(folder)
    assert {str(loss["kind"]) for loss in losses} == set(records[0]["losses"])
    assert all(np.isfinite(value) for record in records for value in record["losses"].values())
    assert folder.bundle_of("teacher").exists()


def test_no_teacher_is_a_plain_training(run: Run) -> None:
    results = run(teacher=None, distill={"losses": [{"kind": "task"}], "control": False})
    assert results is not None
    assert results.retention is None
    assert set(results.quality) == {"student"}
    assert results.latency is not None
    assert results.latency.pair.teacher is None
    assert results.latency.p50_ratio is None
    assert results.size.teacher is None


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in Karpathy's format."""
    root = tmp_path_factory.mktemp("photos")
    write_karpathy(root)
    return root


@pytest.fixture(scope="module")
def embeddings(teacher: Path, photos: Path) -> Path:
    """What the teacher makes of those photos, in half precision, as one safetensors file with ids."""
    from compressor.data import open_pairs
    from compressor.export.pytorch import TorchEncoder
    from compressor.recipe.data import KarpathyData
    from compressor.students.checkpoint import load_checkpoint

    encoder = TorchEncoder(load_checkpoint(teacher))
    image_ids, text_ids, images, texts = [], [], [], []
    for split in ("train", "val", "test"):
        pairs = open_pairs(KarpathyData(kind="karpathy", root=str(photos)), split)
        for number, row in enumerate(pairs.rows):
            image_ids.append(row.id)
            images.append(pairs.image(number))
            text_ids += row.caption_ids
            texts += row.captions
    rows = {
        "image_embeds": encoder.encode_images(images).astype(np.float16),
        "text_embeds": encoder.encode_texts(texts).astype(np.float16),
    }
    path = photos / "teacher.safetensors"
    save_file(rows, path, {"image_ids": json.dumps(image_ids), "text_ids": json.dumps(text_ids)})
    return path


def test_a_teacher_that_is_only_embeddings(
    run: Run, folder: RunFolder, photos: Path, embeddings: Path
) -> None:
    sections: dict[str, Any] = {
        "data": {"kind": "karpathy", "root": str(photos)},
        "teacher": {"kind": "embeddings", "path": str(embeddings)},
    }
    goals = ["retention.rsum >= 0", "quality.teacher.rsum >= 0", "latency.pair.student.p50_ms >= 0"]
    results = run(**sections, goals=goals)
    assert results is not None
    assert [goal.verdict for goal in results.goals] == ["met"] * 3
    assert results.latency is not None
    for timing in (results.latency.image, results.latency.text, results.latency.pair):
        assert timing.teacher is None
        assert timing.student is not None
    assert results.latency.p50_ratio is None
    assert results.size.teacher is None
    teacher = results.quality["teacher"]
    assert teacher is not None
    assert (teacher.source, teacher.precision) == ("embeddings", "fp16")
    assert teacher.images == 12
    assert not folder.bundle_of("teacher").exists()
    assert facts(folder, "teacher")["embed_dim"] == 24
    assert "not available" in (folder.root / "report.md").read_text()


@pytest.mark.parametrize("goal", ["latency.p50_ratio <= 0.5", "latency.pair.teacher.p50_ms <= 5"])
def test_goals_on_what_embeddings_cannot_have_are_refused(
    run: Run, photos: Path, embeddings: Path, goal: str
) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.yaml:\d+: goals\.0: .* the teacher is only embeddings"):
        run(
            data={"kind": "karpathy", "root": str(photos)},
            teacher={"kind": "embeddings", "path": str(embeddings)},
            goals=[goal],
        )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("missing id", r"no image embedding for 1 of 56 ids of the data set, the first: 'train-0\.png'"),
        ("NaN", "NaN"),
        ("other width", "24 wide and text embeddings 16"),
    ],
)
def test_stored_embeddings_that_do_not_fit_are_refused(
    run: Run, photos: Path, embeddings: Path, tmp_path: Path, damage: str, words: str
) -> None:
    from safetensors import safe_open

    with safe_open(embeddings, framework="numpy") as file:
        rows = {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118 (not a mapping)
        metadata = dict(file.metadata())
    if damage == "missing id":
        metadata["image_ids"] = metadata["image_ids"].replace('"train-0.png"', '"other.png"')
    elif damage == "NaN":
        rows["text_embeds"][3, 2] = np.nan
    else:
        rows["text_embeds"] = rows["text_embeds"][:, :16].copy()
    save_file(rows, tmp_path / "damaged.safetensors", metadata)
    with pytest.raises(compressor.errors.CompressorError, match=words) as caught:
        run(
            data={"kind": "karpathy", "root": str(photos)},
            teacher={"kind": "embeddings", "path": str(tmp_path / "damaged.safetensors")},
        )
    assert caught.value.exit_code == 2


def test_images_without_captions_serve_the_image_side(run: Run, folder: RunFolder, tmp_path: Path) -> None:
    bare = {"train": range(0, 32, 2), "val": [1], "test": [0, 5]}
    root = write_folder(tmp_path / "folder", without=bare)
    results = run(data={"kind": "folder", "path": str(root)})
    assert results is not None
    assert results.data["train"] == {"images": 32, "captions": 80, "bad_images": 0}
    assert results.data["test"] == {"images": 12, "captions": 50, "bad_images": 0}
    student = results.quality["student"]
    assert student is not None
    assert np.isfinite(student.rsum)
    assert all(np.isfinite(record["total"]) for record in curve(folder))


def test_a_rehearsal_goes_through_every_stage_without_weights(
    run: Run, folder: RunFolder, small_clip: str, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {
        "data": {"kind": "karpathy", "root": str(tmp_path / "absent")},
        "teacher": {"kind": "open_clip", "name": small_clip, "path": str(tmp_path / "absent.safetensors")},
        "goals": ["retention.rsum >= 0.9", "quality.student.rsum >= 599", "size.parameter_ratio <= 2"],
    }
    results = run(**sections, rehearse=True)
    assert results is not None
    assert results.rehearsal
    assert [goal.verdict for goal in results.goals] == ["not judged", "not judged", "met"]
    assert results.size.teacher is not None
    assert results.size.teacher.text_parameters > 49408 * 16
    assert results.latency is not None
    assert results.latency.p50_ratio is not None
    rehearsed = RunFolder(folder.root.parent / "tiny-rehearsal")
    assert "random" in facts(rehearsed, "teacher")["origin"]
    assert not folder.root.exists()
    with pytest.raises(compressor.errors.MissingResourceError) as caught:
        run(**sections)
    assert caught.value.exit_code == 2
    for missing in ("absent/dataset.json", "absent/images", "absent.safetensors"):
        assert str(tmp_path / missing) in str(caught.value)


def test_a_recipe_that_cannot_be_rehearsed_says_why(tmp_path: Path, photos: Path, embeddings: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        data={"kind": "karpathy", "root": str(photos)},
        teacher={"kind": "embeddings", "path": str(embeddings)},
    )
    with pytest.raises(RecipeError, match="cannot be rehearsed"):
        compressor.run(recipe, runs=tmp_path / "runs", rehearse=True)
