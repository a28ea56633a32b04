"""Ablations of students that write: captions by CIDEr, answers by VQA accuracy. Needs a Java runtime."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import pytest

import compressor
from compressor.data import open_pairs
from compressor.data.question_pairs import QuestionPairs
from compressor.errors import MissingResourceError
from compressor.evaluate.captioning import caption_metrics, difference_interval
from compressor.evaluate.vqa import vqa_accuracy
from compressor.files import read_json, sha256_file
from compressor.pipeline.ablate import ablate
from compressor.pipeline.ablation import BASE, CONTROL, Comparison
from compressor.pipeline.ablation_plan import plan_ablation
from compressor.recipe.load import load_recipe
from compressor.report.ablation.results import Ablation
from tests.integration.ablations import ASKING, Told, run_of, writing_in
from tests.integration.conftest import program
from tests.integration.test_reruns import files_of

NAMES = [BASE, CONTROL, "logits alone", "without amad"]
VARIANTS = """
logits alone: 'distill.losses=[{kind: logits}]'
without amad: 'distill.losses=[{kind: task}, {kind: logits}]'
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions, one seed, to the end. Tests read it and leave it as it is."""
    home = tmp_path_factory.mktemp("captions")
    recipe = writing_in(home)
    (home / "variants.yaml").write_text(VARIANTS)
    comparison = Comparison(recipe, variants=home / "variants.yaml", seeds=1, runs=home / "runs")
    found = ablate(comparison)
    assert found is not None
    assert found.left == 0
    return home


@pytest.fixture(scope="module")
def found(home: Path) -> Ablation:
    return Ablation.model_validate(read_json(home / "runs" / "tiny-ablation" / "ablation.json"))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ablation]:
    """Questions, two seeds, the recipe and its control."""
    home = tmp_path_factory.mktemp("answers")
    found = ablate(Comparison(writing_in(home, **ASKING), seeds=2, runs=home / "runs"))
    assert found is not None
    return home, found


def test_captions_are_compared_by_cider_of_what_was_written(home: Path, found: Ablation) -> None:
    assert (found.measured, found.compared.label) == ("captions", "CIDEr")
    assert [each.label for each in found.beside] == ["BLEU-4"]
    assert (found.images, found.texts) == (8, 40)
    assert [variant.name for variant in found.variants] == NAMES
    pairs = open_pairs(load_recipe(home / "recipe.yaml").recipe.data, "val")
    references = {row.id: row.captions for row in pairs.rows}
    scores = {
        name: caption_metrics(
            read_json(run_of(home / "runs", name, 0).root / "written-val.json"), references, ("bleu", "cider")
        ).figures
        for name in NAMES
    }
    for variant in found.variants:
        (training,) = variant.trainings
        assert training.value == pytest.approx(scores[variant.name]["cider"].value)
        assert training.figures["bleu_4"] == pytest.approx(scores[variant.name]["bleu_4"].value)
        if variant.name == BASE:
            assert variant.difference is None
            continue
        expected = difference_interval(scores[variant.name]["cider"], scores[BASE]["cider"], 50)
        assert variant.difference is not None
        assert variant.difference.interval == expected


def test_what_was_written_comes_from_the_last_weights(home: Path, found: Ablation) -> None:
    import torch

    from compressor.pipeline.generation.write import write_texts
    from compressor.students.blip_checkpoint import load_blip_checkpoint

    recipe = load_recipe(home / "recipe.yaml").recipe
    folder = run_of(home / "runs", BASE, 0)
    model = load_blip_checkpoint(next(folder.training.glob("*/student/last")))
    again = write_texts(
        model, open_pairs(recipe.data, "val"), recipe.writing, 32, 0.0, lambda *_: None, torch.device("cpu")
    )
    assert again.texts == read_json(folder.root / "written-val.json")
    assert not list((home / "runs").glob("*/*/seed-*/**/optimizer.safetensors"))


def test_the_teacher_is_tuned_once_and_stands_in_the_table(home: Path, found: Ablation) -> None:
    (tuned,) = (home / "runs" / "tiny-ablation").glob("teacher-*")
    own = read_json(tuned / "teacher" / "teacher.json")
    assert own["fine_tuning"]["steps"] == 3
    taught = [read_json(run_of(home / "runs", name, 0).root / "teacher" / "teacher.json") for name in NAMES]
    assert {each["fingerprint"] for each in taught} == {own["fingerprint"]}
    assert found.teacher is not None
    quality = read_json(tuned / "state.json")["stages"]["measure-val"]["facts"]["quality"]
    assert found.teacher.value == quality["cider"]
    page = (home / "runs" / "tiny-ablation" / "ablation.md").read_text(encoding="utf-8")
    assert "the teacher" in page
    assert "RSUM" not in page


def test_recipe_and_control_are_those_of_a_run(home: Path, tmp_path: Path) -> None:
    compressor.run(home / "recipe.yaml", runs=tmp_path, until="distill")
    for name, theirs in ((BASE, "checkpoint"), (CONTROL, "control/checkpoint")):
        ours = run_of(home / "runs", name, 0).checkpoint / "model.safetensors"
        assert sha256_file(ours) == sha256_file(tmp_path / "tiny" / theirs / "model.safetensors"), name


def test_a_rerun_reads_what_was_kept_without_torch_and_java(home: Path, found: Ablation) -> None:
    before = files_of(home / "runs")
    script = (
        "import sys\n"
        "from compressor.cli import main\n"
        "sys.argv = ['compressor', 'ablate', 'recipe.yaml', '--variants', 'variants.yaml', '--seeds', '1']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "assert not {'torch', 'transformers', 'pycocoevalcap'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=home,
        env=os.environ | {"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"[1/4] {BASE}, seed 0: skipped, done before, CIDEr" in done.stdout
    after = files_of(home / "runs")
    assert {Path(name).stem for name in after if after[name] != before[name]} == {"ablation"}
    again = Ablation.model_validate(read_json(home / "runs" / "tiny-ablation" / "ablation.json"))
    assert (again.variants, again.teacher) == (found.variants, found.teacher)


def test_other_beams_and_another_split_are_measured_without_a_training(home: Path, tmp_path: Path) -> None:
    runs = shutil.copytree(home / "runs", tmp_path / "runs")
    told = Told()
    comparison = Comparison(
        home / "recipe.yaml", ("evaluate.generation.beams=1",), seeds=1, split="test", runs=runs
    )
    found = ablate(comparison, reporter=told)
    assert found is not None
    assert (found.split, found.images, found.left) == ("test", 6, 0)
    assert set(told.labels) == {"writing about test"}


def test_without_java_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison(writing_in(tmp_path), seeds=1, runs=tmp_path / "runs")
    monkeypatch.setenv("PATH", str(tmp_path))
    sentence = "compares captions by CIDEr. CIDEr is not available here: no Java runtime was found"
    with pytest.raises(MissingResourceError, match=sentence):
        ablate(comparison)
    assert sentence in plan_ablation(comparison)["missing"][0]
    assert not list((tmp_path / "runs").rglob("model.safetensors"))


def test_answers_are_compared_by_accuracy(answers: tuple[Path, Ablation]) -> None:
    home, found = answers
    assert (found.measured, found.compared.label, found.images) == ("answers", "VQA accuracy", 8)
    pairs = open_pairs(load_recipe(home / "recipe.yaml").recipe.data, "val")
    assert isinstance(pairs, QuestionPairs)
    assert found.texts == len(pairs.questions)
    accuracies: dict[str, list[float]] = {}
    for variant in found.variants:
        for training in variant.trainings:
            written = read_json(run_of(home / "runs", variant.name, training.seed).root / "written-val.json")
            scores = vqa_accuracy(written, [pairs.questions[name] for name in written])
            accuracies.setdefault(variant.name, []).append(scores.overall.accuracy)
            assert training.value == pytest.approx(scores.overall.accuracy)
            assert training.figures == {
                f"by_answer_type.{name}": each.accuracy for name, each in scores.by_answer_type.items()
            }
            assert training.best_validation is not None
    base, control = found.variants
    differences = [
        one - other for one, other in zip(*(accuracies[name] for name in (CONTROL, BASE)), strict=True)
    ]
    assert control.difference is not None
    assert control.difference.interval is not None
    assert (control.difference.mean, control.difference.sd) == pytest.approx(
        (mean(differences), stdev(differences))
    )
    assert base.value is not None
    assert base.value.seeds == 2
    assert found.teacher is not None
    assert {each.group for each in found.beside} <= {"by type of answer"}


def test_killed_in_the_middle_of_a_training_it_goes_on_there(
    answers: tuple[Path, Ablation], tmp_path: Path
) -> None:
    undisturbed, whole = answers
    recipe = writing_in(tmp_path, **ASKING, distill={"checkpoint_every": 2})
    process = program("ablate", "recipe.yaml", "--seeds", "1", "--json", cwd=tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        event = json.loads(line)
        if event.get("label") == "training without a teacher" and event["done"] >= 6:
            break
    process.kill()
    process.communicate()
    comparison = Comparison(recipe, seeds=1, runs=tmp_path / "runs")
    assert [each["state"] for each in plan_ablation(comparison)["trainings"]] == ["done", "begun"]
    told = Told()
    found = ablate(comparison, reporter=told)
    assert told.skips == [f"{BASE}, seed 0"]
    assert found is not None
    for one, other in zip(found.variants, whole.variants, strict=True):
        assert [each.value for each in one.trainings] == [each.value for each in other.trainings[:1]]
        ours, theirs = (
            next(run_of(home / "runs", one.name, 0).training.glob("*/student/last/model.safetensors"))
            for home in (tmp_path, undisturbed)
        )
        assert sha256_file(ours) == sha256_file(theirs)
