"""`compressor plan`: what would run, what is done, how large it is, without building anything."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from compressor.pipeline.plan import make_plan, print_plan
from compressor.pipeline.run import Options, run
from compressor.recipe.load import load_recipe
from tests.integration.tiny import write_recipe, write_teacher


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    write_teacher(folder / "teacher")
    write_recipe(folder)
    return folder


def plan(home: Path, *overrides: str, runs: str = "none", rehearse: bool = False) -> dict[str, Any]:
    return make_plan(load_recipe(home / "recipe.yaml", overrides).recipe, home / runs, rehearse=rehearse)


def states(made: dict[str, Any]) -> list[str]:
    return [stage["state"] for stage in made["stages"]]


def test_a_plan_builds_nothing(home: Path) -> None:
    made = plan(home)
    assert states(made) == ["to run"] * 7
    assert made["missing"] == []
    assert made["folder"] == str(home / "none" / "tiny")
    assert not (home / "none").exists()


def test_sizes_steps_and_store_bytes_are_those_of_the_run(home: Path) -> None:
    from compressor.students.checkpoint import load_checkpoint
    from compressor.students.dual_encoder import parameter_counts

    made = plan(home)
    teacher = load_checkpoint(home / "teacher")
    assert made["teacher"]["parameters"] == parameter_counts(teacher.encoder)
    assert made["teacher"]["embed_dim"] == teacher.encoder.embed_dim == 24
    assert made["student"]["embed_dim"] == 16
    assert made["student"]["parameters"]["total"] < made["teacher"]["parameters"]["total"]
    assert made["teacher"]["gflops_image"] > made["student"]["gflops_image"] > 0
    assert made["steps"] == 2 * (48 // 16)
    # 48 images in one view and 48 x 5 captions, fp16 rows of width 24 and 16 bytes of key each
    assert made["store_bytes"] == (48 + 240) * (2 * 24 + 16)
    assert set(made["hours"]) == {"distill", "cache"}
    assert all(hours >= 0 for hours in made["hours"].values())


def test_what_is_done_is_said_and_the_store_is_as_large_as_planned(home: Path) -> None:
    recipe = load_recipe(home / "recipe.yaml").recipe
    run(recipe, home / "runs", options=Options(until="cache"))
    made = plan(home, runs="runs")
    assert states(made) == ["done", "done", *["to run"] * 5]
    store = sum(file.stat().st_size for file in (home / "runs" / ".cache" / "store").rglob("*.safetensors"))
    assert made["store_bytes"] == pytest.approx(store, rel=0.05)
    assert states(plan(home, "data.train=40", runs="runs")) == ["done", *["to run"] * 6]


def test_every_view_of_the_augmentation_is_counted(home: Path) -> None:
    made = plan(home, "distill.augmentation.horizontal_flip=0.5", "distill.epochs=3")
    assert made["store_bytes"] == (3 * 48 + 240) * (2 * 24 + 16)


def test_live_signals_and_no_teacher_have_no_store(home: Path) -> None:
    live = plan(home, "distill.signals=live")
    assert live["store_bytes"] is None
    assert set(live["hours"]) == {"distill"}
    alone = plan(home, "teacher=null", "distill.losses=[{kind: task}]", "distill.control=false")
    assert alone["teacher"] is None
    assert alone["store_bytes"] is None


def test_missing_data_is_named_and_the_sizes_are_known_all_the_same(home: Path) -> None:
    made = plan(home, f"data={{kind: karpathy, root: {home / 'absent'}}}")
    assert len(made["missing"]) >= 1
    assert str(home / "absent") in made["missing"][0]
    assert states(made) == ["waits for data"] * 7
    assert made["student"]["parameters"]["total"] > 0
    assert made["steps"] is None
    assert made["hours"] is None


def test_missing_weights_are_named_beside_missing_data(home: Path) -> None:
    absent = home / "nothing"
    made = plan(home, f"teacher.path={absent}", f"data={{kind: folder, path: {absent}}}")
    assert [str(absent) in sentence for sentence in made["missing"]] == [True, True]
    assert made["teacher"] is None
    alone = plan(home, f"teacher.path={absent}")
    assert len(alone["missing"]) == 1
    assert states(alone) == ["to run"] * 7
    assert plan(home, f"teacher.path={absent}", rehearse=True)["missing"] == []


def test_a_rehearsal_is_planned_in_its_own_folder(home: Path) -> None:
    made = plan(home, rehearse=True)
    assert made["name"] == "tiny-rehearsal"
    assert made["steps"] == 2


def test_the_plan_is_printed(home: Path) -> None:
    console = Console(file=io.StringIO(), width=70)
    made = plan(home)
    made["missing"] = ["The images are missing: looked for [here]."]
    print_plan(made, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "teacher  0.19 M parameters, 24 dimensions, 0.00389 GFLOPs an image" in text
    assert "6 steps" in text
    assert "store    0.02 MB of teacher embeddings" in text
    assert "estimate on this machine, rough: distill" in text
    assert "missing  The images are missing: looked for [here]." in text
