"""Whole runs of recipes whose student writes: captions of pictures, and answers to questions about them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import compressor
from compressor.data import open_pairs
from compressor.evaluate.captioning import METRICS
from compressor.pipeline.context import Context
from compressor.pipeline.folder import RunFolder
from compressor.pipeline.generation.models import Writers
from compressor.pipeline.progress import QuietReporter
from compressor.recipe import Recipe
from compressor.report.console import print_summary
from compressor.report.results import (
    CaptionQuality,
    GenerationLatency,
    GenerationRetention,
    Results,
    VQAQuality,
    WriterArtifactFigures,
)
from compressor.runtime import Writer
from compressor.students.blip_checkpoint import load_blip_checkpoint
from tests.integration.conftest import STAGES, Command
from tests.integration.tiny import merged
from tests.integration.tiny_writing import VQA, write


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    home = tmp_path_factory.mktemp("captions")
    results = compressor.run(write(home), runs=home / "runs")
    assert results is not None
    return home, results


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    home = tmp_path_factory.mktemp("answers")
    results = compressor.run(write(home, **VQA), runs=home / "runs")
    assert results is not None
    return home, results


def test_captions_are_measured_for_every_role(captions: tuple[Path, Results]) -> None:
    _, results = captions
    assert set(results.quality) == {"teacher", "student", "control"}
    for quality in results.quality.values():
        assert isinstance(quality, CaptionQuality)
        assert quality.cider is not None or "cider" in quality.unavailable
        assert quality.meteor is None
        assert (quality.images, quality.captions) == (8, 40)
    assert isinstance(results.retention, GenerationRetention)
    assert isinstance(results.latency, GenerationLatency)
    assert results.latency.backend == "onnxruntime"
    assert [goal.verdict for goal in results.goals] == ["met", "met"]
    assert set(results.training) == {"teacher", "student", "control"}
    assert "best_loss" in results.training["student"]


def test_the_bundle_writes_what_the_checkpoint_writes(captions: tuple[Path, Results]) -> None:
    home, results = captions
    folder = RunFolder(home / "runs" / "tiny")
    writer = Writer.open(folder.bundle, threads=1)
    assert writer.manifest.writing.beams == 2
    written = json.loads((folder.root / "written" / "student.json").read_text())
    pairs = open_pairs(Recipe.model_validate(results.recipe).data, "test", seed=0)
    told = writer.caption([pairs.image(k) for k in range(8)])
    assert dict(zip((row.id for row in pairs.rows), told, strict=True)) == written
    assert Writer.open(folder.bundle_of("teacher"), threads=1).manifest.role == "teacher"


def test_the_report_tells_of_the_artifacts(captions: tuple[Path, Results]) -> None:
    home, results = captions
    artifact = results.artifacts["fp32"]
    assert isinstance(artifact, WriterArtifactFigures)
    assert (artifact.status, artifact.equal_beams) == ("passed", 1.0)
    assert artifact.p50_ms is not None
    assert set(artifact.graphs) == {"vision", "cross", "decoder"}
    page = (home / "runs" / "tiny" / "report.html").read_text()
    assert "compared token for token" in page
    assert "not exported" not in page
    assert "<script" not in page


def test_the_end_of_the_run_fits_a_terminal(captions: tuple[Path, Results]) -> None:
    _, results = captions
    stream = io.StringIO()
    print_summary(results, Path("runs/tiny"), Console(file=stream, width=80))
    shown = stream.getvalue()
    assert "BLEU-4" in shown
    assert "BLEU-1" not in shown
    assert "METEOR" not in shown, "nobody could compute it"
    assert "student, 95 %" in shown
    assert "…" not in shown


def test_the_report_shows_captions_with_their_pictures(captions: tuple[Path, Results]) -> None:
    home, results = captions
    root = home / "runs" / "tiny"
    page, plain = (root / "report.html").read_text(), (root / "report.md").read_text()
    assert len(results.examples) == 2
    assert page.count('class="example written"') == 2
    assert page.count("data:image/jpeg;base64") == 2
    assert "Validation loss" in page
    for example in results.examples:
        assert set(example["written"]) == {"teacher", "student", "control"}
        assert example["references"][0] in plain
    card = (root / "MODEL_CARD.md").read_text()
    assert "pipeline_tag: image-to-text" in card
    assert "A BLIP that captions pictures" in card
    assert "RSUM" not in page + plain + card


def test_a_rerun_does_nothing_and_another_seed_everything(
    captions: tuple[Path, Results], command: Command
) -> None:
    home, _ = captions
    code, _, err = command(home, "run", "recipe.yaml", "--json")
    assert code == 0
    events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    skipped = [event["name"] for event in events if event.get("event") == "skipped"]
    assert skipped == STAGES
    code, out, _ = command(home, "plan", "recipe.yaml", "seed=1", "--json")
    plan = json.loads(out)
    assert plan["stages"][0]["state"] == "to run"
    assert plan["student"]["parameters"]["total"] > 10_000
    assert plan["steps"] == 8


def test_the_student_starts_alike_in_every_process(captions: tuple[Path, Results]) -> None:
    """Whether the teacher has been read before, as in the first run, or not, as in one that goes on."""
    home, results = captions
    folder, recipe = RunFolder(home / "runs" / "tiny"), Recipe.model_validate(results.recipe)
    first, second = (Writers(Context(recipe, folder, QuietReporter())) for _ in range(2))
    assert first.teacher.fingerprint == results.lineage["teacher"]["fingerprint"]
    assert first.fresh_student().fingerprint == second.fresh_student().fingerprint


def test_the_report_can_be_written_again(captions: tuple[Path, Results], command: Command) -> None:
    home, _ = captions
    page = home / "runs" / "tiny" / "report.html"
    before = page.read_text()
    page.unlink()
    assert command(home, "report", "runs/tiny")[0] == 0
    assert "Captions of the same pictures" in page.read_text()
    assert len(page.read_text()) >= len(before) - 100


def test_the_checkpoint_writes_what_was_measured(captions: tuple[Path, Results]) -> None:
    home, _ = captions
    root = home / "runs" / "tiny"
    model = load_blip_checkpoint(root / "checkpoint")
    assert model.generator.head == "caption"
    written = json.loads((root / "written" / "student.json").read_text())
    assert len(written) == 8


def test_answers_are_measured(answers: tuple[Path, Results]) -> None:
    home, results = answers
    student = results.quality["student"]
    assert isinstance(student, VQAQuality)
    assert (student.images, student.questions) == (8, 16)
    assert set(results.quality) == {"teacher", "student"}
    page = (home / "runs" / "tiny" / "report.html").read_text()
    assert "VQA accuracy by type" in page
    assert "People answered" in page
    assert all(example["question"] in page.replace("&#x27;", "'") for example in results.examples)


def test_the_bundle_answers_what_the_checkpoint_answers(answers: tuple[Path, Results]) -> None:
    home, results = answers
    folder = RunFolder(home / "runs" / "tiny")
    writer = Writer.open(folder.bundle, threads=1)
    assert writer.manifest.kind == "vqa"
    written = json.loads((folder.root / "written" / "student.json").read_text())
    pairs = open_pairs(Recipe.model_validate(results.recipe).data, "test", seed=0)
    asked = [
        (row, name, question)
        for row, found in enumerate(pairs.rows)
        for name, question in zip(found.caption_ids, found.captions, strict=True)
    ]
    told = writer.answer([pairs.image(row) for row, _, _ in asked], [question for *_, question in asked])
    assert {name: text for (_, name, _), text in zip(asked, told, strict=True)} == written
    artifact = results.artifacts["fp32"]
    assert isinstance(artifact, WriterArtifactFigures)
    assert set(artifact.graphs) == {"vision", "question", "cross", "decoder"}
    assert "compared token for token" in (folder.root / "report.html").read_text()


def test_retrieval_of_a_bundle_that_writes_is_refused_in_one_sentence(
    captions: tuple[Path, Results], command: Command
) -> None:
    code, _, err = command(captions[0], "evaluate", "runs/tiny", "--kind", "scenes")
    assert code != 0
    assert "this bundle writes, and retrieval cannot be measured of it" in " ".join(err.split())
    assert "Traceback" not in err


def test_a_rehearsal_measures_everything_on_a_handful(tmp_path: Path) -> None:
    metrics = {"generation": {"beams": 2, "metrics": [METRICS[0]]}}
    results = compressor.run(
        write(tmp_path, **merged(VQA, {"evaluate": metrics})), runs=tmp_path / "runs", rehearse=True
    )
    assert results is not None
    assert results.rehearsal
    assert results.recipe["data"]["kind"] == "scenes_questions"
    assert [goal.verdict for goal in results.goals] == ["not judged", "met"]
    assert "Rehearsed: every stage ran." in (tmp_path / "runs/tiny-rehearsal/report.html").read_text()
