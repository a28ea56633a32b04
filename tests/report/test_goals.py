from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.report.goals import check_goals, judge
from tests.report.fixture import run
from tests.report.run_figures import quality, timing


def verdict(goal: str, **changed: object) -> tuple[str, float | None, str]:
    found = judge([goal], run(**changed))[0]
    assert found.goal == goal
    return found.verdict, found.value, found.reason


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("quality.student.rsum", quality(-3.9, 1)["rsum"]),
        ("quality.teacher.i2t_r1", 68.4),
        ("quality.control.t2i_r10", 91.35),
        ("retention.rsum", 0.9711),
        ("retention.rsum_interval.low", 0.9623),
        ("latency.image.teacher.p50_ms", 18.62),
        ("latency.pair.student.p50_ms", 2.09),
        ("latency.p50_ratio", 0.0785),
        ("size.student.bytes", 3_532_000),
        ("size.parameter_ratio", 0.07),
        ("artifacts.int8.image.cosine", 0.99231),
        ("artifacts.int8.text.bytes", 402_000),
        ("artifacts.int8.recall_delta", -0.31),
        ("artifacts.int8.slower_than_fp32", 1.0),
        ("training.student.images_per_second", 521.0),
        ("data.train.bad_images", 2),
        ("stages.distill.seconds", 182.4),
    ],
)
def test_every_published_key_is_reached(key: str, value: float) -> None:
    found = verdict(f"{key} >= {value - 0.001:.6f}")
    assert found == ("met", pytest.approx(value), "")
    assert verdict(f"{key} > {value + 0.001:.6f}")[0] == "missed"


@pytest.mark.parametrize(
    ("sign", "bound", "expected"),
    [
        (">=", "0.9711", "met"),
        (">", "0.9711", "missed"),
        ("<=", "0.9711", "met"),
        ("<", "0.9711", "missed"),
        ("==", "0.9711", "met"),
        (">=", "9.712e-1", "missed"),
        ("<=", "-1", "missed"),
    ],
)
def test_operators_mean_what_they_say(sign: str, bound: str, expected: str) -> None:
    assert verdict(f"retention.rsum {sign} {bound}")[0] == expected


@pytest.mark.parametrize(
    "key",
    [
        "quality.student.rsum",
        "retention.rsum",
        "retention.student_minus_control",
        "artifacts.int8.recall_delta",
    ],
)
def test_a_rehearsal_does_not_judge_quality(key: str) -> None:
    assert verdict(f"{key} >= -1000", rehearsal=True) == (
        "not judged",
        None,
        "a rehearsal says nothing about quality",
    )


@pytest.mark.parametrize("key", ["latency.p50_ratio", "size.bytes_ratio", "artifacts.int8.image.bytes"])
def test_a_rehearsal_judges_what_is_true_of_it(key: str) -> None:
    assert verdict(f"{key} >= 0", rehearsal=True)[0] == "met"


@pytest.mark.parametrize("key", ["latency.p50_ratio", "latency.generation.student.p50_ms"])
def test_how_long_models_write_is_judged_of_trained_ones_alone(key: str) -> None:
    writes = {
        "threads": 1,
        "beams": 3,
        "max_length": 20,
        "generation": {"teacher": timing(26.6), "student": timing(2.1)},
        "p50_ratio": 0.0789,
    }
    assert verdict(f"{key} <= 3", latency=writes)[0] == "met"
    told, value, reason = verdict(f"{key} <= 3", latency=writes, rehearsal=True)
    assert (told, value) == ("not judged", None)
    assert "untrained" in reason


def test_a_figure_that_this_run_does_not_have_is_not_judged_and_says_why() -> None:
    alone = {"student": quality(0, 1)}
    assert verdict("quality.control.rsum >= 1", quality=alone)[::2] == (
        "not judged",
        "this run trained no control",
    )
    assert verdict("retention.rsum >= 0.9", retention=None)[2] == "this run has no teacher to compare with"
    assert verdict("artifacts.int8.recall_delta >= -1", artifacts={})[2] == "this run made no int8 artifact"
    no_teacher = run().latency.model_dump()  # type: ignore[union-attr]
    no_teacher |= {"p50_ratio": None, "image": {"student": no_teacher["image"]["student"]}}
    assert "teacher cannot be run" in verdict("latency.p50_ratio <= 0.5", latency=no_teacher)[2]
    assert "teacher cannot be run" in verdict("latency.image.teacher.p50_ms <= 5", latency=no_teacher)[2]
    assert verdict("latency.image.student.p50_ms <= 5", latency=no_teacher)[0] == "met"


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ("quality.studnet.rsum >= 1", "quality has no 'studnet'; did you mean 'student'"),
        ("retention.rsumm >= 1", "retention has no 'rsumm'; did you mean 'rsum'"),
        ("speed.student >= 1", "results.json has no 'speed'; there are: "),
        ("retention >= 1", "retention is not a number"),
        ("retention.rsum.low >= 1", "retention.rsum is a single figure and has no 'low' in it"),
        ("artifacts.int8.status >= 1", "artifacts.int8.status is not a number"),
        ("name >= 1", "name is not a number"),
        ("artifacts.int8.image.cosin >= 1", "did you mean 'cosine'"),
        ("retention.rsum => 1", "is not a goal; write it like"),
    ],
)
def test_a_key_that_cannot_exist_is_an_error_with_and_without_a_run(goal: str, message: str) -> None:
    with pytest.raises(RecipeError) as known:
        judge([goal], run())
    assert message in str(known.value)
    with pytest.raises(RecipeError) as unknown:
        check_goals([goal])
    assert message in str(unknown.value)
    with pytest.raises(RecipeError):
        judge([goal], run(retention=None, quality={}, artifacts={}, latency=None))


def test_free_parts_name_what_they_hold() -> None:
    check_goals(["training.student.anything >= 1"])
    with pytest.raises(RecipeError, match=r"training.student has no 'stepps'; did you mean 'steps'"):
        judge(["training.student.stepps >= 1"], run())
    with pytest.raises(RecipeError, match=r"training.student.curve is not a number"):
        judge(["training.student.curve >= 1"], run())
