"""PURE: curves of metrics as the numbers of an SVG drawing.

Takes (step, value) in order of steps. A value that is no finite number leaves a gap in the curve and is counted.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

Points = Sequence[tuple[int, float]]

WIDTH, HEIGHT = 400, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 28
X_TICKS, Y_TICKS = 7, 6


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """What a template needs to draw one metric."""

    name: str
    path: str
    dots: tuple[tuple[float, float], ...]
    gaps: tuple[float, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[tuple[int, float], ...]
    lowest: float | None
    highest: float | None
    last: float | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def chart(name: str, points: Points) -> Chart:
    """The curve of one metric with its axes."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    steps = [step for step, _ in points]
    values = [value for _, value in finite]
    x_low, x_high = _widened(min(steps, default=0), max(steps, default=1), 0)
    y_low, y_high = _widened(min(values, default=0.0), max(values, default=1.0), 0.12)

    def x(step: float) -> float:
        return round(LEFT + _share(step, x_low, x_high) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - _share(value, y_low, y_high) * (HEIGHT - TOP - BOTTOM), 1)

    runs = _runs(points)
    return Chart(
        name=name,
        path="".join("M" + "L".join(f"{x(step)} {y(value)}" for step, value in run) for run in runs if len(run) > 1),
        dots=tuple((x(run[0][0]), y(run[0][1])) for run in runs if len(run) == 1),
        gaps=tuple(x(step) for step, value in points if not math.isfinite(value)),
        x_ticks=tuple(Tick(x(at), _label(at)) for at in ticks(x_low, x_high, X_TICKS) if at == int(at)),
        y_ticks=tuple(Tick(y(at), _label(at)) for at in ticks(y_low, y_high, Y_TICKS)),
        points=tuple(points),
        lowest=min(values, default=None),
        highest=max(values, default=None),
        last=values[-1] if values else None,
    )


def sparkline(points: Points, width: int = 120, height: int = 28) -> str:
    """The path of a small curve without axes; empty when there is nothing to draw a line of."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    x_low, x_high = _widened(finite[0][0], finite[-1][0], 0)
    values = [value for _, value in finite]
    y_low, y_high = _widened(min(values), max(values), 0.2)
    spots = (
        f"{_share(step, x_low, x_high) * width:.1f} {height - _share(value, y_low, y_high) * height:.1f}"
        for step, value in finite
    )
    return "M" + "L".join(spots)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers within the range, about as many as asked for: their distance is 1, 2 or 5 times a power of ten."""
    span = high / about - low / about
    if not math.isfinite(span) or span <= 0:
        return []
    power = 10.0 ** math.floor(math.log10(span))
    step = next((power * factor for factor in (1, 2, 5, 10) if power * factor >= span), power * 10)
    if step == 0:
        return []
    first, last = math.ceil(low / step), math.floor(high / step)
    return [number * step for number in range(first, min(last, first + 4 * about) + 1)]


def _runs(points: Points) -> list[list[tuple[int, float]]]:
    """The stretches between gaps."""
    runs: list[list[tuple[int, float]]] = [[]]
    for step, value in points:
        if math.isfinite(value):
            runs[-1].append((step, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _widened(low: float, high: float, margin: float) -> tuple[float, float]:
    """The range with air around it; a single value gets some to stand in."""
    low, high = float(low), float(high)
    air = (high / 2 - low / 2) * margin if low != high else abs(low) / 10 or 1.0
    return max(low - air, -sys.float_info.max), min(high + air, sys.float_info.max)


def _share(value: float, low: float, high: float) -> float:
    """How far ``value`` is on the way from ``low`` to ``high``, from 0 to 1."""
    if math.isinf(high - low):
        # The distance of two huge values can be more than a float holds; that of their halves is not.
        value, low, high = value / 2, low / 2, high / 2
    return (value - low) / (high - low)


def _label(value: float) -> str:
    if value == 0 or abs(value) < 1e-300:
        return "0"
    size = abs(value)
    if size >= 1e15 or size < 1e-3:
        return f"{value:.3g}".replace("e+", "e").replace("e0", "e").replace("e-0", "e-")
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            shown = value / (1e3 if letter == "k" else limit)
            return f"{shown:.4g}{letter}"
    return f"{value:.4g}"
