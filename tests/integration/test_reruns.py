"""What a rerun does with a finished run: nothing, what is asked for, or what is damaged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import compressor
from compressor.files import sha256_file
from compressor.pipeline.folder import RunFolder
from tests.integration.conftest import STAGES, Command, Finished
from tests.integration.tiny import write_recipe


def files_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Time and content of every file, but the log and the lock, which every run writes."""
    return {
        str(file.relative_to(folder)): (file.stat().st_mtime_ns, sha256_file(file))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "run.log" and not file.name.endswith(".lock")
    }


def test_a_rerun_skips_every_stage_without_torch_and_changes_no_file(finished: Finished) -> None:
    before = files_of(finished.home)
    script = (
        "import sys\n"
        "from compressor.cli import main\n"
        "sys.argv = ['compressor', 'run', 'recipe.yaml']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'timm', 'open_clip', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=finished.home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for number, stage in enumerate(STAGES, start=1):
        assert f"[{number}/7] {stage}: skipped, done before with the same inputs" in done.stdout
    assert "RSUM" in done.stdout
    assert files_of(finished.home) == before


def test_quiet_says_nothing(again: Finished, command: Command) -> None:
    assert command(again.home, "run", "recipe.yaml", "-q", "--from", "report") == (
        0,
        "",
        "",
    )


def test_a_missed_goal_is_exit_3_and_in_the_report(again: Finished, command: Command) -> None:
    goals = "goals=['quality.student.rsum >= 599', 'quality.student.rsum >= 1']"
    code, out, err = command(again.home, "run", "recipe.yaml", goals)
    assert code == 3
    assert err == "1 of 2 goals missed: quality.student.rsum >= 599\n"
    assert "[6/7] benchmark: skipped" in out
    assert "[7/7] report: results.json" in out
    assert "missed  quality.student.rsum >= 599" in out
    assert [goal.verdict for goal in again.results.goals] == ["missed", "met"]
    assert "599" in (again.folder.root / "report.html").read_text()
    code, out, err = command(again.home, "run", "recipe.yaml", goals, "--json")
    assert code == 3, "a rerun says the same"
    assert json.loads(out)["goals"][0]["verdict"] == "missed"


def test_a_plan_of_a_finished_run_has_nothing_to_do(again: Finished, command: Command) -> None:
    code, out, _ = command(again.home, "plan", "recipe.yaml", "--json")
    assert code == 0
    assert [(stage["name"], stage["state"]) for stage in json.loads(out)["stages"]] == [
        (name, "done") for name in STAGES
    ]


@pytest.mark.parametrize("arguments", [("cache",), ("run", "--until", "cache")])
def test_the_cache_is_built_alone(
    teacher: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    command: Command,
) -> None:
    recipe = write_recipe(tmp_path, teacher={"path": str(teacher)})
    code, out, err = command(tmp_path, *arguments, str(recipe), "--json")
    assert code == 0, err
    assert json.loads(out) == {"until": "cache"}
    folder = RunFolder(tmp_path / "runs" / "tiny")
    assert [name for name in STAGES if folder.record(name)] == ["teacher", "cache"]
    assert {path.name for path in folder.cache.iterdir()} == {"decoded", "store"}


def test_report_writes_the_same_report_again(again: Finished, command: Command) -> None:
    names = ["report.html", "report.md", "MODEL_CARD.md"]
    before = [(again.folder.root / name).read_bytes() for name in names]
    for name in names:
        (again.folder.root / name).unlink()
    code, out, _ = command(again.home, "report", "runs/tiny")
    assert code == 0
    assert out.split() == [f"runs/tiny/{name}" for name in names]
    assert [(again.folder.root / name).read_bytes() for name in names] == before


def test_a_report_outlives_its_checkpoints(again: Finished) -> None:
    shutil.rmtree(again.folder.training)
    results = compressor.run(again.recipe, ["goals=['quality.student.rsum >= 2']"], runs=again.home / "runs")
    assert results is not None
    assert results.goals[0].verdict == "met"


def test_a_damaged_bundle_is_made_again(again: Finished) -> None:
    image = again.folder.bundle / "fp32" / "image.onnx"
    whole = sha256_file(image)
    image.write_bytes(image.read_bytes()[:1000])
    compressor.run(again.recipe, runs=again.home / "runs", until="export")
    assert sha256_file(image) == whole, "the same model and samples give the same bytes"


def test_forced_training_ends_with_the_same_weights(again: Finished) -> None:
    weights = again.folder.checkpoint / "model.safetensors"
    before = sha256_file(weights)
    folder = next(again.folder.training.glob("*/student/checkpoints"))
    trained = folder.stat().st_ino
    compressor.run(again.recipe, runs=again.home / "runs", start="distill", until="distill")
    assert sha256_file(weights) == before
    assert next(again.folder.training.glob("*/student/checkpoints")).stat().st_ino != trained


def test_another_run_beside_it_shares_pictures_and_signals(again: Finished) -> None:
    cache = again.home / "runs" / ".cache"
    before = {name: content for name, (_, content) in files_of(cache).items()}
    compressor.run(
        again.recipe,
        ["name=second", "distill.control=false"],
        runs=again.home / "runs",
        until="distill",
    )
    assert {name: content for name, (_, content) in files_of(cache).items()} == before
    weights = [
        sha256_file(again.home / "runs" / name / "checkpoint" / "model.safetensors")
        for name in ("tiny", "second")
    ]
    assert weights[0] == weights[1], "the control student changes nothing of the student"


def test_goals_missed_is_no_error_of_the_api(again: Finished) -> None:
    results = compressor.run(
        again.recipe, ["goals=['quality.student.rsum >= 599']"], runs=again.home / "runs"
    )
    assert results is not None
    assert results.goals[0].verdict == "missed"
