from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.report.axes import HEIGHT, WIDTH, Scale, log_ticks, nice_ticks, padded, tick_text
from compressor.report.charts import training_figures
from compressor.report.curves import read_curves, thin
from compressor.report.figures import Line, line_figure, pareto_figure
from tests.report.fixture import run
from tests.report.run_curves import curves
from tests.report.run_figures import quality

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


@settings(max_examples=50, deadline=None)
@given(FINITE, st.floats(1e-6, 1e6))
def test_ticks_are_round_few_and_inside(low: float, spread: float) -> None:
    high = low + spread
    if high <= low:
        return
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 10
    assert ticks == sorted(ticks)
    room = 1e-6 * max(spread, abs(low), abs(high))
    assert low - room <= ticks[0] <= ticks[-1] <= high + room


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(1.2, 1e5))
def test_log_ticks_are_inside(low: float, times: float) -> None:
    ticks = log_ticks(low, low * times)
    assert 1 <= len(ticks) <= 16
    assert all(low * 0.99 <= tick <= low * times * 1.01 for tick in ticks)


def test_a_scale_maps_its_ends_and_its_middle() -> None:
    linear, log = Scale(10, 20, 100, 0), Scale(1, 100, 0, 50, log=True)
    assert [linear(10), linear(15), linear(20)] == [100, 50, 0]
    assert [log(1), log(10), log(100)] == pytest.approx([0, 25, 50])
    assert padded([5.0]) == (4.75, 5.25)
    assert padded([0.0]) == (-1.0, 1.0)
    assert all(0 < end < math.inf for end in padded([1.0, 2e-313], log=True))
    assert [tick_text(value) for value in (0, 0.5, -2, 20000, 3e6)] == ["0", "0.5", "−2", "20k", "3M"]


@settings(max_examples=25, deadline=None)
@given(st.lists(FINITE, min_size=1, max_size=50))
def test_a_line_stays_inside_its_chart(values: list[float]) -> None:
    points = tuple((float(step), value) for step, value in enumerate(values, start=1))
    figure = line_figure("id", "t", [Line("loss", points, "s1", dots=True)], "y", "c")
    assert figure is not None
    drawn = re.search(r'class="line" points="([^"]+)"', figure.picture)
    assert drawn
    for place in drawn[1].split():
        x, y = map(float, place.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def test_higher_values_stand_higher_and_far_spread_ones_on_a_log_scale() -> None:
    figure = line_figure("i", "t", [Line("a", ((1.0, 1.0), (2.0, 3.0)), "s1")], "loss", "c")
    assert figure is not None
    found = re.search(r'points="[\d.]+,([\d.]+) [\d.]+,([\d.]+)"', figure.picture)
    assert found
    assert float(found[1]) > float(found[2])
    assert "log scale" not in figure.picture
    far = line_figure("i", "t", [Line("a", ((1.0, 0.1), (2.0, 30.0)), "s1")], "loss", "c")
    assert far is not None
    assert "log scale" in far.picture
    assert line_figure("i", "t", [Line("a", (), "s1")], "loss", "c") is None


def test_bubbles_have_areas_like_the_models_sizes() -> None:
    figure = pareto_figure(run())
    assert figure is not None
    radii = [float(r) for r in re.findall(r'class="bubble"[^>]* r="([\d.]+)"', figure.picture)]
    teacher, control, student = radii
    assert (teacher / student) ** 2 == pytest.approx(49_640_000 / 3_532_000, rel=0.03)
    assert control == student
    assert pareto_figure(run(latency=None)) is None
    assert pareto_figure(run(rehearsal=True)) is None


def test_names_of_bubbles_do_not_cover_each_other() -> None:
    close = {"teacher": quality(0, 1), "student": quality(-3, 1), "control": quality(-3.1, 1)}
    figure = pareto_figure(run(quality=close))
    assert figure is not None
    places = dict(re.findall(r'class="label"[^>]* y="([\d.]+)"[^>]*>(\w+)<', figure.picture))
    heights = {name: float(y) for y, name in places.items()}
    assert heights["control"] - heights["student"] >= 15


def test_curves_are_read_in_order_and_what_is_not_finite_is_left_out() -> None:
    records = [
        {"step": 3, "losses": {"a": 1.0}, "validation": {"rsum": 40.0, "other": 1}},
        {"step": 1, "losses": {"a": 3.0, "b": math.nan}, "weights": {"a": 1}},
        {"step": 2, "losses": {"a": math.inf}, "validation": None},
        {"losses": {"a": 9.0}},
    ]
    found = read_curves(records)
    assert found.losses == {"a": ((1.0, 3.0), (3.0, 1.0))}
    assert found.weights == {"a": ((1.0, 1.0),)}
    assert found.validation == ((3.0, 40.0),)
    assert read_curves([]).losses == {}


def test_thinning_keeps_the_mean_of_neighbours() -> None:
    points = [(float(k), float(k % 2)) for k in range(1, 1001)]
    thinned = thin(points, 100)
    assert len(thinned) == 100
    assert thinned[0] == (5.5, 0.5)
    assert thin(points[:7], 100) == tuple(points[:7])
    assert read_curves([{"step": k, "losses": {"a": v}} for k, v in points]).averaged == 7


def test_training_shows_validation_losses_and_moving_weights() -> None:
    drawn = {role: read_curves(records) for role, records in curves(60).items()}
    titles = [title for title, _ in training_figures(run(), drawn)]
    assert titles == [
        "Validation RSUM",
        "Losses of the student",
        "Balancer weights of the student",
        "Losses of the control",
    ]
    assert "Validation RSUM" not in [title for title, _ in training_figures(run(rehearsal=True), drawn)]


def test_the_teacher_is_a_level_only_where_it_was_validated_on_the_same_split() -> None:
    drawn = {role: read_curves(records) for role, records in curves(60).items()}
    plain = dict(training_figures(run(), drawn))["Validation RSUM"]
    assert "reference" not in plain.picture
    tuned = run(training={"teacher": {"best_rsum": 520.5}})
    assert "teacher 520.5" in dict(training_figures(tuned, drawn))["Validation RSUM"].picture
    drawn["teacher"] = read_curves([{"step": 5, "validation": {"rsum": 530.0}}])
    assert "teacher 530.0" in dict(training_figures(run(), drawn))["Validation RSUM"].picture
