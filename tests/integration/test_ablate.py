"""Ablations of the tiny recipe: what they train, keep, resume and report."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

import compressor
from compressor.files import read_json, sha256_file
from compressor.pipeline.ablate import ablate
from compressor.pipeline.ablation import BASE, CONTROL, Comparison
from compressor.pipeline.ablation_plan import plan_ablation
from compressor.report.ablation.results import Ablation
from tests.integration.ablations import Told, recipe_in, run_of
from tests.integration.conftest import Command
from tests.integration.test_reruns import files_of
from tests.report.test_report import Page

NAMES = [BASE, CONTROL, "contrastive alone", "feature alone"]
ARGUMENTS = ("ablate", "recipe.yaml", "--losses", "--seeds", "2")


@pytest.fixture(scope="module")
def home(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two losses, two seeds, to the end. Tests read it and leave it as it is."""
    home = tmp_path_factory.mktemp("ablated")
    recipe_in(home, teacher)
    found = ablate(Comparison(home / "recipe.yaml", losses=True, seeds=2, runs=home / "runs"))
    assert found is not None
    assert found.left == 0
    return home


@pytest.fixture(scope="module")
def found(home: Path) -> Ablation:
    return Ablation.model_validate(read_json(home / "runs" / "tiny-ablation" / "ablation.json"))


def test_every_variant_is_trained_with_every_seed_on_one_store(home: Path, found: Ablation) -> None:
    trained = [variant.name for variant in found.variants if variant.trainings]
    assert trained == NAMES
    assert all([each.seed for each in variant.trainings] == [0, 1] for variant in found.ranked)
    assert {variant.name for variant in found.variants if variant.refusal} == {
        "without contrastive",
        "without feature",
    }
    assert len(list((home / "runs" / ".cache" / "store").iterdir())) == 1
    pixels = {
        read_json(run_of(home / "runs", name, seed).root / "cache.json")["pixels"]
        for name in NAMES
        for seed in (0, 1)
    }
    assert len(pixels) == 1
    assert not list(home.rglob("optimizer.safetensors")), "a finished training keeps no optimiser"


def rsum_with_loops(file: Path) -> float:
    """From the ranks alone: how many questions find their answer among the first 1, 5 and 10."""
    ranks = load_file(file)
    total = 0.0
    for side in ("image_ranks", "text_ranks"):
        for cutoff in (1, 5, 10):
            hits = sum(1 for rank in ranks[side].tolist() if rank <= cutoff)
            total += 100 * hits / len(ranks[side])
    return total


def test_figures_are_those_of_the_kept_ranks_and_of_the_last_validation(home: Path, found: Ablation) -> None:
    rsums: dict[str, list[float]] = {}
    for name in NAMES:
        for seed in (0, 1):
            folder = run_of(home / "runs", name, seed)
            rsums.setdefault(name, []).append(rsum_with_loops(folder.root / "ranks-val.safetensors"))
            curve = next(folder.training.glob("*/student/metrics.jsonl")).read_text().splitlines()
            assert rsums[name][-1] == pytest.approx(json.loads(curve[-1])["validation"]["rsum"])
    for variant in found.ranked:
        own = rsums[variant.name]
        assert variant.value is not None
        assert (variant.value.mean, variant.value.sd) == pytest.approx((mean(own), stdev(own)))
        assert [each.value for each in variant.trainings] == pytest.approx(own)
        differences = [one - other for one, other in zip(own, rsums[BASE], strict=True)]
        if variant.name == BASE:
            assert variant.difference is None
            continue
        assert variant.difference is not None
        assert variant.difference.interval is not None
        assert variant.difference.mean == pytest.approx(mean(differences))
        assert variant.difference.sd == pytest.approx(stdev(differences))
        assert [each.difference for each in variant.trainings] == pytest.approx(differences)


def test_ranks_are_those_of_the_kept_weights(home: Path) -> None:
    from compressor.data import open_pairs
    from compressor.evaluate.encode import encode_pairs
    from compressor.export.pytorch import TorchEncoder
    from compressor.recipe.load import load_recipe
    from compressor.students.checkpoint import load_checkpoint

    folder = run_of(home / "runs", CONTROL, 1)
    model = load_checkpoint(next(folder.training.glob("*/student/last")))
    pairs = open_pairs(load_recipe(home / "recipe.yaml").recipe.data, "val")
    ranks = encode_pairs(TorchEncoder(model), pairs).ranks()
    kept = load_file(folder.root / "ranks-val.safetensors")
    for name in ("image_ranks", "text_ranks", "text_to_image"):
        assert np.array_equal(kept[name], getattr(ranks, name)), name


