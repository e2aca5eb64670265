"""The losses of a training as a picture: an SVG of a few kilobytes, whatever the number of iterations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from xml.sax.saxutils import escape

from amctc.training.log import Score, number

Point: TypeAlias = tuple[int, float]

_MOST_POINTS: Final = 1024
_WIDTH, _HEIGHT = 800, 450
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_COLOURS: Final = ("#1f5fa8", "#c8501e", "#2e8540", "#7a3b9c", "#8a6d00", "#0b7f8a")
_TICKS: Final = 5


class Series:
    """Values by iteration, of which no more than twice `_MOST_POINTS` are kept: neighbours become their mean."""

    def __init__(self) -> None:
        self._every = 1
        self._gathered: list[Point] = []
        self._points: list[Point] = []

    def add(self, iteration: int, value: float) -> None:
        self._gathered.append((iteration, value))
        if len(self._gathered) < self._every:
            return
        self._points.append(_mean(self._gathered))
        self._gathered = []
        if len(self._points) >= 2 * _MOST_POINTS:
            self._points = [_mean(self._points[at : at + 2]) for at in range(0, len(self._points), 2)]
            self._every *= 2

    @property
    def points(self) -> list[Point]:
        """In the order of their iterations."""
        return [*self._points, _mean(self._gathered)] if self._gathered else list(self._points)


@dataclass
class LossCurve:
    """Gathers what a solver tells, and draws it: the training loss, and each loss that the tests show."""

    title: str
    train: Series = field(default_factory=Series)
    tests: dict[str, Series] = field(default_factory=dict[str, Series])

    def trained(self, iteration: int, loss: float) -> None:
        self.train.add(iteration, loss)

    def tested(self, iteration: int, net: int, scores: Sequence[Score]) -> None:
        for score in scores:
            if score.weight:
                self.tests.setdefault(f"test net #{net}: {score.output}", Series()).add(iteration, score.value)

    def svg(self) -> str:
        """The picture, as the text of an SVG file; equal trainings give equal pictures."""
        named = [("training loss", self.train.points), *((name, each.points) for name, each in self.tests.items())]
        curves = [(name, [point for point in points if math.isfinite(point[1])]) for name, points in named]
        drawn = [point for _, points in curves for point in points]
        frame = _Frame.of(drawn)
        return "\n".join((*_head(self.title), *frame.axes(), *_curves(curves, frame), "</svg>", ""))


@dataclass(frozen=True)
class _Frame:
    """From iterations and losses to places in the picture."""

    first: float
    last: float
    low: float
    high: float

    @classmethod
    def of(cls, points: Sequence[Point]) -> _Frame:
        if not points:
            return cls(0, 1, 0, 1)
        first, last = min(x for x, _ in points), max(x for x, _ in points)
        low, high = min(0.0, *(y for _, y in points)), max(y for _, y in points)
        return cls(first, max(last, first + 1), low, high if high > low else low + 1)

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.first) / (self.last - self.first)
        up = (y - self.low) / (self.high - self.low)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self) -> Iterator[str]:
        """Both axes with their numbers, and a line across the picture for each number of the loss."""
        for step in range(_TICKS + 1):
            loss = self.low + (self.high - self.low) * step / _TICKS
            _, y = self.place(self.first, loss)
            yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
            yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(float(f"{loss:.3g}"))}</text>'
            iteration = self.first + (self.last - self.first) * step / _TICKS
            x, _ = self.place(iteration, self.low)
            yield f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{iteration:.0f}</text>'
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        yield f'<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">iteration</text>'
        yield f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}" fill="none" stroke="#333"/>'


def _mean(points: Sequence[Point]) -> Point:
    """Of neighbours: the first iteration, the mean value."""
    return points[0][0], sum(value for _, value in points) / len(points)


def _head(title: str) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">'
    )
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    yield f'<text x="{_LEFT}" y="22" font-size="15">{_text(title)}</text>'


def _curves(curves: Sequence[tuple[str, Sequence[Point]]], frame: _Frame) -> Iterator[str]:
    for index, (name, points) in enumerate(curves):
        colour = _COLOURS[index % len(_COLOURS)]
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (frame.place(*point) for point in points))
        yield f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        if index and len(points) == 1:
            x, y = frame.place(*points[0])
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
        yield (
            f'<text x="{_WIDTH - _RIGHT - 6}" y="{_TOP + 6 + 16 * index}" text-anchor="end" fill="{colour}">'
            f"{_text(name)}</text>"
        )


def _text(words: str) -> str:
    """Words from a file, without what XML cannot hold."""
    return escape("".join(char for char in words if char.isprintable()))
