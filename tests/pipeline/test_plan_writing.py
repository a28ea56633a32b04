"""`compressor plan` for students that write: the same figures as for those that embed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from compressor.pipeline.generation import plan as written
from compressor.pipeline.plan import make_plan, print_plan
from compressor.recipe.load import load_recipe
from compressor.students.blip import HEADS
from tests.integration.tiny_writing import VQA, write
from tests.students.blips import blip_config, write_blip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan-writing")
    write(folder / "caption")
    write(folder / "vqa", **VQA)
    return folder


def plan(home: Path, *overrides: str, of: str = "caption") -> dict[str, Any]:
    recipe = load_recipe(home / of / "recipe.yaml", overrides).recipe
    return make_plan(recipe, home / "runs", rehearse=False)


def a_row(figures: dict[str, Any]) -> float:
    """Operations of one picture with its texts."""
    return 1e9 * (figures["gflops_image"] + figures["gflops_text"])


@pytest.fixture
def unit_speed(monkeypatch: pytest.MonkeyPatch) -> float:
    """A machine of a known speed, slow enough that hours have digits."""
    speed = 1e3
    monkeypatch.setattr(written, "measured_speed", lambda *_args, **_keys: speed)
    return speed


def test_hours_are_measured_and_nothing_is_built(home: Path) -> None:
    made = plan(home)
    assert set(made["hours"]) == {"teacher", "distill"}
    assert all(hours >= 0 for hours in made["hours"].values())
    assert made["store_bytes"] is None
    assert made["teacher"]["gflops_image"] > made["student"]["gflops_image"] > 0
    assert made["teacher"]["gflops_text"] > 0
    assert not (home / "runs").exists()


@pytest.mark.parametrize("of", ["caption", "vqa"])
def test_hours_are_the_work_of_all_trainings(home: Path, unit_speed: float, of: str) -> None:
    made = plan(home, "distill.control=true", of=of)
    student, teacher = a_row(made["student"]), a_row(made["teacher"])
    rows = made["steps"] * 8
    assert made["steps"] == 8
    distill = (3 * student + 3 * student + teacher) * rows
    assert made["hours"]["distill"] == pytest.approx(distill / unit_speed / 3600, rel=1e-3)
    assert made["hours"]["teacher"] == pytest.approx(3 * teacher * 3 * 8 / unit_speed / 3600, rel=1e-3)


@pytest.mark.parametrize(("balancer", "passes"), [("static", 3), ("dsmd_rates", 4)])
def test_pieces_run_twice_for_a_balancer_that_looks(
    home: Path, unit_speed: float, balancer: str, passes: int
) -> None:
    made = plan(home, f"distill.balancer={{kind: {balancer}}}", of="vqa")  # which trains in pieces
    work = (passes * a_row(made["student"]) + a_row(made["teacher"])) * made["steps"] * 8
    assert made["hours"]["distill"] == pytest.approx(work / unit_speed / 3600, rel=1e-3)


@pytest.mark.usefixtures("unit_speed")
def test_a_teacher_that_no_loss_asks_costs_nothing(home: Path) -> None:
    taught, alone = (
        plan(home, f"distill.losses={losses}", "distill.control=false")
        for losses in ("[{kind: task}, {kind: logits}]", "[{kind: task}]")
    )
    work = a_row(taught["teacher"]) * taught["steps"] * 8
    assert taught["hours"]["distill"] - alone["hours"]["distill"] == pytest.approx(work / 3.6e6, rel=1e-3)


def test_longer_texts_cost_more(home: Path) -> None:
    captions, cut = plan(home), plan(home, "teacher.context_length=5")
    assert captions["student"]["gflops_image"] == cut["student"]["gflops_image"]
    assert captions["student"]["gflops_text"] > 1.5 * cut["student"]["gflops_text"]


def test_without_data_there_are_sizes_and_no_hours(home: Path) -> None:
    made = plan(home, f"data={{kind: karpathy, root: {home / 'absent'}}}")
    assert made["student"]["parameters"]["total"] > 0
    assert made["student"]["gflops_text"] > 0
    assert made["steps"] is None
    assert made["hours"] is None


def test_a_teacher_in_a_folder_is_outlined_and_one_that_is_not_here_leaves_no_hours(home: Path) -> None:
    folder = write_blip(home / "blip", HEADS["caption"], blip_config())
    teacher = f"teacher={{kind: blip, head: caption, path: {folder}, context_length: 40}}"
    made = plan(home, teacher)
    assert set(made["hours"]) == {"distill"}
    assert made["teacher"]["parameters"]["total"] > 20_000
    absent = plan(home, teacher.replace(str(folder), str(home / "nowhere")))
    assert absent["hours"] is None
    assert absent["teacher"] is None
    assert len(absent["missing"]) == 1


def test_the_plan_is_printed(home: Path) -> None:
    console = Console(file=io.StringIO(), width=90)
    print_plan(plan(home), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "GFLOPs an image" in text
    assert "None" not in text
    assert "estimate on this machine, rough: teacher" in text
