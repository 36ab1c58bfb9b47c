"""The plots of a report as shapes, which a template writes as SVG; too simple to need a plotting library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from service.domain.training.evaluation import Calibration, Estimate, Residuals

TEXT_COLOUR, MUTED_COLOUR, GRID_COLOUR = "#22303c", "#6b7785", "#e4e7eb"
COLOURS = {"candidate": "#0b7285", "champion": "#d9480f", "no change": "#adb5bd"}
WIDTH = 640.0


@dataclass(frozen=True, slots=True)
class Text:
    """A text at a point; `anchor` says which end of the text is there."""

    kind: ClassVar[str] = "text"
    x: float
    y: float
    text: str
    colour: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Dot:
    """A filled circle."""

    kind: ClassVar[str] = "dot"
    x: float
    y: float
    radius: float
    colour: str


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line between two points."""

    kind: ClassVar[str] = "line"
    start: tuple[float, float]
    end: tuple[float, float]
    colour: str
    width: int = 1
    is_dashed: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """A line through many points."""

    kind: ClassVar[str] = "path"
    points: Sequence[tuple[float, float]]
    colour: str


Shape: TypeAlias = Text | Dot | Line | Path


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes on a canvas; `label` is the text for screen readers."""

    height: float
    shapes: Sequence[Shape]
    label: str
    width: int = int(WIDTH)


@dataclass(frozen=True, slots=True)
class _Scale:
    """A linear scale from values to coordinates; without extent it maps every value to the middle."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high <= self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def interval_plot(metrics: Sequence[str], sides: Mapping[str, Mapping[str, Estimate]]) -> Drawing:
    """Draw a row for each metric and side: the value and its interval, on the metric's own scale."""
    step, y = 18.0, 10.0
    parts: list[Shape] = []
    for metric in metrics:
        shown = [(name, found) for name, side in sides.items() if (found := side[metric]).value is not None]
        ends = [end for _, one in shown for end in (one.low, one.value, one.high) if end is not None]
        if not ends:
            continue
        scale = _Scale(min(ends), max(ends), 230, WIDTH - 90)
        parts.append(Text(0, y + step * len(shown) / 2 + 4, metric, colour=TEXT_COLOUR))
        for name, one in shown:
            parts.append(Text(130, y + 13, name, colour=MUTED_COLOUR))
            parts += _interval_marks(scale, one, y=y + 9, colour=COLOURS[name])
            y += step
        parts.append(Line((0, y + 4), (WIDTH, y + 4), colour=GRID_COLOUR))
        y += 10
    return Drawing(y, parts, "metrics with their intervals")


def reliability_plot(sides: Mapping[str, Calibration]) -> Drawing:
    """Draw a reliability diagram: observed share against predicted probability, by bins; the diagonal is perfect."""
    size, left, top = 260.0, 50.0, 12.0
    x_scale, y_scale = _Scale(0, 1, left, left + size), _Scale(0, 1, top + size, top)
    parts: list[Shape] = [Line((x_scale(0), y_scale(0)), (x_scale(1), y_scale(1)), colour=MUTED_COLOUR, is_dashed=True)]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(Line((left, y_scale(tick)), (left + size, y_scale(tick)), colour=GRID_COLOUR))
        parts.append(Text(left - 8, y_scale(tick) + 4, f"{tick:g}", colour=MUTED_COLOUR, anchor="end"))
        parts.append(Text(x_scale(tick), top + size + 16, f"{tick:g}", colour=MUTED_COLOUR, anchor="middle"))
    for row, (name, found) in enumerate(sides.items()):
        points = [(x_scale(one.predicted), y_scale(one.observed)) for one in found.bins]
        most = max((one.count for one in found.bins), default=1)
        parts.append(Path(points, colour=COLOURS[name]))
        parts += [
            Dot(x, y, 2.5 + 4 * (one.count / most) ** 0.5, colour=COLOURS[name])
            for (x, y), one in zip(points, found.bins, strict=True)
        ]
        parts += _legend_entry(
            left + size + 24, top + 14 + 20 * row, f"{name}: ECE {found.ece:.3g}", colour=COLOURS[name]
        )
    parts.append(Text(left + size / 2, top + size + 34, "predicted probability", colour=MUTED_COLOUR, anchor="middle"))
    return Drawing(top + size + 40, parts, "reliability diagram")


def residual_plot(sides: Mapping[str, Residuals]) -> Drawing:
    """Draw each side's residuals: a thin line from 5 to 95 percent, a thick one for the middle half, the median."""
    levels = {name: dict(found.quantiles) for name, found in sides.items()}
    ends = [side[level] for side in levels.values() for level in (5.0, 95.0)]
    scale = _Scale(min([*ends, 0.0]), max([*ends, 0.0]), 130, WIDTH - 20)
    bottom = 24.0 * len(sides) + 8
    parts: list[Shape] = [Line((scale(0), 4), (scale(0), bottom), colour=MUTED_COLOUR, is_dashed=True)]
    for row, (name, side) in enumerate(levels.items()):
        y, colour = 20 + 24.0 * row, COLOURS[name]
        parts.append(Text(0, y + 4, name, colour=MUTED_COLOUR))
        parts.append(Line((scale(side[5.0]), y), (scale(side[95.0]), y), colour=colour))
        parts.append(Line((scale(side[25.0]), y), (scale(side[75.0]), y), colour=colour, width=7))
        parts.append(Dot(scale(side[50.0]), y, 4, colour=TEXT_COLOUR))
    parts.append(Text(scale(0), bottom + 14, "0", colour=MUTED_COLOUR, anchor="middle"))
    return Drawing(bottom + 20, parts, "quantiles of residuals")


def trial_plot(scores: Sequence[tuple[int, float]], *, maximize: bool) -> Drawing:
    """Draw each trial's score, and the best so far."""
    values = [score for _, score in scores]
    x_scale = _Scale(scores[0][0], scores[-1][0], 60, WIDTH - 20)
    y_scale = _Scale(min(values), max(values), 150, 16)
    best: list[tuple[float, float]] = []
    best_score = values[0]
    for number, score in scores:
        best_score = max(best_score, score) if maximize else min(best_score, score)
        best.append((x_scale(number), y_scale(best_score)))
    parts: list[Shape] = [Path(best, colour=COLOURS["candidate"])]
    parts += [Dot(x_scale(number), y_scale(score), 3, colour=MUTED_COLOUR) for number, score in scores]
    parts += [
        Text(50, y_scale(end) + 4, f"{end:.4g}", colour=MUTED_COLOUR, anchor="end")
        for end in {min(values), max(values)}
    ]
    parts.append(Text((60 + WIDTH - 20) / 2, 178, "trial", colour=MUTED_COLOUR, anchor="middle"))
    return Drawing(186, parts, "scores of trials")


def _interval_marks(scale: _Scale, estimate: Estimate, *, y: float, colour: str) -> list[Shape]:
    assert estimate.value is not None
    parts: list[Shape] = []
    if estimate.low is not None and estimate.high is not None:
        parts.append(Line((scale(estimate.low), y), (scale(estimate.high), y), colour=colour, width=2))
    parts.append(Dot(scale(estimate.value), y, 4, colour=colour))
    parts.append(Text(WIDTH - 70, y + 4, f"{estimate.value:.4g}", colour=TEXT_COLOUR))
    return parts


def _legend_entry(x: float, y: float, text: str, *, colour: str) -> list[Shape]:
    return [Dot(x, y - 4, 4, colour=colour), Text(x + 12, y, text, colour=TEXT_COLOUR)]
