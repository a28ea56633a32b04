"""Names on a crowded chart stay apart and inside the frame."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from compressor.report.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale
from compressor.report.bubbles import Mark, bubbles
from compressor.report.results import Interval

NAMES = ("fp32", "fp16", "int8", "int8_static", "int8_weights", "openvino_fp32", "openvino_int8_static")
LETTER, LINE = 7.0, 12.0
"""Of a narrow font: what is apart in it need not be in every other."""


def mark(name: str, latency: float, height: float) -> Mark:
    return Mark(name, "s1", height, Interval(low=height - 0.1, high=height + 0.1), latency, None, 1000)


@pytest.mark.parametrize("spread", [0.02, 0.2, 1.0])
def test_names_of_a_crowd_cover_neither_each_other_nor_the_axes(spread: float) -> None:
    marks = [mark(name, 2 + spread * (k % 4), spread * (k % 3 - 1) / 3) for k, name in enumerate(NAMES)]
    x, y = Scale(1, 4, LEFT, WIDTH - RIGHT), Scale(-0.6, 0.6, HEIGHT - BOTTOM, TOP)
    found = re.findall(r'class="label" x="([0-9.]+)" y="([0-9.]+)"[^>]*>([^<]+)<', bubbles(marks, x, y, True))
    assert sorted(name for _, _, name in found) == sorted(NAMES)
    boxes = [
        (float(at) - LETTER * len(name) / 2, float(at) + LETTER * len(name) / 2, float(up) - LINE, float(up))
        for at, up, name in found
    ]
    for left, right, top, bottom in boxes:
        assert left >= LEFT
        assert right <= WIDTH
        assert top >= TOP
        assert bottom <= HEIGHT - BOTTOM
    for one, other in combinations(boxes, 2):
        apart = one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
        assert apart, (one, other)
