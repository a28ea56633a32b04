"""Recipes that are well formed and still cannot work are refused with their line."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.recipe.check import check
from compressor.recipe.losses import FeatureLoss, TaskLoss
from compressor.recipe.outcome import PRECISIONS
from compressor.recipe.rehearse import rehearsal
from tests.recipe.conftest import SMALL, Load

EMBEDDINGS = "teacher={kind: embeddings, path: e.safetensors}"


def refusal(load: Load, *overrides: str, text: str = SMALL) -> str:
    with pytest.raises(RecipeError) as caught:
        check(load(*overrides, text=text))
    return str(caught.value)


def test_the_small_recipe_and_its_relatives_pass(load: Load) -> None:
    for overrides in (
        [],
        [EMBEDDINGS],
        ["teacher=null", "distill.losses=[{kind: task}]"],
        [
            "distill.control=true",
            "goals=['quality.control.rsum >= 1', 'retention.student_minus_control > 0']",
        ],
        [
            EMBEDDINGS,
            "goals=['retention.rsum >= 0.9', 'quality.teacher.t2i_r1 >= 1', 'size.student.bytes < 1e7']",
        ],
        ["goals=['latency.p50_ratio <= 0.2', 'artifacts.int8.recall_delta > -1', 'size.bytes_ratio < 1']"],
        ["goals=['artifacts.fp32.image.cosine > 0.9', 'retention.rsum_interval.low >= 0.9']"],
        [
            "teacher={kind: embeddings, path: e, invariances: [crop, horizontal_flip, colour]}",
            "distill.augmentation={crop_scale: [0.5, 1], horizontal_flip: 0.5, colour: 0.1}",
        ],
        ["distill.batch_size=12", "distill.micro_batch_size=4", "distill.augmentation.crop_scale=[1, 1]"],
        ["student.image.options={drop_rate: 0.1, act_layer: gelu, depths: [2, 2], x: null, y: true}"],
        ["student.text={kind: pretrained, config: {model_type: bert}}"],
        ["data={kind: huggingface, path: folder}"],
        ["student={kind: inherit, image: {layers: 2}, embed_dim: 64}"],
        ["distill.losses=[{kind: amad, image: {2: 1, 4: 2}, text: null, alpha: 3}]", "distill.signals=live"],
    ):
        check(load(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["teacher=null"],
            "distill.losses.0: contrastive learns from a teacher, and teacher is null; allowed: task",
        ),
        (
            ["teacher=null", "distill.losses=[{kind: task}]", "distill.control=true"],
            "distill.control: is true, but",
        ),
        (
            ["distill.losses=[{kind: task}, {kind: amad}]"],
            "distill.signals: is stored, but attention maps are too large to be kept",
        ),
        (
            [EMBEDDINGS, "distill.losses=[{kind: amad}]"],
            "distill.losses.0: amad needs the teacher's attention, which a teacher of kind embeddings",
        ),
        (
            ["distill.losses=[{kind: regression}]"],
            "distill.losses.0: regression needs the teacher's global",
        ),
        (
            ["distill.losses=[{kind: amad, alpha: match_initial_scale}]", "distill.signals=live"],
            "distill.losses.0.alpha: is match_initial_scale, and there is no other loss to match",
        ),
        (
            [EMBEDDINGS, "student={kind: inherit}"],
            "student.kind: is inherit, but teacher is of kind embeddings, which has no weights to give",
        ),
        (["teacher=null", "student={kind: inherit}"], "student.kind: is inherit, but teacher is null"),
        ([EMBEDDINGS, "distill.signals=live"], "distill.signals: is live, but a teacher of embeddings"),
        (
            [EMBEDDINGS, "distill.augmentation.horizontal_flip=0.5"],
            "distill.augmentation.horizontal_flip: changes the pictures",
        ),
        (
            [
                "teacher={kind: embeddings, path: e, invariances: [horizontal_flip]}",
                "distill.augmentation.crop_scale=[0.5, 1]",
            ],
            "distill.augmentation.crop_scale: changes the pictures",
        ),
        (
            ["distill.augmentation.crop_scale=[0.9, 0.5]"],
            "distill.augmentation.crop_scale: is [0.9, 0.5]; allowed",
        ),
        (["distill.augmentation.crop_scale=[0, 0.5]"], "distill.augmentation.crop_scale: is [0, 0.5]"),
        (
            ["teacher.fine_tune={epochs: 1, augmentation: {crop_scale: [0.5, 2]}}"],
            "teacher.fine_tune.augmentation.crop_scale: is [0.5, 2]",
        ),
        (
            ["distill.batch_size=10", "distill.micro_batch_size=4"],
            "distill.micro_batch_size: is 4, which does not divide batch_size 10; allowed: a divisor of 10",
        ),
        (
            ["teacher.fine_tune={epochs: 1, batch_size: 8, micro_batch_size: 16}"],
            "teacher.fine_tune.micro_batch_size: is 16",
        ),
        (["distill.optimizer.betas=[0.9, 1]"], "distill.optimizer.betas: must be"),
        (
            ["distill.losses=[{kind: contrastive, queue: 0, batch_negatives: false}]"],
            "distill.losses.0.queue: is 0 and batch_negatives is false",
        ),
        (["student.image.input.std=[1, 0, 1]"], "student.image.input.std: must be"),
        (["student.image={kind: transformers}"], "student.image: give exactly one of config"),
        (
            ["student.image={kind: transformers, config: {hidden_size: 3}}"],
            "student.image.config: has no model_type",
        ),
        (
            ["student.image={kind: transformers, config: {model_type: vit, auto_map: {AutoModel: x.y}}}"],
            "student.image.config.auto_map: names code to run",
        ),
        (["student.image.options={a: {b: 1}}"], "student.image.options.a: is not plain"),
        (["student.image.options={a: [[1]]}"], "student.image.options.a: is not plain"),
        (
            ["student.image.options={pretrained: true}"],
            "student.image.options.pretrained: is set by the project",
        ),
        (["student.text={kind: transformer, causal: true, pool: first}"], "student.text.pool: is first, but"),
        (["student.text={kind: pretrained, name: x}"], "student.tokenizer.kind: is train, but"),
        (
            ["export.default=int8", "export.precisions=[fp32]"],
            "export.default: the default precision int8 is not",
        ),
        (["export.precisions=[int8]"], "export.precisions: the default precision fp32 is not"),
        (["export.precisions=[]"], "export.precisions: the default precision fp32 is not"),
        (["export.precisions=[int8]", "export.default=int8"], "export.precisions: leaves out fp32"),
        (["export.precisions=[fp32, fp32]"], "export.precisions: names one twice"),
        (
            ["export.default=fastest"],
            "export.default: is fastest, which only a search finds; allowed: a precision, or "
            "export.search=true",
        ),
        (["benchmark.batch_sizes=[1, 0]"], "benchmark.batch_sizes.1: is 0"),
        (["benchmark.batch_sizes=[]"], "benchmark.batch_sizes: "),
        (["data={kind: huggingface}"], "data: give exactly one of name"),
        (
            ["data={kind: huggingface, name: x, splits: {train: train}}"],
            "data.splits: names no val and no test split",
        ),
        (
            [
                "data={kind: coco_captions, root: r, annotations: {train: a, val: b},"
                " images: {train: a, val: b, test: c}}"
            ],
            "data.annotations: names no test split",
        ),
        (
            ["data={kind: webdataset, root: r, shards: {train: a}}", "evaluate.split=val"],
            "data.shards: names no val split",
        ),
        (
            ["data={kind: folder, path: p, split_fractions: {train: 0.9, val: 0.2, test: 0.1}}"],
            "data.split_fractions: must be fractions",
        ),
        (
            ["data={kind: table, path: p, split_fractions: {train: 0.9, val: 0.1}}"],
            "data.split_fractions: leaves test without rows",
        ),
        (["goals=['retention.rsm >= 0.9']"], "goals.0: retention has no 'rsm'; did you mean 'rsum'?"),
        (["goals=['recall >= 0.9']"], "goals.0: results.json has no 'recall'"),
        (
            ["goals=['quality.studnt.rsum >= 0.9']"],
            "goals.0: quality has no 'studnt'; did you mean 'student'?",
        ),
        (["goals=['quality.student >= 0.9']"], "goals.0: quality.student is not a number"),
        (
            ["goals=['artifacts.int4.recall_delta >= 0']"],
            "goals.0: artifacts.int4.recall_delta is not available: export.precisions makes no int4 artifact",
        ),
        (
            ["goals=['artifacts.int8.image.cosine >= 0']", "export.precisions=[fp32]"],
            "goals.0: artifacts.int8.image.cosine is not available",
        ),
        (
            ["goals=['quality.control.rsum >= 0']"],
            "goals.0: quality.control.rsum is not available: distill.control is false",
        ),
        (
            ["goals=['retention.student_minus_control > 0']"],
            "goals.0: retention.student_minus_control is not",
        ),
        (
            ["teacher=null", "distill.losses=[{kind: task}]", "goals=['retention.rsum > 0']"],
            "goals.0: retention.rsum is not available: the recipe has no teacher",
        ),
        (
            ["teacher=null", "distill.losses=[{kind: task}]", "goals=['latency.pair.teacher.p50_ms > 0']"],
            "goals.0: latency.pair.teacher.p50_ms is not available: the recipe has no teacher",
        ),
        (
            [EMBEDDINGS, "goals=['latency.p50_ratio < 1']"],
            "goals.0: latency.p50_ratio is not available: the teacher is only embeddings; take the goal out",
        ),
        (
            [EMBEDDINGS, "goals=['latency.image.teacher.p50_ms < 1']"],
            "goals.0: latency.image.teacher.p50_ms is not",
        ),
        ([EMBEDDINGS, "goals=['size.teacher.bytes < 1']"], "goals.0: size.teacher.bytes is not available"),
        (
            [EMBEDDINGS, "goals=['size.parameter_ratio < 1']"],
            "goals.0: size.parameter_ratio is not available",
        ),
    ],
)
def test_what_cannot_work_is_refused(load: Load, overrides: list[str], message: str) -> None:
    assert refusal(load, *overrides).split(": ", 1)[1].startswith(message)


def test_a_loss_asks_only_for_what_the_teacher_provides(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureLoss, "requires", frozenset({"embeddings", "attention"}))
    check(load())
    assert refusal(load, EMBEDDINGS).endswith(
        "feature needs the teacher's attention, which a teacher of kind embeddings does not provide; "
        "allowed: losses on embeddings"
    )
    assert frozenset() == TaskLoss.requires


def test_all_problems_are_told_with_their_lines(load: Load) -> None:
    text = (
        SMALL + "  batch_size: 10\n  micro_batch_size: 3\ngoals:\n  - retention.rsum > 0\n  - size.typo < 1\n"
    )
    lines = refusal(load, text=text + "export: {default: int8, precisions: [fp32]}\n").splitlines()
    assert [line.split("recipe.yaml:")[1].split(" ")[0] for line in lines] == ["22:", "25:", "26:"]


def test_a_search_makes_every_precision_and_may_choose_the_default(load: Load) -> None:
    loaded = load(
        "export.search=true",
        "export.precisions=[fp32]",
        "export.default=balanced",
        "goals=['artifacts.int4_weights.recall_delta >= -1']",
    )
    check(loaded)
    assert loaded.recipe.export.tried == PRECISIONS
    assert rehearsal(loaded.recipe).export.calibration.samples == 8