def test_the_teacher_stands_in_the_table_with_its_own_figures(
    teacher: Path, home: Path, found: Ablation
) -> None:
    from compressor.data import open_pairs
    from compressor.evaluate.encode import encode_pairs
    from compressor.export.pytorch import TorchEncoder
    from compressor.recipe.load import load_recipe
    from compressor.students.checkpoint import load_checkpoint

    pairs = open_pairs(load_recipe(home / "recipe.yaml").recipe.data, "val")
    quality = encode_pairs(TorchEncoder(load_checkpoint(teacher)), pairs).ranks().quality()
    assert found.teacher is not None
    assert found.teacher.value == pytest.approx(quality.rsum)
    assert found.teacher.figures["t2i_r1"] == pytest.approx(quality.t2i_r1)


def test_the_control_is_that_of_a_run(home: Path, tmp_path: Path) -> None:
    compressor.run(home / "recipe.yaml", runs=tmp_path, until="distill")
    student = run_of(home / "runs", BASE, 0).checkpoint
    control = run_of(home / "runs", CONTROL, 0).checkpoint
    for ours, theirs in ((student, "checkpoint"), (control, "control/checkpoint")):
        weights = tmp_path / "tiny" / theirs / "model.safetensors"
        assert sha256_file(ours / "model.safetensors") == sha256_file(weights)


def test_a_rerun_skips_everything_without_torch(home: Path, found: Ablation) -> None:
    before = files_of(home / "runs")
    script = (
        "import sys\n"
        "from compressor.cli import main\n"
        f"sys.argv = ['compressor', *{ARGUMENTS!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'timm', 'open_clip', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for number, name in enumerate([name for _ in (0, 1) for name in NAMES], start=1):
        assert f"[{number}/8] {name}, seed {(number - 1) // 4}: skipped, done before, RSUM" in done.stdout
    assert "note: 8 trainings, 8 done; none left" in done.stdout
    assert "not trained: without feature: is the same recipe as 'contrastive alone'" in done.stdout
    after = files_of(home / "runs")
    assert {name for name in after if after[name] != before[name]} == {
        f"tiny-ablation/ablation.{kind}" for kind in ("json", "md", "html")
    }
    again = Ablation.model_validate(read_json(home / "runs" / "tiny-ablation" / "ablation.json"))
    assert again.variants == found.variants


def test_another_split_is_measured_without_a_training(home: Path, tmp_path: Path) -> None:
    told, runs = Told(), shutil.copytree(home / "runs", tmp_path / "runs")
    found = ablate(Comparison(home / "recipe.yaml", seeds=1, split="test", runs=runs), reporter=told)
    assert found is not None
    assert (found.split, found.images) == ("test", 16)
    assert told.started == [f"{BASE}, seed 0", f"{CONTROL}, seed 0"]
    folder = run_of(runs, BASE, 0)
    assert folder.log.read_text().count("distill: started") == 1
    assert {path.name for path in folder.root.glob("ranks-*")} == {
        "ranks-val.safetensors",
        "ranks-test.safetensors",
    }


def test_the_page_stands_alone(home: Path, found: Ablation) -> None:
    page = (home / "runs" / "tiny-ablation" / "ablation.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    parsed = Page(page)
    assert len(parsed.all("h1")) == 1
    assert all(name in parsed.text for name in NAMES[1:])


def test_killed_in_the_middle_of_a_training_it_goes_on_there(teacher: Path, tmp_path: Path) -> None:
    often = {"epochs": 3, "checkpoint_every": 2}
    for name in ("undisturbed", "killed"):
        recipe_in(tmp_path / name, teacher, distill=often)
    undisturbed, runs = tmp_path / "undisturbed", tmp_path / "killed" / "runs"
    expected = ablate(Comparison(undisturbed / "recipe.yaml", seeds=1, runs=undisturbed / "runs"))

    def die(step: int) -> None:
        if step == 7:
            raise KeyboardInterrupt

    killed = Comparison(tmp_path / "killed" / "recipe.yaml", seeds=1, runs=runs)
    with pytest.raises(KeyboardInterrupt):
        ablate(killed, reporter=Told(die))
    assert [each["state"] for each in plan_ablation(killed)["trainings"]] == ["begun", "to run"]
    seen: list[int] = []
    found = ablate(killed, reporter=Told(seen.append))
    assert seen[0] == 7, "the checkpoint of step 6 was taken up"
    assert found is not None
    assert expected is not None
    for one, other in zip(found.variants, expected.variants, strict=True):
        assert [each.value for each in one.trainings] == [each.value for each in other.trainings]
        ours, theirs = (
            sha256_file(next(run_of(home, one.name, 0).training.glob("*/student/last/model.safetensors")))
            for home in (runs, undisturbed / "runs")
        )
        assert ours == theirs


def test_attention_losses_are_compared_on_live_signals(teacher: Path, tmp_path: Path) -> None:
    losses = [{"kind": "contrastive", "queue": 64}, {"kind": "amad", "variant": "one_to_one", "text": None}]
    recipe = recipe_in(tmp_path, teacher, distill={"losses": losses, "signals": "live", "epochs": 1})
    file = tmp_path / "variants.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "kl": ["distill.losses.1.variant=kl"],
                "no attention": ["distill.losses=[{kind: contrastive, queue: 64}]"],
                "diverging": ["distill.optimizer.lr=1e30", "distill.warmup=0", "distill.epochs=3"],
                "typing error": ["distill.losses.1.varaint=kl"],
                "other rows": ["data.seed=9"],
            }
        )
    )
    told = Told()
    found = ablate(Comparison(recipe, variants=file, seeds=1, runs=tmp_path / "runs"), reporter=told)
    assert found is not None
    figures = {variant.name: variant for variant in found.variants}
    assert [variant.name for variant in found.variants if variant.trainings] == [
        BASE,
        CONTROL,
        "kl",
        "no attention",
    ]
    assert "did you mean 'variant'" in figures["typing error"].refusal
    assert figures["other rows"].refusal == "has another val split, so that its figures do not compare"
    assert [failure.exit_code for failure in figures["diverging"].failures] == [4]
    assert found.left == 1
    assert any(note.startswith("diverging, seed 0 failed: ") for note in told.notes)
    curve = next(run_of(tmp_path / "runs", "kl", 0).training.glob("*/student/metrics.jsonl")).read_text()
    assert "amad" in json.loads(curve.splitlines()[0])["losses"]
    value = figures["kl"].value
    assert value is not None
    assert (value.sd, value.seeds) == (None, 1)


