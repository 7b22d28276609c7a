"""Curves: whatever numbers come, the drawing stays within its frame and says where numbers are missing."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart, sparkline, ticks

NAN, INF = math.nan, math.inf
POINTS = st.lists(st.tuples(st.integers(0, 2**62), st.floats()), max_size=40).map(
    lambda points: sorted(dict(points).items())
)


def pairs(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


@settings(max_examples=300, deadline=None)
@given(POINTS)
def test_any_numbers_stay_within_the_frame(points: list[tuple[int, float]]) -> None:
    drawn = chart("m", points)
    spots = [*pairs(drawn.path), *drawn.dots]
    assert len(spots) == sum(math.isfinite(value) for _, value in points)
    for x, y in spots:
        assert LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM
    assert len(drawn.gaps) == len(points) - len(spots)
    assert len(drawn.x_ticks) < 30 and len(drawn.y_ticks) < 30
    sparkline(points)


def test_a_gap_breaks_the_curve() -> None:
    drawn = chart("loss", [(1, 1.0), (2, 2.0), (3, NAN), (4, 3.0), (5, 2.5), (6, INF), (7, 1.0)])
    assert drawn.path.count("M") == 2
    assert (len(drawn.dots), len(drawn.gaps)) == (1, 2)
    assert (drawn.lowest, drawn.highest, drawn.last) == (1.0, 3.0, 1.0)


def test_nothing_but_gaps() -> None:
    drawn = chart("loss", [(1, NAN), (2, NAN)])
    assert (drawn.path, drawn.dots, drawn.last, len(drawn.gaps)) == ("", (), None, 2)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 100.0, [0, 20, 40, 60, 80, 100]),
        (-1.0, 1.0, [-1, -0.5, 0, 0.5, 1]),
        (3.0, 3.0, []),
    ],
)
def test_ticks_are_round_numbers_within_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 6) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("high", "label"),
    [(0.001, "0.001"), (0.00001, "1e-5"), (50_000, "50k"), (2e6, "2M"), (2e10, "20G"), (1e20, "1e20")],
)
def test_ticks_have_short_labels(high: float, label: str) -> None:
    assert label in [tick.label for tick in chart("m", [(0, 0.0), (1, high)]).y_ticks]


def test_a_higher_value_is_drawn_higher_and_a_later_step_further_right() -> None:
    (x1, y1), (x2, y2) = pairs(chart("m", [(1, 1.0), (9, 5.0)]).path)
    assert x1 < x2 and y1 > y2
    (x1, y1), (x2, y2) = pairs(sparkline([(1, 1.0), (9, 5.0)]))
    assert x1 < x2 and y1 > y2


def test_a_sparkline_needs_two_points() -> None:
    assert sparkline([(1, 1.0), (2, NAN)]) == ""
