from __future__ import annotations

import pytest

from compressor.report import numbers as n
from compressor.report.results import Interval


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (n.percent(0.9711), "97.1 %"),
        (n.percent(0.0083), "0.83 %"),
        (n.percent(1.3), "130.0 %"),
        (n.percent(None), "not available"),
        (n.percent_span(Interval(low=0.9623, high=0.9801)), "96.2 to 98.0 %"),
        (n.percent_span(None), "not available"),
        (n.milliseconds(0.4561), "0.456 ms"),
        (n.milliseconds(26.61), "26.6 ms"),
        (n.milliseconds(2345.2), "2,345 ms"),
        (n.three_figures(9.999), "10.0"),
        (n.three_figures(99.96), "100"),
        (n.three_figures(0.99996), "1.00"),
        (n.three_figures(None), "not available"),
        (n.parameters(862_000), "862 k"),
        (n.parameters(427_616_513), "428 M"),
        (n.size(402_000), "402 kB"),
        (n.size(49_640_000), "49.6 MB"),
        (n.duration(0.42), "0.4 s"),
        (n.duration(59.99), "1 min 00 s"),
        (n.duration(182.4), "3 min 02 s"),
        (n.duration(7262), "2 h 01 min"),
        (n.cosine(0.99999), "0.99999"),
        (n.cosine(1.0), "1.0000"),
        (n.cosine(0.9712), "0.9712"),
        (n.signed_points(-0.31, 2), "−0.31"),
        (n.signed_points(48.7), "+48.7"),
        (n.rank(1.0), "1"),
        (n.rank(2.5), "2.5"),
        (n.count(19990), "19,990"),
        (n.count(True), "not available"),
        (n.figure(0.9711), "0.9711"),
        (n.figure(3532000), "3,532,000"),
        (n.figure(None), "not available"),
        (n.span(Interval(low=-1.0, high=2.0), n.signed_points), "−1.0 to +2.0"),
    ],
)
def test_figures_read_as_people_write_them(made: str, expected: str) -> None:
    assert made.replace("\u00a0", " ") == expected


def test_threads_and_precisions_in_sentences() -> None:
    assert [n.threads(k) for k in (1, 2, 16)] == ["1 thread", "2 threads", "16 threads"]
    assert (n.at("fp32"), n.at("int8")) == ("", " at int8")