def test_the_data_stay_the_same_for_all_seeds_and_a_teacher_is_tuned_once(
    teacher: Path, tmp_path: Path
) -> None:
    recipe = recipe_in(
        tmp_path,
        teacher,
        fine_tune={"steps": 2, "batch_size": 16, "trackers": []},
        data={"kind": "scenes", "limit": {"train": 32, "val": 10}},
        distill={"epochs": 1},
    )
    found = ablate(Comparison(recipe, seeds=2, runs=tmp_path / "runs"))
    assert found is not None
    assert found.images == 10
    owners, pixels, teachers = [], set(), set()
    for variant in found.variants:
        for training in variant.trainings:
            root = tmp_path / "runs" / "tiny-ablation" / training.folder
            owners.append(load_file(root / "ranks-val.safetensors")["text_to_image"].tolist())
            pixels.add(read_json(root / "cache.json")["pixels"])
            teachers.add(read_json(root / "teacher" / "teacher.json")["fingerprint"])
    assert len(owners) == 4
    assert all(owner == owners[0] for owner in owners)
    assert len(pixels) == len(teachers) == 1
    tuned = list((tmp_path / "runs" / "tiny-ablation").glob("teacher-*"))
    assert len(tuned) == 1
    assert read_json(tuned[0] / "teacher" / "teacher.json")["fine_tuning"]["steps"] == 2


def test_a_plan_lists_what_is_done(home: Path, command: Command) -> None:
    more = ("--balancers", "--plan")
    code, out, _ = command(home, *ARGUMENTS, *more, "--json")
    assert code == 0
    plan = json.loads(out)
    states = {(each["variant"], each["seed"]): each["state"] for each in plan["trainings"]}
    assert {state for (name, _), state in states.items() if name in NAMES} == {"done"}
    assert states["balancer gradnorm", 1] == "to run"
    assert plan["left"] == 10
    assert plan["seconds_left"] > 0
    assert plan["refused"]["without feature"] == "is the same recipe as 'contrastive alone'"
    code, out, _ = command(home, *ARGUMENTS, *more)
    assert code == 0
    assert "10 of 18 trainings left, about" in out
